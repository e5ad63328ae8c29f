"""The first few candidates of each query, found shard by shard, and what they say about hubs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.evaluation._first import select_first
from nnn_core.evaluation._hubness import gini, robin_hood, skewness
from nnn_core.vectors import FloatMatrix, error_bound

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

    @property
    def occurrences(self) -> Counter[str]:
        """Of how many queries each candidate is among the first, for those that occur at all."""
        return Counter(name for row in self.rows for _, name in row)

    @classmethod
    def of(
        cls, queries: FloatMatrix, candidates: FloatMatrix, ids: Sequence[str], bias: npt.NDArray[np.float32]
    ) -> Ranking:
        """The first candidates of one shard.

        Args:
            queries: (queries, dim) float32 vectors of the queries, on the grid of ``vectors``.
            candidates: (rows, dim) float32 vectors of the shard's candidates, on the grid of ``vectors``.
            ids: (rows,) ids of the shard's candidates.
            bias: (rows,) float32 biases of the shard's candidates.
        """
        (ranking,) = _rank(queries, candidates, ids, [bias])
        return ranking


def _order(entry: Entry) -> tuple[float, str]:
    return -entry[0], entry[1]


@dataclass(frozen=True)
class Rankings:
    """The first candidates of each query, twice.

    Attributes:
        plain: first candidates of each query by scores without the bias.
        debiased: first candidates of each query by scores less the bias.
    """

    plain: Ranking
    debiased: Ranking

    def __or__(self, other: Rankings) -> Rankings:
        """Of two disjoint sets of candidates."""
        return Rankings(self.plain | other.plain, self.debiased | other.debiased)

    @classmethod
    def of(
        cls, queries: FloatMatrix, candidates: FloatMatrix, ids: Sequence[str], bias: npt.NDArray[np.float32]
    ) -> Rankings:
        """The first candidates of one shard without the bias and with it; arguments as those of ``Ranking.of``."""
        return cls(*_rank(queries, candidates, ids, [np.zeros_like(bias), bias]))


def _rank(
    queries: FloatMatrix, candidates: FloatMatrix, ids: Sequence[str], biases: Sequence[npt.NDArray[np.float32]]
) -> Iterator[Ranking]:
    """A ranking for each bias, from the same products."""
    tiles = (queries[at : at + _TILE_QUERIES] for at in range(0, len(queries), _TILE_QUERIES))
    ranked = [_rank_tile(tile, candidates, ids, biases) for tile in tiles]
    return (Ranking(tuple(row for tile in ranked for row in tile[at])) for at in range(len(biases)))


def _rank_tile(
    queries: FloatMatrix, candidates: FloatMatrix, ids: Sequence[str], biases: Sequence[npt.NDArray[np.float32]]
) -> list[list[tuple[Entry, ...]]]:
    """For each bias the first candidates of each query: float32 selects, exact scores decide."""
    kept: list[list[list[Entry]]] = [[[] for _ in queries] for _ in biases]
    for first in range(0, len(candidates), _TILE_CANDIDATES):
        rows = slice(first, first + _TILE_CANDIDATES)
        products = queries @ candidates[rows].T
        for entries, bias in zip(kept, biases, strict=True):
            some = bias[rows]
            slack = np.float32(2.0 * _margin(queries.shape[1], some))
            query, row = select_first(products, some, DEPTH, slack)
            exact = np.einsum("pd,pd->p", queries[query], candidates[first + row], dtype=np.float64)
            scores = exact - some[row].astype(np.float64)
            for at, score, place in zip(query.tolist(), scores.tolist(), (first + row).tolist(), strict=True):
                entries[at].append((score, ids[place]))
    return [[tuple(sorted(row, key=_order)[:DEPTH]) for row in entries] for entries in kept]


def _margin(dim: int, bias: npt.NDArray[np.float32]) -> float:
    """By how much a score in float32 less the bias is off, at most: by the product, and by one rounding."""
    return error_bound(dim) + 2.0**-23 * (1.0 + float(np.abs(bias).max(initial=0.0)))


@dataclass(frozen=True)
class Occurrence:
    """How often candidates are among the first of a query: N_n (Radovanovic et al., "Hubs in Space", JMLR 11, 2010).

    Attributes:
        counts: (times, candidates): how many candidates were retrieved so many times; ascending, 0 included.
        skewness: third standardised moment of how often candidates are retrieved.
        gini: Gini coefficient of how often candidates are retrieved, 0 to 1.
        robin_hood: share of places that would have to change hands for equality.
        never: share of candidates that no query retrieved.
    """

    counts: tuple[tuple[int, int], ...]
    skewness: float
    gini: float
    robin_hood: float
    never: float

    @classmethod
    def of(cls, ranking: Ranking, candidates: int) -> Occurrence:
        """How unevenly the places of a ranking are shared among all candidates of the index."""
        counts, found = np.zeros(candidates, np.int64), list(ranking.occurrences.values())
        counts[: len(found)] = found
        times = tuple((often, number) for often, number in enumerate(np.bincount(counts).tolist()) if number)
        return cls(times, skewness(counts), gini(counts), robin_hood(counts), float((counts == 0).mean()))
