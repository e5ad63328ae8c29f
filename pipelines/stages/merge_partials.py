"""MergePartials: the partials of each candidate shard to rows of the table."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.pvalue import AsSingleton, TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.shared import Shared

from nnn_core.embedded.shards import EmbeddedShard, read_ids, read_shard
from nnn_core.evaluation.means import ShardMeans
from nnn_core.events import Event
from nnn_core.scoring.bank import Bank, ReferenceIndex, Sides
from nnn_core.scoring.cache import BoundedCache
from nnn_core.scoring.looks import Look
from nnn_core.scoring.merged import MergedShard, Total
from nnn_core.scoring.partials import EXACT, ScoredRange
from nnn_core.scoring.score import score_block
from nnn_core.scoring.scorer import Scorer
from nnn_core.scoring.search.calibration import CalibratedShard
from nnn_core.scoring.search.searches import Search, exact_search
from nnn_core.table.parts import RowSlice
from nnn_core.vectors import FloatMatrix
from pipelines.stages._counting import count, timed
from pipelines.stages._memory import give_back
from pipelines.stages.measure_vectors import measure_vectors
from pipelines.stages.metrics import COMPUTED, PAIRS, READ, REUSED, SHUFFLED, StageName

_STAGE = StageName.MERGE_PARTIALS

_LOG = logging.getLogger("nnn")

TABLE_ROWS, SCORED, MEANS = "rows", "scored", "means"

#: References of second looks kept in memory by a worker process.
_CACHE_BYTES = 256 << 20


@dataclass
class MergePartials(beam.PTransform):  # type: ignore[misc]
    """Partials by candidate shard to row slices by table part.

    Outputs ``rows``: (part number, RowSlice), the one shuffle of the job that carries data, about
    60 bytes a candidate; ``scored``: a ``Total`` for each bundle of candidate shards; and ``means``: one
    ``ShardMeans`` for each shard, if they are asked for.

    Attributes:
        sides: the bank and the candidates as a whole, a single element.
        calibrated: how each reference shard is searched, a single element; None for exact searches.
        scorer: what is asked of the scores.
        keep_means: whether means are stored for an evaluation.
    """

    sides: beam.PCollection[Sides]
    calibrated: beam.PCollection[list[CalibratedShard]] | None
    scorer: Scorer
    keep_means: bool = False

    def expand(self, partials: beam.PCollection[tuple[str, ScoredRange]]) -> beam.pvalue.DoOutputsTuple:
        sides = AsSingleton(self.sides), AsSingleton(self.calibrated) if self.calibrated else []
        return (
            partials
            | "ByCandidateShard" >> beam.GroupByKey()
            | "MergeShard"
            >> beam.ParDo(_MergeShard(self.scorer, self.keep_means), *sides).with_outputs(TABLE_ROWS, SCORED, MEANS)
        )


class _MergeShard(beam.DoFn):  # type: ignore[misc]
    """Merge, average and cut the rows of one candidate shard."""

    def __init__(self, scorer: Scorer, keep_means: bool) -> None:
        self._scorer, self._keep_means = scorer, keep_means
        self._shared = Shared()

    def setup(self) -> None:
        give_back()
        self._cache = self._shared.acquire(lambda: BoundedCache(_CACHE_BYTES))

    def start_bundle(self) -> None:
        self._total: Total | None = None

    def process(
        self, keyed: tuple[str, Iterable[ScoredRange]], sides: Sides, calibrated: list[CalibratedShard]
    ) -> Iterator[TaggedOutput]:
        ranges, scorer, bank = list(keyed[1]), self._scorer, sides.bank
        candidates = ranges[0].candidates
        settings = {shard.number: shard.digest for shard in calibrated}
        uri = scorer.merged_uri(candidates, bank, [settings.get(shard.number, EXACT) for shard in bank.shards])
        partials = [partial for each in ranges for partial in each.partials]
        with timed(_STAGE):
            how = (bank, scorer.grid_of(bank.rows), scorer.k_max)
            merged, read = MergedShard.of(candidates, uri, partials, *how, self._look_at(candidates, bank))
            slices: list[tuple[int, RowSlice]] = RowSlice.cut(
                read_ids(candidates), merged.means, candidates.source, sides.corpus.boundaries
            )
        count(_STAGE, REUSED if read is None else COMPUTED)
        count(_STAGE, READ, read or 0)
        count(_STAGE, SHUFFLED, sum(len(piece.data) for _, piece in slices))
        where = {"uri": candidates.source, "shard": candidates.uri}
        _LOG.info(Event("merged", stage=_STAGE, **where, rows=candidates.rows, partials=len(partials)))
        # One total for each bundle: what is combined leaves no worker in pieces, and needs no shuffle.
        total = Total(merged.scored, measure_vectors([candidates], scorer.work))
        self._total = total if self._total is None else self._total | total
        if self._keep_means:
            yield TaggedOutput(MEANS, ShardMeans.store(candidates, merged.means, merged.grid, scorer.work))
        for piece in slices:
            yield TaggedOutput(TABLE_ROWS, piece)

    def finish_bundle(self) -> Iterator[TaggedOutput]:
        if self._total is not None:
            yield TaggedOutput(SCORED, GlobalWindows.windowed_value(self._total))

    def _look_at(self, candidates: EmbeddedShard, bank: Bank) -> Look:
        """The second look at a candidate shard, whose vectors are read if it comes to that."""
        scorer, read = self._scorer, cache(lambda: read_shard(candidates))

        def look(number: int, rows: npt.NDArray[np.int64]) -> FloatMatrix:
            reference, block = bank.shards[number], read()

            def load() -> Search:
                return exact_search(ReferenceIndex.load(reference, scorer.exclude_own_pairs, scorer.cache), "exact")

            search = self._cache.get(reference.digest, load, lambda loaded: loaded.nbytes)
            count(_STAGE, PAIRS, len(rows) * reference.rows)
            return score_block(block.take(rows), search, scorer.k_max, scorer.threads).scores

        return look
