"""The first few candidates of each query, found shard by shard, and what they say about hubs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.metrics import gini, robin_hood, skewness
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
