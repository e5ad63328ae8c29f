"""The first few candidates of each query, found shard by shard, and what they say about hubs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.evaluation.metrics import gini, robin_hood, skewness
from nnn_core.evaluation.queries import QuerySet
from nnn_core.vectors import FloatMatrix

#: Candidates of each query that are looked at.
DEPTH = 10

_TILE_CANDIDATES = 8192
_TILE_QUERIES = 512

Entry = tuple[float, str]


@dataclass(frozen=True)
class Ranking:
    """The first candidates of each query: (debiased score, id), best first, equal ones in order of id."""

    rows: tuple[tuple[Entry, ...], ...]

    def __or__(self, other: Ranking) -> Ranking:
        """Of two disjoint sets of candidates."""
        both = zip(self.rows, other.rows, strict=True)
        return Ranking(tuple(tuple(sorted((*a, *b), key=_order)[:DEPTH]) for a, b in both))

    @property
    def ids(self) -> list[list[str]]:
        """Ids alone."""
        return [[name for _, name in row] for row in self.rows]


def _order(entry: Entry) -> tuple[float, str]:
    return -entry[0], entry[1]


def rank_shard(
    queries: FloatMatrix, candidates: FloatMatrix, ids: Sequence[str], bias: npt.NDArray[np.float32]
) -> Ranking:
    """The first candidates of one shard.

    Args:
        queries: (queries, dim) float32 on the grid of ``vectors``.
        candidates: (rows, dim) float32 on the grid.
        ids: of the candidates.
        bias: (rows,) float32.
    """
    return Ranking(
        tuple(
            row
            for first in range(0, len(queries), _TILE_QUERIES)
            for row in _rank_tile(queries[first : first + _TILE_QUERIES].astype(np.float64), candidates, ids, bias)
        )
    )


@dataclass(frozen=True)
class Rankings:
    """The first candidates of each query, twice.

    Attributes:
        plain: without the bias.
        debiased: with it.
    """

    plain: Ranking
    debiased: Ranking

    def __or__(self, other: Rankings) -> Rankings:
        """Of two disjoint sets of candidates."""
        return Rankings(self.plain | other.plain, self.debiased | other.debiased)


def rank_twice(
    queries: FloatMatrix, candidates: FloatMatrix, ids: Sequence[str], bias: npt.NDArray[np.float32]
) -> Rankings:
    """The first candidates of one shard without the bias and with it; arguments as those of ``rank_shard``."""
    plain = rank_shard(queries, candidates, ids, np.zeros_like(bias))
    return Rankings(plain, rank_shard(queries, candidates, ids, bias))


def _rank_tile(
    queries: npt.NDArray[np.float64], candidates: FloatMatrix, ids: Sequence[str], bias: npt.NDArray[np.float32]
) -> Iterator[tuple[Entry, ...]]:
    kept: list[list[Entry]] = [[] for _ in queries]
    for first in range(0, len(candidates), _TILE_CANDIDATES):
        rows = slice(first, first + _TILE_CANDIDATES)
        scores = queries @ candidates[rows].astype(np.float64).T - bias[rows].astype(np.float64)
        depth = min(DEPTH, scores.shape[1])
        lowest = -np.partition(-scores, depth - 1, axis=1)[:, depth - 1]
        for query, row in zip(*np.nonzero(scores >= lowest[:, None]), strict=True):
            kept[query].append((float(scores[query, row]), ids[first + row]))
    return (tuple(sorted(entries, key=_order)[:DEPTH]) for entries in kept)


def occurrences(ranking: Ranking) -> Counter[str]:
    """N_10 of the candidates that occur at all (see ``metrics.k_occurrence``)."""
    return Counter(name for row in ranking.rows for _, name in row)


def hubness(ranking: Ranking, candidates: int) -> dict[str, float]:
    """Figures of how unevenly the first places are shared among all candidates of the index."""
    counts = np.zeros(candidates, np.int64)
    found = list(occurrences(ranking).values())
    counts[: len(found)] = found
    return {
        f"skewness@{DEPTH}": skewness(counts),
        "gini": gini(counts),
        "robin_hood": robin_hood(counts),
        "never_retrieved": float((counts == 0).mean()),
    }


def occurrence_counts(ranking: Ranking, candidates: int) -> list[tuple[int, int]]:
    """(times, candidates) ascending: so many candidates of the index are so often among the first."""
    found = occurrences(ranking)
    times = Counter(found.values())
    times[0] = candidates - len(found)
    return sorted((often, number) for often, number in times.items() if number)


@dataclass(frozen=True)
class Crowder:
    """A candidate that is among the first of many queries.

    Attributes:
        id: its id.
        before: of how many queries without the bias.
        after: of how many with it.
        wrong: queries that had it among the first without the bias, though it does not answer them.
        examples: a few of these, in order of id.
    """

    id: str
    before: int
    after: int
    wrong: int
    examples: tuple[str, ...]


def worst_hubs(before: Ranking, after: Ranking, queries: QuerySet, number: int = 20) -> list[Crowder]:
    """The candidates that most queries had among the first without the bias, worst first."""
    counts, later = occurrences(before), occurrences(after)
    names = sorted(counts, key=lambda name: (-counts[name], name))[:number]
    wrong: dict[str, list[str]] = {name: [] for name in names}
    for query, row, relevant in zip(queries.ids, before.ids, queries.relevant, strict=True):
        for name in wrong.keys() & set(row) - set(relevant):
            wrong[name].append(query)
    return [
        Crowder(name, counts[name], later[name], len(wrong[name]), tuple(sorted(wrong[name])[:3])) for name in names
    ]


@dataclass(frozen=True)
class Turn:
    """A query whose first candidates changed.

    Attributes:
        query: its id.
        before: ids of its first candidates without the bias.
        after: with it.
        relevant: ids of what answers it.
        rank_before: rank of the first of them, one more than are looked at where it is not among them.
        rank_after: with the bias.
    """

    query: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    relevant: tuple[str, ...]
    rank_before: int
    rank_after: int


def most_changed(before: Ranking, after: Ranking, queries: QuerySet, number: int = 8) -> list[Turn]:
    """The queries whose first relevant candidate moved furthest, then those with the most new candidates."""
    turns = [
        Turn(query, tuple(old), tuple(new), relevant, _first_of(relevant, old), _first_of(relevant, new))
        for query, old, new, relevant in zip(queries.ids, before.ids, after.ids, queries.relevant, strict=True)
        if old != new
    ]
    turns.sort(key=lambda turn: (-abs(turn.rank_after - turn.rank_before), len({*turn.before} & {*turn.after})))
    return turns[:number]


def _first_of(relevant: Sequence[str], row: Sequence[str]) -> int:
    return next((rank for rank, name in enumerate(row, start=1) if name in relevant), DEPTH + 1)
