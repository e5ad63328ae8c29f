"""CalibrateSearch: for every reference shard how little an approximate search may look at."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsList

from nnn_core.embedded.corpus import embedded_shards
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.scoring.bank import ReferenceShard, Sides
from nnn_core.scoring.search.calibration import CalibratedShard
from nnn_core.storage.disk_cache import NO_CACHE, DiskCache
from pipelines.stages._counting import count, timed
from pipelines.stages.metrics import COMPUTED, StageName, tell

_STAGE = StageName.CALIBRATE_SEARCH


@dataclass
class CalibrateSearch(beam.PTransform):  # type: ignore[misc]
    """What meets in scores to the calibrated searches of its shards, a single list.

    Attributes:
        candidates: what became of the input shards of candidates.
        grid: the values of k whose means must keep to the tolerance.
        tolerance: mean absolute error of a mean that is allowed.
        exclude_own_pairs: whether a candidate's own reference queries are left out.
        work: URI of the folder of artefacts.
        threads: threads of one worker process.
        cache: where each worker's machine keeps copies of the bank.
    """

    candidates: beam.PCollection[EmbeddedInput]
    grid: tuple[int, ...]
    tolerance: float
    exclude_own_pairs: bool
    work: str
    threads: int
    cache: DiskCache = NO_CACHE

    def expand(self, sides: beam.PCollection[Sides]) -> beam.PCollection[list[CalibratedShard]]:
        inputs = AsList(self.candidates)
        return (
            sides
            | "EachShard" >> beam.FlatMap(_each)
            | "SpreadShards" >> beam.Reshuffle()
            | "CalibrateShard" >> beam.Map(self.calibrate_shard, inputs)
            | "AllShards" >> beam.combiners.ToList().without_defaults()
        )

    def calibrate_shard(self, reference: ReferenceShard, inputs: list[EmbeddedInput]) -> CalibratedShard:
        """Cluster, choose and measure."""
        how = (self.grid, self.tolerance, self.exclude_own_pairs, self.work)
        with timed(_STAGE):
            shards = list(embedded_shards(inputs))
            calibrated = CalibratedShard.of(reference, shards, *how, threads=self.threads, cache=self.cache)
        count(_STAGE, COMPUTED)
        return calibrated


def _each(sides: Sides) -> tuple[ReferenceShard, ...]:
    tell(_STAGE, expected=len(sides.bank.shards))
    return sides.bank.shards
