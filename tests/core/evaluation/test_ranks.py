"""Ranks: counted shard by shard they are those of sorting all candidates, ties included."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from fakes import grid_vectors
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.evaluation.points import Point
from nnn_core.evaluation.ranks import Goals, Targets, biases_at, count_ahead, gather_targets

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
    targets = gather_targets(
        Targets.find(queries, relevant, candidates[shard], ids[shard], means[shard]) for shard in shards
    )
    goals = Goals.of(targets, relevant, biases_at(targets.means, GRID, POINTS))
    counts = [
        count_ahead(queries, goals, candidates[shard], ids[shard], biases_at(means[shard], GRID, POINTS), threads)
        for shard in shards
    ]
    assert targets.pairs.tolist() == list(range(sum(map(len, relevant))))
    return 1 + sum(counts)


@pytest.mark.parametrize("cuts", [[], [50], [1, 2, 77]])
@pytest.mark.parametrize("repeats", [1, 30])
def test_ranks_are_those_of_sorting(cuts: list[int], repeats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnn_core.evaluation.ranks._TILE_CANDIDATES", 17)
    monkeypatch.setattr("nnn_core.evaluation.ranks._TILE_QUERIES", 4)
    parts = corpus(1, 23, 120, repeats=repeats)
    ranks = ranks_in_shards(cuts, 2, *parts)
    for at, point in enumerate(POINTS):
        bias = (point.alpha * parts[4][:, GRID.index(point.k)].astype(np.float64)).astype(np.float32)
        assert ranks[at].tolist() == brute_force_ranks(*parts[:4], bias)


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 40), st.sampled_from([1, 3]), st.data())
def test_ranks_do_not_depend_on_shards(seed: int, queries: int, rows: int, repeats: int, data: st.DataObject) -> None:
    parts = corpus(seed, queries, rows, 3, repeats)
    cuts = data.draw(st.lists(st.integers(0, rows), max_size=4))
    assert np.array_equal(ranks_in_shards(cuts, 1, *parts), ranks_in_shards([], 1, *parts))


def test_a_relevant_candidate_that_no_shard_holds_is_not_found() -> None:
    queries, _, candidates, ids, means = corpus(3, 2, 5)
    targets = Targets.find(queries, [["nowhere"], [ids[0]]], candidates, ids, means)
    assert targets.pairs.tolist() == [1]
    assert gather_targets([targets, Targets.find(queries, [[], []], candidates, ids, means)]).pairs.tolist() == [1]
    goals = Goals.of(targets, [["nowhere"], [ids[0]]], biases_at(targets.means, GRID, POINTS))
    counts = count_ahead(queries, goals, candidates, ids, biases_at(means, GRID, POINTS))
    assert counts.shape == (len(POINTS), 1)


def test_points_hold_one_without_correction() -> None:
    assert (Point(1, 0.0), Point(1, 0.5), Point(1, 1.25), Point(4, 0.5), Point(4, 1.25)) == POINTS


def test_biases_are_rounded_as_in_the_table() -> None:
    means = np.array([[0.1, 0.3]], np.float32)
    (row,) = biases_at(means, GRID, [Point(4, 0.7)])
    assert row.dtype == np.float32
    assert row[0] == np.float32(0.7 * float(np.float32(0.3)))
