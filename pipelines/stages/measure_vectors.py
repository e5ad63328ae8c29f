"""The sums of embedded shards' vectors, counted as a stage of its own by whoever takes them."""

from __future__ import annotations

from collections.abc import Sequence

from nnn_core.embedded.profile import VectorSum
from nnn_core.embedded.shards import EmbeddedShard
from pipelines.stages._counting import count, timed
from pipelines.stages.metrics import COMPUTED, REUSED, StageName
from pipelines.stages.once import unite

_STAGE = StageName.MEASURE_VECTORS


def measure_vectors(shards: Sequence[EmbeddedShard], work: str) -> VectorSum:
    """The sum of all vectors of some shards, one or more; that of each shard is kept.

    Args:
        shards: embedded shards of one dimension.
        work: URI of the folder of artefacts.
    """
    with timed(_STAGE):
        sums = VectorSum.of_shards(shards, work)
    for _, computed in sums:
        count(_STAGE, COMPUTED if computed else REUSED)
    return unite(total for total, _ in sums)  # type: ignore[no-any-return]
