"""Ranks: counted shard by shard they are those of sorting all candidates, ties included."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from fakes import grid_vectors
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.evaluation._counting import Goals, _error_bound, _multiply, count_ahead
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.ranks import Targets, biases_at
from nnn_core.vectors import unit_vectors

GRID = (1, 4)
POINTS = Point.of_grid(GRID, (0.0, 0.5, 1.25, 0.5))


def brute_force_ranks(
    queries: npt.NDArray[np.float32],
    relevant: list[list[str]],
    candidates: npt.NDArray[np.float32],
    ids: list[str],
    bias: npt.NDArray[np.float32],
) -> list[int]:
    """Rank of each relevant candidate, in order of query and id, by sorting everything."""
    ranks = []
    for query, names in zip(queries.astype(np.float64), relevant, strict=True):
        scores = candidates.astype(np.float64) @ query - bias.astype(np.float64)
        ranking = sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row]))
        place = {ids[row]: rank for rank, row in enumerate(ranking, start=1)}
        ranks += [place[name] for name in sorted(set(names))]
    return ranks


def corpus(
    seed: int, queries: int, rows: int, dim: int = 8, repeats: int = 1
) -> tuple[npt.NDArray[np.float32], list[list[str]], npt.NDArray[np.float32], list[str], npt.NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    asked, held = grid_vectors(queries, dim, seed), grid_vectors(rows, dim, seed + 1)
    held = held[rng.integers(0, max(1, rows // repeats), rows)] if repeats > 1 else held
    means = rng.uniform(0, 0.4, (rows, len(GRID))).astype(np.float32)
    if repeats > 1:
        means[:] = 0.25
    ids = [f"c{number}" for number in rng.permutation(rows)]
    relevant = [sorted({ids[row] for row in rng.integers(0, rows, rng.integers(1, 4))}) for _ in range(queries)]
    return asked, relevant, held, ids, means


def ranks_in_shards(cuts: list[int], threads: int, *parts: object) -> npt.NDArray[np.int64]:
    queries, relevant, candidates, ids, means = parts  # type: ignore[misc]
    edges = [0, *sorted(cuts), len(ids)]
    shards = [slice(first, last) for first, last in itertools.pairwise(edges)]
    targets = Targets.gather(
        Targets.find(queries, relevant, candidates[shard], ids[shard], means[shard]) for shard in shards
    )
    goals = Goals.of(targets, relevant)
    counts = [
        count_ahead(queries, goals, candidates[shard], ids[shard], means[shard], GRID, POINTS, threads)
        for shard in shards
    ]
    assert targets.pairs.tolist() == list(range(sum(map(len, relevant))))
    return 1 + sum(counts)


@pytest.mark.parametrize("cuts", [[], [50], [1, 2, 77]])
@pytest.mark.parametrize("repeats", [1, 30])
def test_ranks_are_those_of_sorting(cuts: list[int], repeats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnn_core.evaluation._counting._TILE_CANDIDATES", 17)
    monkeypatch.setattr("nnn_core.evaluation._counting._TILE_QUERIES", 4)
    parts = corpus(1, 23, 120, repeats=repeats)
    ranks = ranks_in_shards(cuts, 2, *parts)
    for at, point in enumerate(POINTS):
        bias = (point.alpha * parts[4][:, GRID.index(point.k)].astype(np.float64)).astype(np.float32)
        assert ranks[at].tolist() == brute_force_ranks(*parts[:4], bias)


def count_in_float64(
    queries: npt.NDArray[np.float32],
    goals: Goals,
    candidates: npt.NDArray[np.float32],
    ids: list[str],
    means: npt.NDArray[np.float32],
    grid: tuple[int, ...],
    points: tuple[Point, ...],
) -> npt.NDArray[np.int64]:
    """What ``count_ahead`` counts, one comparison after another."""
    scores = queries.astype(np.float64)[goals.query] @ candidates.astype(np.float64).T
    lower = np.array([[name < goal for name in ids] for goal in goals.ids])
    counts = []
    for bias, own in zip(biases_at(means, grid, points), biases_at(goals.means, grid, points), strict=True):
        debiased, wanted = scores - bias.astype(np.float64), (goals.scores - own.astype(np.float64))[:, None]
        counts.append(((debiased > wanted) | ((debiased == wanted) & lower)).sum(axis=1))
    return np.array(counts)


@pytest.mark.parametrize(
    ("dim", "apart", "size", "spread"),
    [(2, 1e-7, 30.0, 1e-7), (100, 1e-6, 0.3, 0.0), (300, 0.0, 0.3, 0.1), (300, 1e-4, 0.3, 1e-7), (100, 1.0, 0.3, 1.0)],
)
@given(
    seed=st.integers(0, 10**6),
    points=st.lists(st.builds(Point, st.sampled_from([1, 4, 16]), st.sampled_from([0.0, 0.3, 0.7, 1.5])), min_size=1),
)
def test_what_float32_cannot_tell_is_decided_exactly(
    dim: int, apart: float, size: float, spread: float, seed: int, points: list[Point]
) -> None:
    """Candidates that are as far apart as float32 rounds, with means that are too, at points in any order."""
    rng, rows, queries, grid = np.random.default_rng(seed), 60, 3, (1, 4, 16)
    near = grid_vectors(1, dim, seed).astype(np.float64) + apart * rng.standard_normal((rows, dim))
    candidates, asked = unit_vectors(near)[0], grid_vectors(queries, dim, seed + 1)
    means = (size * (1 + spread * rng.uniform(0, 1, (rows, 3)))).astype(np.float32)
    ids = [f"c{number}" for number in rng.permutation(rows)]
    relevant = [sorted({ids[row] for row in rng.integers(0, rows, 4)}) for _ in range(queries)]
    goals = Goals.of(Targets.find(asked, relevant, candidates, ids, means), relevant)
    how = (candidates, ids, means, grid, tuple(points))
    assert np.array_equal(count_ahead(asked, goals, *how), count_in_float64(asked, goals, *how))


def test_products_keep_to_their_bound() -> None:
    """All of a sign and of a size, and along few axes: both are the worst that vectors can be."""
    for dim in (1, 128, 129, 1000):
        vectors = unit_vectors(np.abs(np.random.default_rng(dim).standard_normal((40, dim))) ** 3)[0]
        exact = vectors.astype(np.float64) @ vectors.astype(np.float64).T
        assert np.abs(_multiply(vectors, vectors) - exact).max() <= _error_bound(dim) / 2


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 40), st.sampled_from([1, 3]), st.data())
def test_ranks_do_not_depend_on_shards(seed: int, queries: int, rows: int, repeats: int, data: st.DataObject) -> None:
    parts = corpus(seed, queries, rows, 3, repeats)
    cuts = data.draw(st.lists(st.integers(0, rows), max_size=4))
    assert np.array_equal(ranks_in_shards(cuts, 1, *parts), ranks_in_shards([], 1, *parts))


def test_a_relevant_candidate_that_no_shard_holds_is_not_found() -> None:
    queries, _, candidates, ids, means = corpus(3, 2, 5)
    targets = Targets.find(queries, [["nowhere"], [ids[0]]], candidates, ids, means)
    assert targets.pairs.tolist() == [1]
    assert Targets.gather([targets, Targets.find(queries, [[], []], candidates, ids, means)]).pairs.tolist() == [1]
    goals = Goals.of(targets, [["nowhere"], [ids[0]]])
    counts = count_ahead(queries, goals, candidates, ids, means, GRID, POINTS)
    assert counts.shape == (len(POINTS), 1)


def test_points_hold_one_without_correction() -> None:
    assert (Point(1, 0.0), Point(1, 0.5), Point(1, 1.25), Point(4, 0.5), Point(4, 1.25)) == POINTS


def test_biases_are_rounded_as_in_the_table() -> None:
    means = np.array([[0.1, 0.3]], np.float32)
    (row,) = biases_at(means, GRID, [Point(4, 0.7)])
    assert row.dtype == np.float32
    assert row[0] == np.float32(0.7 * float(np.float32(0.3)))
