"""Nearest Neighbor Normalization as a bias table: the part that knows nothing of Beam.

What other programs may rely on is what ``__all__`` names, imported from here; every other name may move.

Beside the rooms stand small modules that every room may use (``errors``, ``vectors``, ``digests``, ``redaction``,
``events``, ``records``), two that also use ``storage/`` (``yaml_files``, ``artifacts``), and above them ``publishing``:
the last step of a refresh, which joins ``gates/``, ``report/`` and ``table/`` and so belongs to none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnn_core.consumers.augment import augment, augment_queries
    from nnn_core.consumers.rerank import Reranker
    from nnn_core.consumers.scorer import BiasScorer, compute_biases
    from nnn_core.inputs.readers import Format
    from nnn_core.table.reading import BiasTable, find, load_bias_table, reweight

__all__ = [
    "BiasScorer",
    "BiasTable",
    "Format",
    "Reranker",
    "augment",
    "augment_queries",
    "compute_biases",
    "find",
    "load_bias_table",
    "reweight",
]
__version__ = "0.1.0"

#: The rooms of the public names, which are imported when somebody asks for one.
_HOMES = {
    "nnn_core.consumers.augment": ("augment", "augment_queries"),
    "nnn_core.consumers.rerank": ("Reranker",),
    "nnn_core.consumers.scorer": ("BiasScorer", "compute_biases"),
    "nnn_core.inputs.readers": ("Format",),
    "nnn_core.table.reading": ("BiasTable", "find", "load_bias_table", "reweight"),
}


def __getattr__(name: str) -> Any:
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
