"""A FAISS index file of augmented vectors, by any factory string."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np

from nnn_core.consumers.engines.recipe import Recipe
from nnn_core.errors import ConfigError
from nnn_core.vectors import FloatMatrix

#: Vectors that an index is trained on.
_TRAINING_ROWS = 1 << 18


def check_size(rows: int, recipe: Recipe, most_bytes: int) -> None:
    """Refuse an index that would not fit into memory.

    Raises:
        ConfigError: naming its size.
    """
    needed = 4 * rows * recipe.dimensions
    if needed > most_bytes:
        raise ConfigError(
            f"an index of {rows:,} vectors of {recipe.dimensions:,} dimensions takes {needed / 2**30:.1f} GiB "
            f"in memory, more than --max-index-bytes allows ({most_bytes / 2**30:.1f} GiB). Raise the limit on "
            "a machine with twice as much memory, or export for an engine that imports files (lancedb, milvus, "
            "qdrant)."
        )


def build_index(factory: str, recipe: Recipe, stored: FloatMatrix, threads: int = 1) -> faiss.Index:
    """An index of stored vectors.

    With one thread the same vectors give the same bytes; more are faster, and the graph of an HNSW index then
    depends on their timing.

    Args:
        factory: FAISS's factory string of the index, such as ``Flat``, ``IVF1024,Flat`` or ``HNSW32``.
        recipe: recipe whose metric and number of dimensions the index has.
        stored: (rows, dimensions) float32, the augmented vectors of the candidates.
        threads: how many threads FAISS builds the index with.

    Raises:
        ConfigError: FAISS does not know the factory string, or cannot build it of so few vectors.
    """
    metric = faiss.METRIC_L2 if recipe.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        index = faiss.index_factory(recipe.dimensions, factory, metric)
        if not index.is_trained:
            rows = np.random.default_rng(0).choice(len(stored), min(len(stored), _TRAINING_ROWS), replace=False)
            index.train(stored if len(stored) == len(rows) else stored[np.sort(rows)])
        index.add(stored)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ConfigError(
            f"FAISS cannot build --index {factory!r} of {len(stored):,} vectors of {recipe.dimensions} dimensions: "
            f"{reason} Choose another factory string, such as Flat or HNSW32."
        ) from error
    finally:
        faiss.omp_set_num_threads(before)
    return index


def to_bytes(index: faiss.Index) -> bytes:
    """The bytes of an index file."""
    return faiss.serialize_index(index).tobytes()


def search_ids(
    index: faiss.Index, recipe: Recipe, queries: FloatMatrix, ids: list[str], depth: int
) -> list[list[tuple[float, str]]]:
    """(debiased score, id) of what an index finds for each query, best first; fewer where it finds fewer."""
    scores, positions = index.search(recipe.asked(queries), min(depth, len(ids)))
    debiased = recipe.debiased(scores)
    return [
        [(float(score), ids[place]) for score, place in zip(row, places, strict=True) if place >= 0]
        for row, places in zip(debiased, positions.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class Tuned:
    """What an approximate index finds, by how far it looks.

    Attributes:
        parameter: FAISS's name of what was set, ``nprobe`` or ``efSearch``; None where the index has none.
        value: the value that the written index has; None without a parameter.
        overlaps: (value, mean overlap with the exact debiased top 10) of all values that were tried.
        plain: mean overlap of an index of plain vectors, built and searched alike, with the exact plain top 10.
    """

    parameter: str | None
    value: int | None
    overlaps: tuple[tuple[int, float], ...]
    plain: float


def tune(index: faiss.Index, overlap: Callable[[], float], target: float, wanted: int | None) -> Tuned:
    """Set how far an index looks: as far as the overlap needs, or as was asked for.

    Args:
        index: an index, whose parameter is set in place.
        overlap: searches it and says how much of the exact top 10 it finds.
        target: least overlap that is wanted; the least value that reaches it is taken, or else the least of the best.
        wanted: the value to take whatever comes of it; None to find one.

    Returns:
        What was found, of which ``plain`` is not known yet and 0.
    """
    name = next((name for name in _LADDERS if _set(index, name, 1)), None)
    if name is None:
        return Tuned(None, None, (), 0.0)
    most = getattr(faiss.try_extract_index_ivf(index), "nlist", None) if name == "nprobe" else None
    values = [wanted] if wanted else [value for value in _LADDERS[name] if most is None or value < 2 * most]
    tried: list[tuple[int, float]] = []
    for value in values:
        _set(index, name, value)
        tried.append((value, overlap()))
        if tried[-1][1] >= target:
            break
    best = max(share for _, share in tried)
    chosen = next(value for value, share in tried if share >= min(target, best))
    _set(index, name, chosen)
    return Tuned(name, chosen, tuple(tried), 0.0)


def set_like(index: faiss.Index, tuned: Tuned) -> None:
    """Let an index look as far as another one does."""
    if tuned.parameter is not None and tuned.value is not None:
        _set(index, tuned.parameter, tuned.value)


#: What says how far an index looks, and the values that are tried.
_LADDERS = {"nprobe": [1 << power for power in range(17)], "efSearch": [16 << power for power in range(9)]}


def _set(index: faiss.Index, name: str, value: int) -> bool:
    """Set a parameter of an index or of what it wraps; whether it has it."""
    try:
        faiss.ParameterSpace().set_index_parameter(index, name, value)
    except RuntimeError:
        return False
    return True
