"""Retrieval metrics from their definitions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.metrics import (
    first_relevant_ranks,
    k_occurrence,
    mean_reciprocal_rank,
    recall_at,
    skewness,
    summarise_ranking,
)


@st.composite
def rankings(draw: st.DrawFn) -> tuple[np.ndarray, list[set[int]], int]:
    candidates = draw(st.integers(1, 15))
    depth = draw(st.integers(1, candidates))
    queries = draw(st.integers(1, 8))
    order = st.permutations(range(candidates)).map(lambda whole: whole[:depth])
    ranking = np.array([draw(order) for _ in range(queries)], np.int64)
    answers = st.sets(st.integers(0, candidates - 1), max_size=3)
    return ranking, [draw(answers) for _ in range(queries)], candidates


@given(rankings())
def test_ranks_from_the_definition(case: tuple[np.ndarray, list[set[int]], int]) -> None:
    ranking, relevant, _ = case
    expected = [
        next((rank for rank, position in enumerate(row, start=1) if position in answers), 0)
        for row, answers in zip(ranking.tolist(), relevant, strict=True)
    ]
    assert first_relevant_ranks(ranking, relevant).tolist() == expected


@given(st.lists(st.integers(0, 12), min_size=1))
def test_recall_and_reciprocal_rank_from_the_definition(ranks: list[int]) -> None:
    array = np.array(ranks, np.int64)
    for n in (1, 5, 10):
        assert recall_at(array, n) == pytest.approx(sum(1 <= rank <= n for rank in ranks) / len(ranks))
    expected = sum((Fraction(1, rank) for rank in ranks if rank), Fraction(0)) / len(ranks)
    assert mean_reciprocal_rank(array) == pytest.approx(float(expected), abs=1e-12)


@given(rankings(), st.integers(1, 20))
def test_occurrence_from_the_definition(case: tuple[np.ndarray, list[set[int]], int], n: int) -> None:
    ranking, _, candidates = case
    counts = k_occurrence(ranking, candidates, n)
    first = [position for row in ranking.tolist() for position in row[:n]]
    assert counts.tolist() == [first.count(candidate) for candidate in range(candidates)]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_skewness_from_the_definition(values: list[int]) -> None:
    mean = Fraction(sum(values), len(values))
    second, third = (sum((value - mean) ** power for value in values) / len(values) for power in (2, 3))
    expected = float(third) / float(second) ** 1.5 if second else 0.0
    assert skewness(np.array(values)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_hub_skews_to_the_right() -> None:
    assert skewness(np.array([0] * 99 + [100])) > 9
    assert skewness(np.array([1, 2, 3])) == pytest.approx(0.0, abs=1e-12)
    assert skewness(np.array([100] * 99 + [0])) < -9


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="zip"):
        first_relevant_ranks(np.zeros((2, 3), np.int64), [{1}])


def test_summary() -> None:
    ranking = np.array([[0, *range(1, 12)], [0, *range(2, 13)], [0, 5, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]])
    summary = summarise_ranking(ranking, [{0}, {3, 12}, {11}], 20)
    assert summary["recall@1"] == pytest.approx(1 / 3)
    assert summary["recall@5"] == summary["recall@10"] == pytest.approx(2 / 3)
    assert summary["mrr"] == pytest.approx((1 + 1 / 3 + 1 / 12) / 3)
    counts = np.bincount(ranking[:, :10].ravel(), minlength=20)
    assert summary["skewness@10"] == pytest.approx(skewness(counts))
    assert summary["never_retrieved"] == pytest.approx((counts == 0).sum() / 20)
