"""MeasureVectors: the embedded shards of both sides to the sums of their vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from nnn_core.embedded.corpus import Corpus, located_shards
from nnn_core.embedded.profile import SideSums, merge_sums, sum_of_shard
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard
from nnn_core.scoring.bank import Bank
from pipelines.stages.metrics import COMPUTED, REUSED, StageName, count, timed

_STAGE = StageName.MEASURE_VECTORS

SideName = Literal["candidates", "references"]


@dataclass
class MeasureVectors(beam.PTransform):  # type: ignore[misc]
    """(candidates, references), both embedded, to one ``SideSums``; the sum of each shard is kept.

    Attributes:
        work: folder of artefacts.
        bank: a single element; nothing is summed before its checks.
        corpus: a single element; nothing is summed before its checks.
    """

    work: str
    bank: beam.PCollection[Bank]
    corpus: beam.PCollection[Corpus]

    def expand(
        self, sides: tuple[beam.PCollection[EmbeddedInput], beam.PCollection[EmbeddedInput]]
    ) -> beam.PCollection[SideSums]:
        candidates, references = sides
        return (
            (
                candidates | "Candidates" >> beam.FlatMap(_named, "candidates"),
                references | "References" >> beam.FlatMap(_named, "references"),
            )
            | "BothSides" >> beam.Flatten()
            | "SpreadShards" >> beam.Reshuffle()
            | "SumShard" >> beam.Map(_sum, self.work, AsSingleton(self.bank), AsSingleton(self.corpus))
            | "SumAll" >> beam.CombineGlobally(merge_sums).without_defaults()
        )


def _named(result: EmbeddedInput, side: SideName) -> list[tuple[SideName, EmbeddedShard]]:
    return [(side, shard) for shard in located_shards(result)]


def _sum(keyed: tuple[SideName, EmbeddedShard], work: str, bank: object, corpus: object) -> SideSums:
    del bank, corpus  # that they exist is what matters: vectors of one dimension, and some of them
    side, shard = keyed
    with timed(_STAGE):
        total, computed = sum_of_shard(shard, work)
    count(_STAGE, COMPUTED if computed else REUSED)
    return SideSums(candidates=total) if side == "candidates" else SideSums(references=total)
