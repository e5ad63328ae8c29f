"""FindPositives and ExcludePositives: the bank's rows that belong to candidates, and a bank without them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard
from nnn_core.evaluation.positives import Positives, own_pairs
from nnn_core.scoring.bank import Bank


@dataclass
class FindPositives(beam.PTransform):  # type: ignore[misc]
    """The candidates' embedded shards to the pair ids that the bank has too, a single ``Positives``.

    Attributes:
        bank: the reference queries, a single element.
        work: URI of the folder of artefacts.
    """

    bank: beam.PCollection[Bank]
    work: str

    def expand(self, shards: beam.PCollection[EmbeddedShard]) -> beam.PCollection[Positives]:
        return (
            shards
            | "OwnPairs" >> beam.Map(own_pairs, AsSingleton(self.bank))
            | "AllPairs" >> beam.CombineGlobally(_unite).without_defaults()
            | "StorePositives" >> beam.Map(Positives.store, self.work)
        )


def _unite(names: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*names)


@dataclass
class CountPositives(beam.PTransform):  # type: ignore[misc]
    """The bank to the number of its rows that belong to candidates, a single element.

    Attributes:
        positives: pair ids that bank and candidates share, a single element.
    """

    positives: beam.PCollection[Positives]

    def expand(self, bank: beam.PCollection[Bank]) -> beam.PCollection[int]:
        return (
            bank
            | "BankParts" >> beam.FlatMap(lambda found: found.parts)
            # A step of its own: what it waits for is made from the bank itself.
            | "SpreadParts" >> beam.Reshuffle()
            | "CountPart" >> beam.Map(lambda part, positives: positives.count(part), AsSingleton(self.positives))
            | "AllParts" >> beam.CombineGlobally(sum).without_defaults()
        )


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
