"""ReviewBias: the part that ``refresh`` and ``evaluate`` share, from means to what held-out queries tell of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsDict, AsIter, AsList, AsSingleton

from nnn_core.embedded.shards import read_ids
from nnn_core.evaluation.judging import ShardJudging
from nnn_core.evaluation.means import ShardMeans
from nnn_core.evaluation.queries import StoredQueries
from nnn_core.evaluation.rankings import Rankings
from nnn_core.evaluation.ranks import biases_at
from nnn_core.evaluation.summary import Evaluation, Request
from nnn_core.report import Shown
from nnn_core.report.review import Review
from pipelines.stages._counting import count, timed
from pipelines.stages._measure_agreement import MeasureAgreement
from pipelines.stages._show_rows import ShowRows
from pipelines.stages.embed_files import _EmbeddedSide
from pipelines.stages.judge_bias import JudgeBias
from pipelines.stages.metrics import COMPUTED, REUSED, StageName, tell
from pipelines.stages.once import Once, unite

_STAGE = StageName.JUDGE_BIAS


@dataclass
class ReviewBias(beam.PTransform):  # type: ignore[misc]
    """The means of all candidate shards to one ``Review``.

    Attributes:
        queries: the stored queries, a single element.
        asked: the files of the queries.
        candidates: the files of the candidates.
        request: what to judge, a single element.
        centroid: mean vector of the bank as a manifest has it, a single element.
        threads: threads of one worker process.
        show: columns of the candidates' files whose values a page shows.
    """

    queries: beam.PCollection[StoredQueries]
    asked: _EmbeddedSide
    candidates: _EmbeddedSide
    request: beam.PCollection[Request]
    centroid: beam.PCollection[str]
    threads: int
    show: tuple[str, ...] = ()

    def expand(self, means: beam.PCollection[ShardMeans]) -> beam.PCollection[Review]:
        agreement = means | "MeasureAgreement" >> MeasureAgreement(self.queries, self.centroid)
        evaluation = means | "JudgeBias" >> JudgeBias(self.queries, self.request, self.threads, agreement)
        queries, judged = AsSingleton(self.queries), AsSingleton(evaluation)
        rankings = (
            means
            | "RankShards" >> beam.Map(_rank_shard, queries, judged)
            | "MergeRankings" >> beam.CombineGlobally(unite).without_defaults()
        )
        rows = means | "Rows" >> beam.Map(lambda each: each.shard.rows)
        draft = means.pipeline | "DraftReview" >> Once(_draft, judged, AsSingleton(rankings), queries, AsIter(rows))
        wanted = draft | "WantedCandidates" >> beam.Map(lambda review: review.wanted_candidates)
        asked = draft | "WantedQueries" >> beam.Map(lambda review: review.wanted_queries)
        shown = self._show("ShowCandidates", self.candidates, wanted, self.show)
        texts = self._show("ShowQueries", self.asked, asked)
        biases = means | "BiasesOfHubs" >> beam.FlatMap(_biases_of, AsSingleton(wanted), judged)
        return means.pipeline | "ShowRows" >> Once(
            Review.show, AsSingleton(draft), AsList(shown), AsList(texts), AsDict(biases)
        )

    def _show(
        self, name: str, files: _EmbeddedSide, wanted: beam.PCollection[frozenset[str]], fields: tuple[str, ...] = ()
    ) -> beam.PCollection[Shown]:
        return files.shards | name >> ShowRows(files.embedded, wanted, files.request, fields)


def _rank_shard(means: ShardMeans, stored: StoredQueries, evaluation: Evaluation) -> Rankings:
    tell(_STAGE, expected=1)
    with timed(_STAGE):
        rankings, computed = ShardJudging(means, stored).rank(evaluation.point)
    count(_STAGE, COMPUTED if computed else REUSED)
    return rankings


def _biases_of(means: ShardMeans, wanted: frozenset[str], evaluation: Evaluation) -> list[tuple[str, float]]:
    rows = [(row, name) for row, name in enumerate(read_ids(means.shard).to_pylist()) if name in wanted]
    if not rows:
        return []
    (biases,) = biases_at(means.load()[[row for row, _ in rows]], means.grid, [evaluation.point])
    return [(name, float(bias)) for (_, name), bias in zip(rows, biases, strict=True)]


def _draft(evaluation: Evaluation, rankings: Rankings, stored: StoredQueries, rows: Iterable[int]) -> Review:
    return Review.draft(evaluation, rankings, stored, sum(rows))
