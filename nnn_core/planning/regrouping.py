"""Whether the bank's files would better be scored in groups of another size, from the sizes of the files.

Groups are cut by content (``references.shard_references``), so they are a function of the files that are there: a
window may slide for years and they are as good as those of a first refresh, and nothing has to be put in order from
time to time. What may be wrong is their size. A file that joins a group has the whole group scored again, so where
files are much smaller than groups, every addition costs about half a group; smaller groups cost less to score, but
every refresh merges the scores of all groups. Which of them weighs more follows from the sizes of files, bank and
vectors, so additions are replayed over the files that are there, for other sizes of group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from nnn_core.embedded.shards import EmbeddedShard
from nnn_core.planning.costs import MERGED_SCORES, PARTIAL_SECONDS, Worker
from nnn_core.scoring.bank import Grouping, group_shards, in_order
from nnn_core.scoring.partials import kept_scores

#: Sizes that are tried, relative to the current one, up to a bound on the memory that a group takes.
_FACTORS = (1 / 256, 1 / 64, 1 / 16, 1 / 4, 4, 16, 64, 256)
_MOST_ROWS = 1 << 18

#: Additions that are replayed, and refreshes after which regrouping must have paid.
_REPLAYED = 8
PATIENCE = 30


@dataclass(frozen=True)
class Asked:
    """What every refresh does.

    Attributes:
        candidates: number of candidates in the table.
        shards: number of embedded shards of candidates.
        dim: dimension of the vectors.
        k_max: how many scores of each candidate count.
        added: files of the bank that each refresh adds.
        dropped: files of the bank that each refresh drops.
    """

    candidates: int
    shards: int
    dim: int
    k_max: int
    added: int = 1
    dropped: int = 0


@dataclass(frozen=True)
class Regrouping:
    """Another size of group, and what it would change.

    Attributes:
        rows: another size of group, in references, to be given as ``--reference-shard-rows``.
        pairs_now: (candidate, reference) pairs to score once, when the bank is regrouped.
        pairs_saved: (candidate, reference) pairs that each later refresh scores less; negative if more.
        partials_saved: partials that each later refresh merges less; negative if more.
        refreshes: number of refreshes after which regrouping has paid.
        replayed: number of additions to the bank that this was learned from.
    """

    rows: int
    pairs_now: int
    pairs_saved: int
    partials_saved: int
    refreshes: int
    replayed: int

    @classmethod
    def propose(cls, shards: Sequence[EmbeddedShard], rows: int, asked: Asked, worker: Worker) -> Regrouping | None:
        """The size of group that saves most in ``PATIENCE`` refreshes, what it costs at first included.

        Args:
            shards: embedded shards of the bank.
            rows: references that a group holds now, at most.
            asked: size of the table, and the files that every refresh adds to and drops from the bank.
            worker: type of worker by whose rates pairs and merges are weighed.

        Returns:
            None where no other size pays, or too few files are there to tell.
        """
        ordered = in_order(shards)
        replayed = min(_REPLAYED, (len(ordered) - 1) // (asked.added + asked.dropped))
        if replayed < 1 or not asked.candidates:
            return None
        ends = range(len(ordered) - replayed * asked.added, len(ordered) + 1, asked.added)
        # The bank before the first addition, and after each.
        windows = [ordered[step * asked.dropped : end] for step, end in enumerate(ends)]
        now = _Habit.of(ordered, windows, rows, asked.k_max)
        sizes = sorted({round(rows * factor) for factor in _FACTORS if 1 <= rows * factor <= max(rows, _MOST_ROWS)})
        best, most = None, 1e-9
        for size in sizes:
            then = _Habit.of(ordered, windows, size, asked.k_max)
            once, each = _seconds(now, then, asked, worker)
            saved = PATIENCE * each - once
            if saved >= most:  # of sizes that cut alike the largest is named
                pairs_now = asked.candidates * _new_rows(now.groups, then.groups)
                pairs_saved = round(asked.candidates * (now.scored - then.scored))
                partials_saved = round(asked.shards * (now.partials - then.partials))
                refreshes = max(1, math.ceil(once / each))
                best, most = cls(size, pairs_now, pairs_saved, partials_saved, refreshes, replayed), saved
        return best


#: Groups by what names them, with their rows.
_Groups = dict[tuple[str, ...], int]


@dataclass(frozen=True)
class _Habit:
    """What groups of a size lead to.

    Attributes:
        groups: groups of the whole bank: digests of a group's embedded shards to its rows.
        scored: references that a refresh scores for each candidate, on average.
        partials: groups that a refresh merges, on average.
        kept: scores of each candidate that a refresh merges, on average.
    """

    groups: _Groups
    scored: float
    partials: float
    kept: float

    @classmethod
    def of(cls, ordered: list[EmbeddedShard], windows: list[list[EmbeddedShard]], rows: int, k_max: int) -> _Habit:
        cut = [_cut(window, rows) for window in windows]
        return cls(
            _cut(ordered, rows),
            fmean(_new_rows(before, after) for before, after in pairwise(cut)),
            fmean(len(groups) for groups in cut[1:]),
            fmean(_kept(groups, k_max) for groups in cut[1:]),
        )


def _cut(ordered: list[EmbeddedShard], rows: int) -> _Groups:
    groups = group_shards(ordered, Grouping.of(0, rows))
    return {tuple(shard.digest for shard in group): sum(shard.rows for shard in group) for group in groups}


def _kept(groups: _Groups, k_max: int) -> int:
    bank = sum(groups.values())
    return sum(min(held, kept_scores(k_max, held, bank)) for held in groups.values())


def _new_rows(before: _Groups, after: _Groups) -> int:
    return sum(rows for group, rows in after.items() if group not in before)


def _seconds(now: _Habit, then: _Habit, asked: Asked, worker: Worker) -> tuple[float, float]:
    """Of one machine: what regrouping costs once, and what it saves in each refresh."""
    pair = 2e-9 * asked.dim / worker.gflops
    once = asked.candidates * _new_rows(now.groups, then.groups) * pair
    scored = asked.candidates * (now.scored - then.scored) * pair
    merged = asked.candidates * (now.kept - then.kept) / MERGED_SCORES
    opened = asked.shards * (now.partials - then.partials) * PARTIAL_SECONDS
    return once, scored + (merged + opened) / worker.processes
