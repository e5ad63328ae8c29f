"""FindOwnPairs and DropOwnPairs: the bank's rows that belong to candidates, and a bank without them."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard
from nnn_core.evaluation.own_pairs import OwnPairIds, own_pair_ids
from nnn_core.scoring.bank import Bank
from pipelines.stages.once import unite


@dataclass
class FindOwnPairs(beam.PTransform):  # type: ignore[misc]
    """The candidates' embedded shards to the pair ids that the bank has too, and to the number of rows that have them.

    Both are single elements: an ``OwnPairIds``, and a number of the bank's rows.

    Attributes:
        bank: the reference queries, a single element.
        work: URI of the folder of artefacts.
    """

    bank: beam.PCollection[Bank]
    work: str

    def expand(
        self, shards: beam.PCollection[EmbeddedShard]
    ) -> tuple[beam.PCollection[OwnPairIds], beam.PCollection[int]]:
        own_pairs = (
            shards
            | "OwnPairs" >> beam.Map(own_pair_ids, AsSingleton(self.bank))
            | "AllPairs" >> beam.CombineGlobally(unite).without_defaults()
            | "StoreOwnPairs" >> beam.Map(OwnPairIds.store, self.work)
        )
        rows = (
            self.bank
            | "BankParts" >> beam.FlatMap(lambda found: found.parts)
            # A step of its own: what it waits for is made from the bank itself.
            | "SpreadParts" >> beam.Reshuffle()
            | "CountPart" >> beam.Map(lambda part, found: found.count(part), AsSingleton(own_pairs))
            | "AllParts" >> beam.CombineGlobally(sum).without_defaults()
        )
        return own_pairs, rows


@dataclass
class DropOwnPairs(beam.PTransform):  # type: ignore[misc]
    """The bank's files to the same without the rows that belong to candidates.

    Attributes:
        own_pairs: pair ids that bank and candidates share, a single element.
        work: URI of the folder of artefacts.
    """

    own_pairs: beam.PCollection[OwnPairIds]
    work: str

    def expand(self, embedded: beam.PCollection[EmbeddedInput]) -> beam.PCollection[EmbeddedInput]:
        return (
            embedded
            | "SpreadFiles" >> beam.Reshuffle()
            | "WithoutOwnPairs" >> beam.Map(_leave_out, AsSingleton(self.own_pairs), self.work)
        )


def _leave_out(embedded: EmbeddedInput, own_pairs: OwnPairIds, work: str) -> EmbeddedInput:
    return own_pairs.leave_out(embedded, work)
