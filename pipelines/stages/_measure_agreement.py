"""MeasureAgreement: whether the bank is of the validation queries' domain."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from nnn_core.embedded.profile import to_centroid
from nnn_core.embedded.shards import read_shard
from nnn_core.evaluation.agreement import NO_MOMENTS, Moments, agreement_of, moments_of
from nnn_core.evaluation.means import ShardMeans
from nnn_core.evaluation.queries import StoredQueries


@dataclass
class MeasureAgreement(beam.PTransform):  # type: ignore[misc]
    """All candidate shards to the agreement, a single element; None where the bank's mean vector is unknown.

    Attributes:
        queries: the stored queries, a single element.
        centroid: mean vector of the bank as a manifest has it, a single element.
    """

    queries: beam.PCollection[StoredQueries]
    centroid: beam.PCollection[str]

    def expand(self, shards: beam.PCollection[ShardMeans]) -> beam.PCollection[float | None]:
        return (
            shards
            | "AddMoments" >> beam.Map(_moments_of, AsSingleton(self.queries), AsSingleton(self.centroid))
            | "SumMoments" >> beam.CombineGlobally(sum).without_defaults()
            | "Correlate" >> beam.Map(agreement_of)
        )


def _moments_of(means: ShardMeans, stored: StoredQueries, centroid: str) -> Moments:
    bank, block, queries = to_centroid(centroid), read_shard(means.shard), stored.load()
    if bank is None:  # the table is of an earlier release, which kept none
        return NO_MOMENTS
    return moments_of(block.vectors, block.ids.to_pylist(), bank, queries.vectors, queries.relevant)
