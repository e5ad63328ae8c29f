"""Exact ranks of relevant candidates under many biases at once, counted shard by shard.

The rank of a relevant candidate is one more than the number of candidates that are ahead of it, and
counts add up over shards. A candidate is ahead if its debiased score is higher, or if it is equal and
its id is lower. Scores are inner products of vectors on the grid of ``vectors`` and so exact in
float64; biases are float32, as in the table: what is counted is what a consumer's exact index returns.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from nnn_core.evaluation.points import Point
from nnn_core.vectors import FloatMatrix

Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

#: Candidates and queries that are scored at once: 16 MiB of float64 scores.
_TILE_CANDIDATES = 4096
_TILE_QUERIES = 512


def biases_at(means: FloatMatrix, grid: Sequence[int], points: Sequence[Point]) -> FloatMatrix:
    """The table's biases at each point.

    Args:
        means: (rows, len(grid)) float32 means of the candidates.
        grid: the k of each column of the means.
        points: values of k and alpha; every k is one of the grid.

    Returns:
        (points, rows) float32, rounded as the table rounds them.
    """
    columns = {k: means[:, at].astype(np.float64) for at, k in enumerate(grid)}
    return np.stack([(point.alpha * columns[point.k]).astype(np.float32) for point in points])


@dataclass(frozen=True)
class Targets:
    """Relevant candidates of the queries: all pairs in order of query and then of id, or those in one shard.

    Attributes:
        pairs: (found,) int64, ascending positions among all pairs of a query and a relevant candidate.
        scores: (found,) float64, exact score of each pair without the bias.
        means: (found, grid) float32, means of each pair's candidate.
    """

    pairs: Counts
    scores: Doubles
    means: FloatMatrix

    @classmethod
    def find(
        cls,
        queries: FloatMatrix,
        relevant: Sequence[Sequence[str]],
        candidates: FloatMatrix,
        ids: Sequence[str],
        means: FloatMatrix,
    ) -> Targets:
        """The relevant candidates that one shard holds.

        Args:
            queries: (queries, dim) float32 vectors of the queries, on the grid of ``vectors``.
            relevant: for each query the ids of its relevant candidates, each once, ascending.
            candidates: (rows, dim) float32 vectors of the shard's candidates, on the grid of ``vectors``.
            ids: (rows,) ids of the shard's candidates.
            means: (rows, grid) float32 means of the shard's candidates.
        """
        query, names = pairs_of(relevant)
        position = {row_id: row for row, row_id in enumerate(ids)}
        rows = np.array([position.get(name, -1) for name in names], np.int64)
        pairs = np.flatnonzero(rows >= 0)
        left, right = (vectors.astype(np.float64) for vectors in (queries[query[pairs]], candidates[rows[pairs]]))
        return cls(pairs, np.einsum("pd,pd->p", left, right), means[rows[pairs]])


def pairs_of(relevant: Sequence[Sequence[str]]) -> tuple[Counts, tuple[str, ...]]:
    """(query, id) of every pair of a query and a relevant candidate: (pairs,) int64 ascending, and their ids."""
    query = np.repeat(np.arange(len(relevant)), [len(names) for names in relevant])
    return query, tuple(name for names in relevant for name in names)


def gather_targets(parts: Iterable[Targets]) -> Targets:
    """Those of all shards together, in order."""
    parts = sorted((part for part in parts if len(part.pairs)), key=lambda part: int(part.pairs[0]))
    if not parts:
        return Targets(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 0), np.float32))
    order = np.argsort(np.concatenate([part.pairs for part in parts]), kind="stable")
    return Targets(
        *(np.concatenate([getattr(part, name) for part in parts])[order] for name in ("pairs", "scores", "means"))
    )


@dataclass(frozen=True)
class Goals:
    """What candidates are held against.

    Attributes:
        query: (found,) int64 ascending, number of each target's query.
        ids: (found,) candidate ids of the targets.
        scores: (points, found) float64, debiased score of each target at each point.
    """

    query: Counts
    ids: tuple[str, ...]
    scores: Doubles

    @classmethod
    def of(cls, targets: Targets, relevant: Sequence[Sequence[str]], biases: FloatMatrix) -> Goals:
        """The debiased scores of targets that were found in all shards, with their biases (points, found)."""
        query, names = pairs_of(relevant)
        found = tuple(names[pair] for pair in targets.pairs)
        return cls(query[targets.pairs], found, targets.scores - biases.astype(np.float64))


def count_ahead(
    queries: FloatMatrix,
    goals: Goals,
    candidates: FloatMatrix,
    ids: Sequence[str],
    biases: FloatMatrix,
    threads: int = 1,
) -> Counts:
    """How many candidates of one shard are ahead of each target, at each point.

    Args:
        queries: (queries, dim) float32 vectors of the queries, on the grid of ``vectors``.
        goals: targets with the debiased scores that candidates are held against.
        candidates: (rows, dim) float32 vectors of the shard's candidates, on the grid of ``vectors``.
        ids: (rows,) ids of the shard's candidates.
        biases: (points, rows) float32 biases of the shard's candidates.
        threads: threads that count tiles side by side; the result does not depend on it.

    Returns:
        (points, found) int64.
    """
    order, before = _places(ids, goals.ids)
    wanted, wide = goals.scores, biases.astype(np.float64)

    def count(tile: tuple[slice, slice]) -> tuple[slice, Counts]:
        some, rows = tile
        scores = queries[some].astype(np.float64) @ candidates[rows].astype(np.float64).T
        pairs = slice(*np.searchsorted(goals.query, [some.start, some.stop]))
        counts = np.zeros((len(biases), pairs.stop - pairs.start), np.int64)
        at = goals.query[pairs] - some.start
        _count_tile(scores, wide[:, rows], wanted[:, pairs], at, order[rows], before[pairs], counts)
        return pairs, counts

    tiles = product(_slices(len(queries), _TILE_QUERIES), _slices(len(candidates), _TILE_CANDIDATES))
    ahead = np.zeros(wanted.shape, np.int64)
    with ThreadPoolExecutor(threads) as pool:
        for pairs, counts in pool.map(count, tiles):
            ahead[:, pairs] += counts
    return ahead


def _slices(rows: int, size: int) -> Iterator[slice]:
    return (slice(first, min(rows, first + size)) for first in range(0, rows, size))


def _places(ids: Sequence[str], targets: Sequence[str]) -> tuple[Counts, Counts]:
    """(place of each row in the order of ids, number of rows whose id is below each target's)."""
    by_id = sorted(range(len(ids)), key=ids.__getitem__)
    order = np.empty(len(ids), np.int64)
    order[by_id] = np.arange(len(ids))
    ordered = [ids[row] for row in by_id]
    return order, np.array([bisect_left(ordered, target) for target in targets], np.int64)


@njit(cache=True, nogil=True)
def _count_tile(scores: Any, biases: Any, wanted: Any, query: Any, order: Any, before: Any, counts: Any) -> None:
    for pair in range(len(query)):
        row = scores[query[pair]]
        for point in range(len(biases)):
            bias, goal = biases[point], wanted[point, pair]
            ahead = 0
            for candidate in range(len(row)):
                score = row[candidate] - bias[candidate]
                ahead += (score > goal) | ((score == goal) & (order[candidate] < before[pair]))
            counts[point, pair] += ahead
