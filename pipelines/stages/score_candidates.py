"""ScoreCandidates: every embedded shard of candidates against every reference shard."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import AsyncResult

import apache_beam as beam
from apache_beam.pvalue import AsSingleton
from apache_beam.utils.shared import Shared

from nnn_core import storage
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, read_shard
from nnn_core.events import Event
from nnn_core.scoring.bank import ReferenceIndex, ReferenceShard, Sides
from nnn_core.scoring.cache import BoundedCache
from nnn_core.scoring.partials import EXACT, Partial, ScoredRange
from nnn_core.scoring.score import score_block
from nnn_core.scoring.scorer import Scorer
from nnn_core.scoring.search.calibration import CalibratedShard
from nnn_core.scoring.search.searches import Search, exact_search
from nnn_core.scoring.topk import TopK
from pipelines.stages._counting import count, count_work, timed, timed_part
from pipelines.stages._memory import give_back
from pipelines.stages._side_by_side import threads_of_its_own
from pipelines.stages.metrics import COMPUTED, LOAD_MSEC, PAIRS, REUSED, SEARCH_MSEC, StageName, tell

_STAGE = StageName.SCORE_CANDIDATES

_LOG = logging.getLogger("nnn")

#: (candidate, reference) pairs in one task: minutes of work, small enough to balance.
_PAIRS_PER_TASK = 1 << 34

#: Reference indexes kept in memory by a worker process.
_CACHE_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class _ScoreTask:
    """One shard of candidates and a range of reference shards."""

    candidates: EmbeddedShard
    first: int
    last: int


def _plan_tasks(candidates: EmbeddedShard, sides: Sides) -> Iterator[_ScoreTask]:
    """Cut the reference shards into ranges of about ``_PAIRS_PER_TASK`` pairs."""
    shards = sides.bank.shards
    tell(_STAGE, expected=len(shards), rows_expected=candidates.rows * sides.bank.rows)
    first, pairs = 0, 0
    for shard in shards:
        pairs += candidates.rows * shard.rows
        if pairs >= _PAIRS_PER_TASK or shard.number == len(shards) - 1:
            yield _ScoreTask(candidates, first, shard.number + 1)
            first, pairs = shard.number + 1, 0


@dataclass
class ScoreCandidates(beam.PTransform):  # type: ignore[misc]
    """Embedded files, by the name of their stage, to the partials of candidate shards: a range for each task, keyed by
    shard.

    Attributes:
        sides: the bank and the candidates as a whole, a single element; nothing is scored before their checks.
        calibrated: how each reference shard is searched, a single element; None for exact searches.
        scorer: what to keep and how to find it.
    """

    sides: beam.PCollection[Sides]
    calibrated: beam.PCollection[list[CalibratedShard]] | None
    scorer: Scorer

    def expand(self, files: beam.PCollection[tuple[str, EmbeddedInput]]) -> beam.PCollection[tuple[str, ScoredRange]]:
        sides, calibrated = AsSingleton(self.sides), AsSingleton(self.calibrated) if self.calibrated else []
        return (
            files
            | "PlanTasks" >> beam.FlatMap(_plan, sides)
            | "SpreadTasks" >> beam.Reshuffle()
            | "ScoreShards" >> beam.ParDo(_ScoreShards(self.scorer), sides, calibrated)
        )


def _plan(named: tuple[str, EmbeddedInput], sides: Sides) -> Iterator[_ScoreTask]:
    stage, embedded = named
    if stage == StageName.EMBED_CANDIDATES:
        for shard in embedded.located():
            yield from _plan_tasks(shard, sides)


class _ScoreShards(beam.DoFn):  # type: ignore[misc]
    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._shared = Shared()

    def setup(self) -> None:
        give_back()
        self._cache = self._shared.acquire(lambda: BoundedCache(_CACHE_BYTES))

    def process(
        self, task: _ScoreTask, sides: Sides, calibrated: list[CalibratedShard]
    ) -> Iterator[tuple[str, ScoredRange]]:
        candidates, scorer, bank = task.candidates, self._scorer, sides.bank
        settings = {shard.number: shard for shard in calibrated}
        key = f"{candidates.source}\n{storage.basename(candidates.uri)}"
        found_by = [settings[shard.number].digest if shard.number in settings else EXACT for shard in bank.shards]
        if storage.exists(scorer.merged_uri(candidates, bank, found_by)):
            count(_STAGE, REUSED, task.last - task.first)
            tell(_STAGE, rows=candidates.rows * sum(each.rows for each in bank.shards[task.first : task.last]))
            yield key, ScoredRange.done(candidates)
            return
        start = time.perf_counter()
        partials, missing = list[Partial](), list[tuple[Partial, ReferenceShard, CalibratedShard | None]]()
        references = bank.shards[task.first : task.last]
        fitting = [list(scorer.partials(candidates, each, bank.rows, found_by[each.number])) for each in references]
        there = storage.existing([usual.uri for usual, *_ in fitting])
        there |= storage.existing([each.uri for usual, *others in fitting if usual.uri not in there for each in others])
        for reference, would_do in zip(references, fitting, strict=True):
            found = next((each for each in would_do if each.uri in there), None)
            partials.append(found or would_do[0])
            if found:
                count(_STAGE, REUSED)
                tell(_STAGE, rows=candidates.rows * reference.rows)
            else:
                missing.append((partials[-1], reference, settings.get(reference.number)))
        if missing:
            self._score(candidates, missing)
        where = {"uri": candidates.source, "shard": candidates.uri}
        span, seconds = f"{task.first}..{task.last - 1}", round(time.perf_counter() - start, 3)
        _LOG.info(Event("scored", stage=_STAGE, **where, rows=candidates.rows, references=span, seconds=seconds))
        yield key, ScoredRange.of(candidates, partials)

    def _score(
        self, candidates: EmbeddedShard, missing: Sequence[tuple[Partial, ReferenceShard, CalibratedShard | None]]
    ) -> None:
        """Compute partials one by one. Meanwhile other threads load the next references and store the last scores."""
        with threads_of_its_own(2) as pool:
            reading = pool.apply_async(read_shard, (candidates,))
            loading = pool.apply_async(self._search, missing[0])
            storing: AsyncResult[int] | None = None
            for number, (partial, reference, _) in enumerate(missing, 1):
                with timed(_STAGE):
                    with timed_part(_STAGE, LOAD_MSEC):
                        block, search = reading.get(), loading.get()
                    if number < len(missing):
                        loading = pool.apply_async(self._search, missing[number])
                    with timed_part(_STAGE, SEARCH_MSEC):
                        top = score_block(block, search, partial.k_max, self._scorer.threads)
                    if storing is not None:
                        count_work(_STAGE, storing.get())
                    storing = pool.apply_async(_store, (partial, top, search.name))
                    if number == len(missing):
                        count_work(_STAGE, storing.get())
                count(_STAGE, COMPUTED)
                count(_STAGE, PAIRS, candidates.rows * reference.rows)
                tell(_STAGE, rows=candidates.rows * reference.rows)

    def _search(self, partial: Partial, reference: ReferenceShard, how: CalibratedShard | None) -> Search:
        def load() -> Search:
            scorer = self._scorer
            index = ReferenceIndex.load(reference, scorer.exclude_own_pairs, scorer.cache)
            if how:
                return how.search(index, scorer.cache)
            return exact_search(index, scorer.search, partial.k_max)

        search: Search = self._cache.get(reference.digest, load, lambda loaded: loaded.nbytes)
        return search


def _store(partial: Partial, top: TopK, search: str) -> int:
    """Store scores; returns how many bytes were written, which are counted in the thread that Beam knows."""
    with storage.tally() as written:
        partial.write(top, search)
    return written.bytes
