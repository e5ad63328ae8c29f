"""JudgeBias: what biases do to held-out queries, counted over all candidates."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsIter, AsList, AsSingleton

from nnn_core import storage
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard
from nnn_core.evaluation.judgements import read_judgements
from nnn_core.evaluation.judging import ShardJudging
from nnn_core.evaluation.means import ShardMeans
from nnn_core.evaluation.queries import Overlap, QuerySet, StoredQueries
from nnn_core.evaluation.ranks import Counts, Targets
from nnn_core.evaluation.summary import Evaluation, Request
from nnn_core.scoring.bank import Bank
from pipelines.stages._counting import count, timed
from pipelines.stages.metrics import COMPUTED, REUSED, StageName, tell
from pipelines.stages.once import Once

_STAGE = StageName.JUDGE_BIAS


@dataclass
class GatherQueries(beam.PTransform):  # type: ignore[misc]
    """Embedded validation queries to one ``StoredQueries``.

    Attributes:
        candidates: embedded files of the candidates, some of which answer the queries.
        relevance: pattern of the judgements; None if pair ids say what answers a query.
        max_reject_rate: allowed share of rejected rows, 0 to 1.
        flag: flag that named the files of queries, for messages.
        work: URI of the folder of artefacts.
        need_answers: whether queries of which none has an answer are refused.
    """

    candidates: beam.PCollection[EmbeddedInput]
    relevance: str | None
    max_reject_rate: float
    flag: str
    work: str
    need_answers: bool = True

    def expand(self, inputs: beam.PCollection[EmbeddedInput]) -> beam.PCollection[StoredQueries]:
        return inputs.pipeline | "GatherQueries" >> Once(self.gather_queries, AsList(inputs), AsList(self.candidates))

    def gather_queries(self, inputs: list[EmbeddedInput], candidates: list[EmbeddedInput]) -> StoredQueries:
        """Join queries and judgements, and see that they are about this index before anything is scored."""
        judgements = read_judgements(self.relevance) if self.relevance else None
        rejects = storage.join(self.work, "rejects")
        queries, rejected = QuerySet.gather(
            inputs, judgements, self.max_reject_rate, self.flag, rejects, self.need_answers
        )
        queries = queries.check_answers(candidates, self.need_answers)
        return replace(queries.store(self.work), rejects=rejected)


@dataclass
class CheckOverlap(beam.PTransform):  # type: ignore[misc]
    """``StoredQueries`` to the same with the number of them that the bank has too; fails where that is not allowed.

    Attributes:
        bank: a single element.
        allowed: whether queries may be in the bank.
    """

    bank: beam.PCollection[Bank]
    allowed: bool

    def expand(self, queries: beam.PCollection[StoredQueries]) -> beam.PCollection[StoredQueries]:
        overlap = (
            self.bank
            | "BankShards" >> beam.FlatMap(lambda bank: bank.parts)
            | "SpreadBank" >> beam.Reshuffle()
            | "FindOverlap" >> beam.Map(_find_overlap, AsSingleton(queries))
        )
        return queries.pipeline | "CheckDisjoint" >> Once(self.check_disjoint, AsSingleton(queries), AsIter(overlap))

    def check_disjoint(self, stored: StoredQueries, overlaps: Iterable[Overlap]) -> StoredQueries:
        """Count the queries that are in the bank, and refuse them unless they are allowed."""
        overlap = reduce(operator.or_, overlaps, Overlap())
        if not self.allowed:
            overlap.refuse()
        return replace(stored, overlap=len(overlap.queries))


def _find_overlap(shard: EmbeddedShard, stored: StoredQueries) -> Overlap:
    return Overlap.find(stored.load(), shard)


@dataclass
class JudgeBias(beam.PTransform):  # type: ignore[misc]
    """The means of all candidate shards to one ``Evaluation``.

    The steps: FindTargets scores the relevant candidates; CountAhead counts, for all k and alpha at once, how many
    candidates are ahead of each; Summarise takes figures from the counts, and chooses. What the first two find in a
    shard is kept.

    Attributes:
        queries: the stored queries, a single element.
        request: what to judge, a single element.
        threads: threads of one worker process.
        agreement: of the bank and the queries, a single element; None if it is not asked for.
    """

    queries: beam.PCollection[StoredQueries]
    request: beam.PCollection[Request]
    threads: int
    agreement: beam.PCollection[float | None] | None = None

    def expand(self, shards: beam.PCollection[ShardMeans]) -> beam.PCollection[Evaluation]:
        queries, request = AsSingleton(self.queries), AsSingleton(self.request)
        agreement = AsSingleton(self.agreement) if self.agreement else None
        found = shards | "FindTargets" >> beam.Map(_find_targets, queries)
        targets = AsSingleton(shards.pipeline | "GatherTargets" >> Once(Targets.gather, AsList(found)))
        return (
            shards
            | "SpreadShards" >> beam.Reshuffle()
            | "CountAhead" >> beam.Map(_count_ahead, queries, targets, request, self.threads)
            | "AddCounts" >> beam.CombineGlobally(sum).without_defaults()
            | "Summarise" >> beam.Map(_summarise, queries, targets, request, agreement)
        )


def _find_targets(means: ShardMeans, stored: StoredQueries) -> Targets:
    tell(_STAGE, expected=2)  # this, and what counts ahead of it
    with timed(_STAGE):
        targets, computed = ShardJudging(means, stored).find_targets()
    count(_STAGE, COMPUTED if computed else REUSED)
    return targets


def _count_ahead(means: ShardMeans, stored: StoredQueries, targets: Targets, request: Request, threads: int) -> Counts:
    if not len(targets.pairs):  # nobody knows an answer
        tell(_STAGE, expected=-1)
        return np.zeros((len(request.points), 0), np.int64)
    with timed(_STAGE):
        ahead, computed = ShardJudging(means, stored).count_ahead(targets, request.points, threads)
    count(_STAGE, COMPUTED if computed else REUSED)
    return ahead


def _summarise(
    ahead: Counts, stored: StoredQueries, targets: Targets, request: Request, agreement: float | None
) -> Evaluation:
    return Evaluation.of(stored.load(), targets, ahead, request, stored.rejects.rejected, agreement)
