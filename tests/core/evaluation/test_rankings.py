"""The first candidates of each query: those of sorting all, however they are cut into shards."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from operator import or_

import numpy as np
import pytest
from fakes import grid_vectors
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.rankings import DEPTH, Occurrence, Ranking, Rankings
from nnn_core.report._sections import Moves
from nnn_core.report.review import _changes, _most_changed, _moves, _worst_hubs
from nnn_core.vectors import to_grid


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 6), st.booleans(), st.data())
def test_rankings_are_those_of_sorting(seed: int, rows: int, queries: int, ties: bool, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    asked, held = grid_vectors(queries, 3, seed), grid_vectors(rows, 3, seed + 1)
    if ties:
        held = held[rng.integers(0, max(1, rows // 6), rows)]
    bias = np.zeros(rows, np.float32) if ties else rng.uniform(0, 0.3, rows).astype(np.float32)
    ids = [f"c{number}" for number in rng.permutation(rows)]
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, rows), max_size=3))), rows]
    shards = [slice(first, last) for first, last in pairwise(edges) if last > first]
    ranking = reduce(or_, (Ranking.of(asked, held[shard], ids[shard], bias[shard]) for shard in shards))
    for query, row in zip(asked.astype(np.float64), ranking.ids, strict=True):
        scores = held.astype(np.float64) @ query - bias.astype(np.float64)
        assert row == [ids[at] for at in sorted(range(rows), key=lambda at: (-scores[at], ids[at]))[:DEPTH]]


def test_tiles_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, held, ids = grid_vectors(9, 4, 1), grid_vectors(50, 4, 2), [f"c{row}" for row in range(50)]
    whole = Ranking.of(asked, held, ids, np.zeros(50, np.float32))
    monkeypatch.setattr("nnn_core.evaluation.rankings._TILE_CANDIDATES", 7)
    monkeypatch.setattr("nnn_core.evaluation.rankings._TILE_QUERIES", 2)
    assert Ranking.of(asked, held, ids, np.zeros(50, np.float32)) == whole


@pytest.mark.parametrize("rows", [159, 160, 1003])
def test_candidates_that_float32_cannot_tell_apart(rows: int) -> None:
    """Copies of a few candidates that differ, as their biases do, by less than a product in float32 is off."""
    rng = np.random.default_rng(rows)
    asked, few = grid_vectors(5, 512, 1), grid_vectors(6, 512, 2)
    near = few[rng.integers(0, 6, rows)] + rng.uniform(-4e-8, 4e-8, (rows, 512)).astype(np.float32)
    held, ids = to_grid(near), [f"c{number}" for number in rng.permutation(rows)]
    bias = (0.25 + rng.integers(0, 8, rows) * 2.0**-24).astype(np.float32)
    ranking = Ranking.of(asked, held, ids, bias)
    for query, row in zip(asked.astype(np.float64), ranking.ids, strict=True):
        scores = held.astype(np.float64) @ query - bias.astype(np.float64)
        assert row == [ids[at] for at in sorted(range(rows), key=lambda at: (-scores[at], ids[at]))[:DEPTH]]


def test_both_rankings_come_of_the_same_products() -> None:
    asked, held, ids = grid_vectors(9, 4, 1), grid_vectors(50, 4, 2), [f"c{row}" for row in range(50)]
    bias = np.random.default_rng(3).uniform(0, 0.3, 50).astype(np.float32)
    both = Rankings.of(asked, held, ids, bias)
    alone = [Ranking.of(asked, held, ids, each) for each in (np.zeros_like(bias), bias)]
    assert [both.plain, both.debiased] == alone
    assert both.plain != both.debiased


def ranking(*rows: str) -> Ranking:
    return Ranking(tuple(tuple((1.0 - at / 10, name) for at, name in enumerate(row)) for row in rows))


QUERIES = QuerySet(("q0", "q1", "q2"), np.zeros((3, 2), np.float32), (("a",), ("b",), ("c", "d")), np.ones(4))


def test_hubs_and_what_they_wrongly_answered() -> None:
    before, after = ranking("ab", "ac", "ad"), ranking("ba", "bc", "cd")
    first, second = _worst_hubs(before, after, QUERIES, 2)
    assert (first.id, first.before, first.after, first.wrong) == ("a", 3, 1, 2)
    assert [query.id for query in first.examples] == ["q1", "q2"]
    assert (second.id, second.before, second.after, second.wrong) == ("b", 1, 2, 1)
    occurrence = Occurrence.of(before, 6)
    assert occurrence.counts == ((0, 2), (1, 3), (3, 1))
    assert occurrence.never == pytest.approx(2 / 6)


def test_queries_that_changed_most_best_and_worst_in_turn() -> None:
    before, after = ranking("ab", "ac", "ad"), ranking("ba", "bc", "cd")
    changes = _changes(before, after, QUERIES)
    assert _moves(changes, 3) == Moves(better=2, worse=1, same=0)
    assert [(turn.query.id, turn.rank_before, turn.rank_after) for turn in _most_changed(changes)] == [
        ("q1", DEPTH + 1, 1),
        ("q0", 1, 2),
        ("q2", 2, 1),
    ]
    assert [turn.query.id for turn in _most_changed(changes, 2)] == ["q1", "q0"]
    same = _changes(ranking("ab", "bc", "cd"), ranking("ab", "bd", "cd"), QUERIES)
    assert (_moves(same, 3), [turn.query.id for turn in _most_changed(same)]) == (Moves(0, 0, 3), ["q1"])
