"""What queries see in a shard is computed once for the same queries, shard, means and points, and checked when read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import grid_vectors

from nnn_core.embedded.shards import EmbeddedShard, read_shard
from nnn_core.evaluation._counting import Goals, count_ahead
from nnn_core.evaluation.judging import ShardJudging
from nnn_core.evaluation.means import ShardMeans
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.rankings import Rankings
from nnn_core.evaluation.ranks import Targets, biases_at

ROWS, GRID = 23, (1, 2)
POINTS = Point.of_grid(GRID, (0.0, 0.5, 1.0))


def judging(work: Path, seed: int = 1, scale: float = 1.0, grid: tuple[int, ...] = GRID) -> ShardJudging:
    """Three queries, of which the last has no answer, before one shard."""
    ids = [f"c{number}" for number in np.random.default_rng(5).permutation(ROWS)]
    shard = EmbeddedShard.write(str(work / "embedded" / "x"), ids, [""] * ROWS, grid_vectors(ROWS, 4, 2), "x")
    means = scale * np.random.default_rng(3).uniform(0.1, 0.4, (ROWS, 2)).astype(np.float32)
    queries = QuerySet(("a", "b", "c"), grid_vectors(3, 4, seed), (("c1", "c2"), ("c3", "gone"), ()), np.ones(4))
    return ShardJudging(ShardMeans.store(shard, means, grid, str(work)), queries.store(str(work)))


def test_what_is_kept_is_what_was_computed(tmp_path: Path) -> None:
    shard = judging(tmp_path)
    queries, block, means = shard.stored.load().answered, read_shard(shard.means.shard), shard.means.load()
    ids = block.ids.to_pylist()
    seen = (queries.vectors, block.vectors, ids)
    targets = Targets.find(queries.vectors, queries.relevant, block.vectors, ids, means)
    goals = Goals.of(targets, queries.relevant)
    ahead = count_ahead(queries.vectors, goals, block.vectors, ids, means, GRID, POINTS)
    rankings = Rankings.of(*seen, biases_at(means, GRID, [POINTS[1]])[0])
    for first in (True, False):
        found, computed = shard.find_targets()
        assert (computed, found.digest, found.pairs.tolist()) == (first, targets.digest, [0, 1, 2])
        counts, computed = shard.count_ahead(found, POINTS, 1)
        assert (computed, counts.dtype, counts.tolist()) == (first, np.int64, ahead.tolist())
        assert shard.rank(POINTS[1]) == (rankings, first)


def test_nothing_is_read_again_to_find_it(tmp_path: Path) -> None:
    shard = judging(tmp_path)
    targets = Targets.gather([shard.find_targets()[0]])
    shard.count_ahead(targets, POINTS, 1)
    for path in (shard.means.shard.uri, shard.means.uri, shard.stored.uri):
        Path(path).unlink()
    assert not shard.find_targets()[1]
    assert not shard.count_ahead(targets, POINTS, 1)[1]


@pytest.mark.parametrize("other", [{"seed": 9}, {"scale": 0.5}, {"grid": (1, 4)}])
def test_other_queries_or_means_are_judged_anew(tmp_path: Path, other: dict[str, object]) -> None:
    shard, another = judging(tmp_path), judging(tmp_path, **other)  # type: ignore[arg-type]
    targets = shard.find_targets()[0]
    points = [Point(1, 0.5)]
    shard.count_ahead(targets, points, 1)
    shard.rank(points[0])
    assert another.find_targets()[1]
    assert another.count_ahead(targets, points, 1)[1]
    assert another.rank(points[0])[1]


def test_other_targets_or_points_are_judged_anew(tmp_path: Path) -> None:
    shard = judging(tmp_path)
    targets = shard.find_targets()[0]
    shard.count_ahead(targets, POINTS, 1)
    shard.rank(POINTS[1])
    fewer = Targets(targets.pairs[:2], targets.scores[:2], targets.means[:2])
    assert shard.count_ahead(fewer, POINTS, 1)[1]
    assert shard.count_ahead(targets, POINTS[1:], 1)[1]
    assert shard.rank(POINTS[2])[1]


def test_what_is_damaged_is_computed_anew(tmp_path: Path) -> None:
    shard = judging(tmp_path)
    expected, _ = shard.find_targets()
    (path,) = (tmp_path / "evaluation").glob("targets-*")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found, computed = shard.find_targets()
    assert (found.digest, computed) == (expected.digest, True)
