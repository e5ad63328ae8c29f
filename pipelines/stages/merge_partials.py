"""MergePartials: the partials of each candidate shard to rows of the table."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, TaggedOutput

from nnn_core.embedded.corpus import Corpus
from nnn_core.embedded.shards import read_ids
from nnn_core.evaluation.means import ShardMeans
from nnn_core.events import Event
from nnn_core.scoring.bank import Bank
from nnn_core.scoring.own_pairs import OwnPairs
from nnn_core.scoring.partials import Scored, ScoredRange, merge_partials
from nnn_core.table.parts import RowSlice, slice_rows
from pipelines.stages._counting import count, timed
from pipelines.stages.metrics import COMPUTED, SHUFFLED, StageName

_STAGE = StageName.MERGE_PARTIALS

_LOG = logging.getLogger("nnn")

TABLE_ROWS, SCORED, MEANS = "rows", "scored", "means"


@dataclass
class MergePartials(beam.PTransform):  # type: ignore[misc]
    """Partials by candidate shard to row slices by table part.

    Outputs ``rows``: (part number, RowSlice), the one shuffle of the job that carries data, about
    60 bytes a candidate; ``scored``: one ``Scored`` for each candidate shard; and ``means``: one ``ShardMeans``
    for each, if a folder for them is given.

    Attributes:
        bank: the reference queries, a single element.
        corpus: the candidates as a whole, a single element.
        grid: the values of k to take means for; those beyond the bank's size are left out.
        keep_means: folder of artefacts; None where nobody evaluates.
    """

    bank: beam.PCollection[Bank]
    corpus: beam.PCollection[Corpus]
    grid: tuple[int, ...]
    keep_means: str | None = None

    def expand(self, partials: beam.PCollection[tuple[str, ScoredRange]]) -> beam.pvalue.DoOutputsTuple:
        return (
            partials
            | "ByCandidateShard" >> beam.GroupByKey()
            | "MergeShard"
            >> beam.FlatMap(
                merge_shard, self.grid, AsSingleton(self.bank), AsSingleton(self.corpus), self.keep_means
            ).with_outputs(TABLE_ROWS, SCORED, MEANS)
        )


def merge_shard(
    keyed: tuple[str, Iterable[ScoredRange]],
    grid: tuple[int, ...],
    bank: Bank,
    corpus: Corpus,
    keep_means: str | None = None,
) -> Iterator[TaggedOutput]:
    """Merge, average and cut the rows of one candidate shard."""
    with timed(_STAGE):
        ranges = list(keyed[1])
        candidates = ranges[0].candidates
        partials = [partial for each in ranges for partial in each.partials]
        top, searches = merge_partials(partials, len(bank.shards))
        fitting = tuple(k for k in grid if k <= bank.rows)
        means = top.means(fitting)
        slices: list[tuple[int, RowSlice]] = slice_rows(
            read_ids(candidates), means, candidates.source, corpus.boundaries
        )
    count(_STAGE, COMPUTED)
    count(_STAGE, SHUFFLED, sum(len(piece.data) for _, piece in slices))
    where = {"uri": candidates.source, "shard": candidates.uri}
    _LOG.info(Event("merged", stage=_STAGE, **where, rows=candidates.rows, partials=len(partials)))
    yield TaggedOutput(SCORED, Scored(int(top.seen.min()), searches, OwnPairs.of(bank.rows - top.seen)))
    if keep_means is not None:
        yield TaggedOutput(MEANS, ShardMeans.store(candidates, means, fitting, keep_means))
    for piece in slices:
        yield TaggedOutput(TABLE_ROWS, piece)
