"""CompareCorrections and CompareFairness: what ``nnn evaluate`` is asked for beyond the bias itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsList, AsSingleton

from nnn_core.embedded.shards import EmbeddedShard, read_ids
from nnn_core.evaluation.attributes import Counts, add_counts, compare_values, count_values, read_attributes
from nnn_core.evaluation.queries import StoredQueries
from nnn_core.evaluation.rivals import Trial
from nnn_core.report import Fairness
from nnn_core.report.review import Review
from nnn_core.scoring.bank import Bank


@dataclass
class CompareCorrections(beam.PTransform):  # type: ignore[misc]
    """Held-out queries to the rows of ``Trial.compare``, a single list; all in one worker's memory.

    Attributes:
        shards: embedded shards of the candidates.
        bank: the bank of reference queries, a single element.
        objective: figure by which settings are chosen, one of ``choice.OBJECTIVES``.
        threads: threads of the searches and of BLAS in the one worker.
    """

    shards: beam.PCollection[EmbeddedShard]
    bank: beam.PCollection[Bank]
    objective: str
    threads: int

    def expand(self, queries: beam.PCollection[StoredQueries]) -> beam.PCollection[list[dict[str, Any]]]:
        return (
            queries
            # A step of its own: candidates wait for the queries elsewhere, and would wait for this one too.
            | "SpreadQueries" >> beam.Reshuffle()
            | "CompareAll" >> beam.Map(self.compare, AsList(self.shards), AsSingleton(self.bank))
        )

    def compare(self, stored: StoredQueries, shards: list[EmbeddedShard], bank: Bank) -> list[dict[str, Any]]:
        """All methods on the same footing."""
        ordered = sorted(shards, key=lambda shard: (shard.source, shard.uri))
        trial = Trial.gather(stored.load().answered, ordered, bank)
        return trial.compare(objective=self.objective, threads=self.threads)


@dataclass
class CompareFairness(beam.PTransform):  # type: ignore[misc]
    """A ``Review`` to how evenly the values of each attribute are retrieved, a single tuple.

    Attributes:
        shards: embedded shards of the candidates.
        queries: the held-out queries as stored, a single element.
        attributes: pattern of the tables of attributes.
    """

    shards: beam.PCollection[EmbeddedShard]
    queries: beam.PCollection[StoredQueries]
    attributes: str

    def expand(self, review: beam.PCollection[Review]) -> beam.PCollection[tuple[Fairness, ...]]:
        counts = (
            self.shards
            | "CountValues" >> beam.Map(_count, self.attributes)
            | "AddCounts" >> beam.CombineGlobally(add_counts).without_defaults()
        )
        return review | "CompareFairness" >> beam.Map(
            _compare, AsSingleton(self.queries), AsSingleton(counts), self.attributes
        )


def _count(shard: EmbeddedShard, pattern: str) -> Counts:
    return count_values(read_ids(shard).to_pylist(), read_attributes(pattern))


def _compare(review: Review, stored: StoredQueries, counts: Counts, pattern: str) -> tuple[Fairness, ...]:
    queries = stored.load().answered
    return tuple(
        Fairness.of(name, len(queries.ids), *compare_values(*review.first, queries.relevant, values, counts[name]))
        for name, values in sorted(read_attributes(pattern).items())
    )
