"""FindOwnPairs and DropReferences: the bank's rows that belong to candidates, and a bank without some of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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


class _Unwanted(Protocol):
    """Knows the rows that a bank is to do without: own pairs, or validation queries."""

    def leave_out(self, embedded: EmbeddedInput, work: str) -> EmbeddedInput:
        """A file of the bank without them; what is left is stored below ``work``."""


@dataclass
class DropReferences(beam.PTransform):  # type: ignore[misc]
    """The bank's files to the same without some of their rows.

    Attributes:
        unwanted: the rows to leave out, a single element.
        work: URI of the folder of artefacts.
    """

    unwanted: beam.PCollection[_Unwanted]
    work: str

    def expand(self, embedded: beam.PCollection[EmbeddedInput]) -> beam.PCollection[EmbeddedInput]:
        return (
            embedded
            | "SpreadFiles" >> beam.Reshuffle()
            | "LeaveOut" >> beam.Map(_leave_out, AsSingleton(self.unwanted), self.work)
        )


def _leave_out(embedded: EmbeddedInput, unwanted: _Unwanted, work: str) -> EmbeddedInput:
    return unwanted.leave_out(embedded, work)
