"""Retrieval metrics from their definitions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.evaluation._hubness import gini, robin_hood, skewness
from nnn_core.evaluation.metrics import Z_ALARM, _first_relevant_ranks, robust_z, summarise_ranking
from nnn_core.scoring.topk import BiasError, _rank_correlation


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
    assert _first_relevant_ranks(ranking, relevant).tolist() == expected


@given(st.lists(st.integers(0, 12), min_size=1))
def test_recall_from_the_definition(ranks: list[int]) -> None:
    relevant = [{rank - 1} if rank else set[int]() for rank in ranks]
    found = summarise_ranking(np.tile(np.arange(12), (len(ranks), 1)), relevant, 12)
    for n in (1, 5, 10):
        assert found[f"recall@{n}"] == pytest.approx(sum(1 <= rank <= n for rank in ranks) / len(ranks))


@given(rankings())
def test_occurrence_from_the_definition(case: tuple[np.ndarray, list[set[int]], int]) -> None:
    ranking, relevant, candidates = case
    found = summarise_ranking(ranking, relevant, candidates)
    first = [position for row in ranking.tolist() for position in row[:10]]
    counts = [first.count(candidate) for candidate in range(candidates)]
    assert found["skewness@10"] == skewness(np.array(counts))
    assert found["never_retrieved"] == counts.count(0) / candidates


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
        _first_relevant_ranks(np.zeros((2, 3), np.int64), [{1}])


def test_summary() -> None:
    ranking = np.array([[0, *range(1, 12)], [0, *range(2, 13)], [0, 5, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]])
    summary = summarise_ranking(ranking, [{0}, {3, 12}, {11}], 20)
    assert summary["recall@1"] == pytest.approx(1 / 3)
    assert summary["recall@5"] == summary["recall@10"] == pytest.approx(2 / 3)
    counts = np.bincount(ranking[:, :10].ravel(), minlength=20)
    assert summary["skewness@10"] == pytest.approx(skewness(counts))
    assert summary["never_retrieved"] == pytest.approx((counts == 0).sum() / 20)


def plain_ranks(values: np.ndarray) -> np.ndarray:
    """Equal values share the mean of the ranks that they would take."""
    return np.array([(values < value).sum() + ((values == value).sum() + 1) / 2 for value in values])


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=40))
def test_rank_correlation_from_the_definition(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs, np.float64).T
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert _rank_correlation(one, other) == 1.0
    else:
        expected = np.corrcoef(plain_ranks(one), plain_ranks(other))[0, 1]
        assert _rank_correlation(one, other) == pytest.approx(expected, abs=1e-12)
    assert _rank_correlation(one, other) == pytest.approx(_rank_correlation(other, one), abs=1e-12)
    assert _rank_correlation(one, np.exp(one)) == pytest.approx(1.0)


def test_rank_correlation_of_orders() -> None:
    values = np.array([3.0, -1.0, 7.0, 0.5], np.float32)
    assert _rank_correlation(values, -values) == pytest.approx(-1.0)
    assert _rank_correlation(values, np.full(4, 2.0)) == 1.0
    assert _rank_correlation(values[:1], values[1:2]) == 1.0
    # 1 - 6 * sum of squared differences of ranks / (n (n^2 - 1)), which holds without ties
    assert _rank_correlation(values, np.array([0.0, 2.0, 1.0, 3.0])) == pytest.approx(1 - 6 * (4 + 4 + 4 + 4) / 60)


@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 10**6), st.sampled_from([0.0, 1e-4, 0.3]))
def test_bias_error_from_the_definition(rows: int, width: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    exact = rng.uniform(0.1, 0.9, (rows, width)).astype(np.float32)
    found = (exact - scale * rng.uniform(0, 1, (rows, width))).astype(np.float32)
    error = BiasError.between(exact, found)
    columns = [np.abs(exact[:, at].astype(np.float64) - found[:, at].astype(np.float64)) for at in range(width)]
    assert error.candidates == rows
    assert error.mean == pytest.approx(max(float(column.mean()) for column in columns), abs=1e-15)
    assert error.max == max(float(column.max()) for column in columns)
    assert error.p99 == pytest.approx(max(float(np.percentile(column, 99)) for column in columns), abs=1e-15)
    expected = [_rank_correlation(exact[:, at], found[:, at]) for at in range(width)]
    assert error.rank_correlation == min(expected)
    assert BiasError.between(found, exact) == error  # an error has no sign


def test_bias_error_takes_the_worst_column() -> None:
    exact = np.array([[0.5, 0.5], [0.25, 0.25]], np.float32)
    found = np.array([[0.25, 0.5], [0.25, 0.0]], np.float32)
    assert BiasError.between(exact, found) == BiasError(2, 0.125, pytest.approx(0.2475), 0.25, 1.0)
    assert BiasError.between(exact, exact) == BiasError(2, 0.0, 0.0, 0.0, 1.0)
    assert BiasError.between(exact[:1], found[:1]) == BiasError(1, 0.25, 0.25, 0.25, 1.0)
    swapped = BiasError.between(exact, np.array([[0.5, 0.0], [0.25, 0.25]], np.float32))
    assert swapped.rank_correlation == pytest.approx(-1.0)


COUNTS = st.lists(st.integers(0, 30), min_size=1, max_size=25)


@given(COUNTS)
def test_gini_from_the_definition(values: list[int]) -> None:
    pairs = sum(abs(one - other) for one in values for other in values)
    expected = Fraction(pairs, 2 * len(values) * sum(values)) if sum(values) else 0
    assert gini(np.array(values)) == pytest.approx(float(expected), abs=1e-12)


@given(COUNTS)
def test_robin_hood_is_the_longest_way_from_the_diagonal(values: list[int]) -> None:
    ordered, total = sorted(values), sum(values)
    shares = [sum(ordered[:n]) / total if total else n / len(values) for n in range(len(values) + 1)]
    longest = max(n / len(values) - share for n, share in enumerate(shares))
    assert robin_hood(np.array(values)) == pytest.approx(longest, abs=1e-12)


def test_inequality_by_hand() -> None:
    assert gini(np.array([0, 0, 0, 8])) == robin_hood(np.array([0, 0, 0, 8])) == 0.75
    assert gini(np.array([5, 5, 5])) == robin_hood(np.array([5, 5, 5])) == 0.0
    assert gini(np.array([1, 3])) == robin_hood(np.array([1, 3])) == 0.25
    assert gini(np.zeros(3, np.int64)) == robin_hood(np.zeros(3, np.int64)) == 0.0


def test_robust_z_by_hand() -> None:
    # The median is 3, the absolute deviations 2, 1, 0, 1, 97 with median 1.
    assert robust_z(np.array([1, 2, 3, 4, 100])) == pytest.approx(np.array([-2, -1, 0, 1, 97]) / 1.4826)
    assert (robust_z(np.array([1, 2, 3, 4, 100])) > Z_ALARM).tolist() == [False] * 4 + [True]
    # More than half are equal: the mean absolute deviation is 2.
    assert robust_z(np.array([1, 1, 1, 1, 11])) == pytest.approx(np.array([0, 0, 0, 0, 10]) / (1.2533 * 2))
    assert robust_z(np.full(4, 7.0)).tolist() == [0.0] * 4
    assert robust_z(np.zeros(0)).shape == (0,)


def test_robust_z_of_normal_values_is_the_usual_one() -> None:
    values = np.random.default_rng(1).standard_normal(20_000) * 3.0 + 5.0
    assert robust_z(values) == pytest.approx((values - 5.0) / 3.0, abs=0.15)
