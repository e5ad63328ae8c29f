"""How many candidates are ahead of each target, counted shard by shard and tile by tile."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt

from nnn_core.evaluation._ahead import count_tile
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.ranks import Counts, Doubles, Targets, _pairs_of, biases_at
from nnn_core.vectors import FloatMatrix, error_bound

#: Candidates and queries that are scored at once: few enough that what is read for each target stays in the cache.
_TILE_CANDIDATES = 1024
_TILE_QUERIES = 512

#: Axes that are multiplied at once: the fewer, the nearer is a float32 score to the exact one.
_TILE_AXES = 256

#: Rounding of a lead, of fewer than 16 numbers to float32, relative to the largest of them; the table's is among them.
_ROUNDING = 16 * 2.0**-24


@dataclass(frozen=True)
class Goals:
    """What candidates are held against.

    Attributes:
        query: (found,) int64 ascending, number of each target's query.
        ids: (found,) candidate ids of the targets.
        scores: (found,) float64, exact score of each target without the bias.
        means: (found, grid) float32, means of each target.
    """

    query: Counts
    ids: tuple[str, ...]
    scores: Doubles
    means: FloatMatrix

    @classmethod
    def of(cls, targets: Targets, relevant: Sequence[Sequence[str]]) -> Goals:
        """Those of targets that were found in all shards."""
        query, names = _pairs_of(relevant)
        found = tuple(names[pair] for pair in targets.pairs)
        return cls(query[targets.pairs], found, targets.scores, targets.means)


def count_ahead(
    queries: FloatMatrix,
    goals: Goals,
    candidates: FloatMatrix,
    ids: Sequence[str],
    means: FloatMatrix,
    grid: Sequence[int],
    points: Sequence[Point],
    threads: int = 1,
) -> Counts:
    """How many candidates of one shard are ahead of each target, at each point.

    Args:
        queries: (queries, dim) float32 vectors of the queries, on the grid of ``vectors``.
        goals: targets that candidates are held against.
        candidates: (rows, dim) float32 vectors of the shard's candidates, on the grid of ``vectors``.
        ids: (rows,) ids of the shard's candidates.
        means: (rows, len(grid)) float32 means of the shard's candidates.
        grid: the k of each column of the means.
        points: values of k and alpha; every k is one of the grid.
        threads: threads that count tiles side by side; the result does not depend on it.

    Returns:
        (points, found) int64.
    """
    order, before = _places(ids, goals.ids)
    # Points of one k after another, whatever their order.
    columns = np.array([grid.index(point.k) for point in points])
    by_column = np.argsort(columns, kind="stable")
    used, starts = np.unique(columns[by_column], return_index=True)
    edges = [*starts.tolist(), len(points)]
    alphas = np.array([point.alpha for point in points])[by_column]
    own = np.ascontiguousarray(goals.means[:, used])
    wanted = np.ascontiguousarray((goals.scores - biases_at(goals.means, grid, points).astype(np.float64))[by_column].T)
    rounding = _ROUNDING * (1.0 + _largest(alphas) * _largest(means, own))
    margin = np.float32(_error_bound(queries.shape[1]) + rounding)

    runs = [
        (column, first, *run)
        for column, (start, end) in enumerate(pairwise(edges))
        for first, *run in _runs(alphas[start:end].tolist(), start)
    ]
    whole = np.array([run[:4] for run in runs], np.int64)
    steps = np.array([run[4] for run in runs], np.float32)

    def count(tile: tuple[slice, slice]) -> tuple[slice, Counts]:
        some, rows = tile
        scores = _multiply(queries[some], candidates[rows])
        pairs = slice(*np.searchsorted(goals.query, [some.start, some.stop]))
        counts = np.zeros((pairs.stop - pairs.start, len(points)), np.int64)
        some_means = np.ascontiguousarray(means[rows][:, used].T)
        count_tile(
            scores, some_means, alphas, whole, steps, goals.query[pairs] - some.start,
            goals.scores[pairs], own[pairs], wanted[pairs], margin,
            queries[some], candidates[rows], order[rows], before[pairs], counts,
        )  # fmt: skip
        return pairs, counts

    tiles = product(_slices(len(queries), _TILE_QUERIES), _slices(len(candidates), _TILE_CANDIDATES))
    counted = np.zeros((len(goals.query), len(points)), np.int64)
    with ThreadPoolExecutor(threads) as pool:
        for pairs, counts in pool.map(count, tiles):
            counted[pairs] += counts
    ahead = np.empty(counted.T.shape, np.int64)
    ahead[by_column] = counted.T
    return ahead


def _runs(alphas: Sequence[float], start: int) -> Iterator[tuple[int, int, int, float]]:
    """Weights cut where they do not grow by one step that also leads from 0 to them.

    Args:
        alphas: weights of points, one after another.
        start: number of the first of these points.

    Yields:
        (first point, number of points, first weight in steps, step).
    """
    while alphas:
        step = alphas[1] - alphas[0] if len(alphas) > 1 else 0.0
        first = round(alphas[0] / step) if step > 0.0 else 0
        size = next((at for at, alpha in enumerate(alphas) if alpha != (first + at) * step), len(alphas))
        if step <= 0.0 or first < 0 or size < 2:
            size, first, step = 1, int(alphas[0] > 0.0), alphas[0] or 1.0
        yield start, size, first, step
        alphas, start = alphas[size:], start + size


def _multiply(queries: FloatMatrix, candidates: FloatMatrix) -> FloatMatrix:
    """(queries, candidates) float32 scores, each off by ``_error_bound`` at most."""
    axes = list(_slices(queries.shape[1], _TILE_AXES))
    scores = queries[:, axes[0]] @ candidates[:, axes[0]].T
    for part in axes[1:]:
        scores += queries[:, part] @ candidates[:, part].T
    return scores


def _error_bound(dim: int) -> float:
    """Largest difference of ``_multiply`` from the exact scores.

    That of a product of ``_TILE_AXES`` axes, since the lengths of the parts of two unit vectors multiply and add up to
    1 at most, and a rounding to float32 for each sum.
    """
    return error_bound(min(dim, _TILE_AXES)) + dim / _TILE_AXES * 2.0**-24


def _largest(*numbers: npt.NDArray[np.floating]) -> float:
    """Largest magnitude."""
    return max(float(np.abs(each).max(initial=0.0)) for each in numbers)


def _slices(rows: int, size: int) -> Iterator[slice]:
    return (slice(first, min(rows, first + size)) for first in range(0, rows, size))


def _places(ids: Sequence[str], targets: Sequence[str]) -> tuple[Counts, Counts]:
    """(place of each row in the order of ids, number of rows whose id is below each target's)."""
    by_id = sorted(range(len(ids)), key=ids.__getitem__)
    order = np.empty(len(ids), np.int64)
    order[by_id] = np.arange(len(ids))
    ordered = [ids[row] for row in by_id]
    return order, np.array([bisect_left(ordered, target) for target in targets], np.int64)
