"""FindPositives and ExcludePositives: the bank's rows that belong to candidates, and a bank without them."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard
from nnn_core.evaluation.positives import Positives, own_pairs
from nnn_core.scoring.bank import Bank
from pipelines.stages.once import unite


@dataclass
class FindPositives(beam.PTransform):  # type: ignore[misc]
    """The candidates' embedded shards to the pair ids that the bank has too, and to the number of rows that have them.

    Both are single elements: a ``Positives``, and a number of the bank's rows.

    Attributes:
        bank: the reference queries, a single element.
        work: URI of the folder of artefacts.
    """

    bank: beam.PCollection[Bank]
    work: str

    def expand(
        self, shards: beam.PCollection[EmbeddedShard]
    ) -> tuple[beam.PCollection[Positives], beam.PCollection[int]]:
        positives = (
            shards
            | "OwnPairs" >> beam.Map(own_pairs, AsSingleton(self.bank))
            | "AllPairs" >> beam.CombineGlobally(unite).without_defaults()
            | "StorePositives" >> beam.Map(Positives.store, self.work)
        )
        rows = (
            self.bank
            | "BankParts" >> beam.FlatMap(lambda found: found.parts)
            # A step of its own: what it waits for is made from the bank itself.
            | "SpreadParts" >> beam.Reshuffle()
            | "CountPart" >> beam.Map(lambda part, found: found.count(part), AsSingleton(positives))
            | "AllParts" >> beam.CombineGlobally(sum).without_defaults()
        )
        return positives, rows


@dataclass
class ExcludePositives(beam.PTransform):  # type: ignore[misc]
    """The bank's files to the same without the rows that belong to candidates.

    Attributes:
        positives: pair ids that bank and candidates share, a single element.
        work: URI of the folder of artefacts.
    """

    positives: beam.PCollection[Positives]
    work: str

    def expand(self, embedded: beam.PCollection[EmbeddedInput]) -> beam.PCollection[EmbeddedInput]:
        return (
            embedded
            | "SpreadFiles" >> beam.Reshuffle()
            | "WithoutPositives" >> beam.Map(_leave_out, AsSingleton(self.positives), self.work)
        )


def _leave_out(embedded: EmbeddedInput, positives: Positives, work: str) -> EmbeddedInput:
    return positives.leave_out(embedded, work)
