"""MeasureVectors: the embedded shards of one side to the sum of their vectors."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from nnn_core.corpus import embedded_shards
from nnn_core.embedded import EmbeddedInput, EmbeddedShard
from nnn_core.profile import VectorSum, merge_sums, sum_of_shard
from pipelines.metrics import COMPUTED, REUSED, count, timed

STAGE = "measure_vectors"


@dataclass
class MeasureVectors(beam.PTransform):  # type: ignore[misc]
    """All embedded shards of a side to one ``VectorSum``; that of each shard is kept.

    Attributes:
        work: folder of artefacts.
        checked: an element that exists once the side as a whole was found usable.
    """

    work: str
    checked: beam.PCollection[object]

    def expand(self, inputs: beam.PCollection[EmbeddedInput]) -> beam.PCollection[VectorSum]:
        return (
            inputs
            | "Shards" >> beam.FlatMap(lambda result: embedded_shards([result]))
            | "SpreadShards" >> beam.Reshuffle()
            | "SumShard" >> beam.Map(_sum, self.work, AsSingleton(self.checked))
            | "SumAll" >> beam.CombineGlobally(merge_sums)
        )


def _sum(shard: EmbeddedShard, work: str, checked: object) -> VectorSum:
    del checked  # only that it exists matters
    with timed(STAGE):
        total, computed = sum_of_shard(shard, work)
    count(STAGE, COMPUTED if computed else REUSED)
    return total
