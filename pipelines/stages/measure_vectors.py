"""MeasureVectors: the embedded shards of both sides to the sums of their vectors."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from nnn_core.embedded.corpus import Corpus
from nnn_core.embedded.profile import SideSums, VectorSum
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard
from nnn_core.scoring.bank import Bank
from pipelines.stages._counting import count, timed
from pipelines.stages.metrics import COMPUTED, REUSED, StageName
from pipelines.stages.once import unite

_STAGE = StageName.MEASURE_VECTORS


@dataclass
class MeasureVectors(beam.PTransform):  # type: ignore[misc]
    """(candidates, references), both embedded, to one ``SideSums``; the sum of each shard is kept.

    Attributes:
        work: URI of the folder of artefacts.
        bank: a single element; nothing is summed before its checks.
        corpus: a single element; nothing is summed before its checks.
    """

    work: str
    bank: beam.PCollection[Bank]
    corpus: beam.PCollection[Corpus]

    def expand(
        self, sides: tuple[beam.PCollection[EmbeddedInput], beam.PCollection[EmbeddedInput]]
    ) -> beam.PCollection[SideSums]:
        checked = AsSingleton(self.bank), AsSingleton(self.corpus)
        sums = [
            side
            | f"{name.capitalize()}Shards" >> beam.FlatMap(EmbeddedInput.located)
            | f"Spread{name.capitalize()}" >> beam.Reshuffle()
            | f"Sum{name.capitalize()}" >> beam.Map(_sum, name, self.work, *checked)
            for name, side in zip(("candidates", "references"), sides, strict=True)
        ]
        return sums | "BothSides" >> beam.Flatten() | "SumAll" >> beam.CombineGlobally(unite).without_defaults()


def _sum(shard: EmbeddedShard, side: str, work: str, bank: Bank, corpus: Corpus) -> SideSums:
    del bank, corpus  # that they exist is what matters: vectors of one dimension, and some of them
    with timed(_STAGE):
        total, computed = VectorSum.of_shard(shard, work)
    count(_STAGE, COMPUTED if computed else REUSED)
    return SideSums(**{side: total})
