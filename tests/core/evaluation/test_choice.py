"""Figures from ranks, their intervals, and the choice that is made by them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.errors import InputError
from nnn_core.evaluation._quality import Quality, measure
from nnn_core.evaluation.choice import FEWEST_REPORTING, Choice, choosing_half
from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.points import Point


def test_figures_by_hand() -> None:
    ranks = np.array([[1, 6, 2, 11, 40]])
    query = np.array([0, 0, 1, 2, 2])
    quality = measure(ranks, query, np.ones(5))
    assert quality.first.tolist() == [[1, 2, 11]]
    assert quality.figures["recall@1"].tolist() == [[1, 0, 0]]
    assert quality.figures["recall@5"].tolist() == [[1, 1, 0]]
    assert quality.figures["recall@10"].tolist() == [[1, 1, 0]]
    assert quality.figures["mrr"].tolist() == [[1, 1 / 2, 1 / 11]]
    ideal = 1 + 1 / math.log2(3)
    assert quality.figures["ndcg@10"][0] == pytest.approx([(1 + 1 / math.log2(7)) / ideal, 1 / math.log2(3), 0.0])
    assert np.median(quality.first, axis=1).tolist() == [2]


def naive_ndcg(ranks: list[int], grades: list[float]) -> float:
    gain = sum((2**grade - 1) / math.log2(rank + 1) for rank, grade in zip(ranks, grades, strict=True) if rank <= 10)
    best = sum((2**g - 1) / math.log2(place + 1) for place, g in enumerate(sorted(grades, reverse=True)[:10], start=1))
    return gain / best


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(1, 30), st.sampled_from([1.0, 2.0, 3.0])),
            min_size=1,
            max_size=14,
            unique_by=lambda pair: pair[0],
        ),
        min_size=1,
        max_size=5,
    )
)
def test_graded_gain_is_the_definition(judged: list[list[tuple[int, float]]]) -> None:
    query = np.repeat(np.arange(len(judged)), [len(each) for each in judged])
    flat = [pair for each in judged for pair in each]
    quality = measure(np.array([[rank for rank, _ in flat]]), query, np.array([grade for _, grade in flat]))
    expected = [naive_ndcg([rank for rank, _ in each], [grade for _, grade in each]) for each in judged]
    assert quality.figures["ndcg@10"][0] == pytest.approx(expected)
    assert quality.figures["ndcg@10"].max() <= 1 + 1e-12


def test_intervals_are_those_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).standard_normal((2, 4000)) + np.array([[0.0], [0.5]])
    for interval, mean in zip(Interval.of_means(values), values.mean(axis=1), strict=True):
        assert interval.value == pytest.approx(mean)
        assert interval.low == pytest.approx(mean - 1.96 / math.sqrt(4000), abs=0.004)
        assert interval.high == pytest.approx(mean + 1.96 / math.sqrt(4000), abs=0.004)


def test_intervals_are_paired_and_repeatable() -> None:
    values = np.random.default_rng(2).uniform(size=(1, 50))
    means = Interval.resampled_means(np.concatenate([values, values + 1.0]))
    assert means[:, 1] - means[:, 0] == pytest.approx(np.ones(2000))
    assert np.array_equal(means, Interval.resampled_means(np.concatenate([values, values + 1.0])))


@pytest.mark.parametrize(("low", "high", "excludes"), [(0.1, 0.2, True), (-0.1, 0.1, False), (-0.2, -0.1, True)])
def test_an_interval_excludes_zero(low: float, high: float, excludes: bool) -> None:
    assert Interval(0.0, low, high).excludes_zero is excludes


def test_a_query_never_changes_sides() -> None:
    names = [f"q{number}" for number in range(2000)]
    half = choosing_half(names)
    assert 0.45 < half.mean() < 0.55
    assert np.array_equal(choosing_half(names[::-1]), half[::-1])
    assert choosing_half(names[:5]).tolist() == half[:5].tolist()


POINTS = Point.of_grid((1, 8), (0.5, 1.0))


def quality_with(gains: list[float], queries: int = 4000, seed: int = 3) -> Quality:
    """recall@1 of 0.5 without correction, and what each further point adds, on top of shared noise."""
    draws = np.random.default_rng(seed).uniform(size=queries)
    figures = np.stack([(draws < 0.5 + gain).astype(float) for gain in [0.0, *gains]])
    return Quality({"recall@1": figures}, figures.astype(np.int64))


def test_the_best_point_is_chosen() -> None:
    quality = quality_with([0.02, 0.01, 0.2, 0.05])
    choice = Choice.make(POINTS, quality, choosing_half([f"q{i}" for i in range(4000)]), "recall@1")
    assert choice.point == choice.best == Point(8, 0.5)
    assert choice.gain.value == pytest.approx(0.2, abs=0.03)
    assert choice.gain.low > 0.15


def test_a_smaller_alpha_is_preferred_where_the_difference_is_noise() -> None:
    figures = quality_with([0.0, 0.0, 0.1, 0.1]).figures["recall@1"]
    half = choosing_half([f"q{i}" for i in range(4000)])
    lost, won = np.flatnonzero(half & (figures[4] == 1))[:20], np.flatnonzero(half & (figures[4] == 0))[:23]
    figures[4, lost], figures[4, won] = 0.0, 1.0
    choice = Choice.make(POINTS, Quality({"recall@1": figures}, figures.astype(np.int64)), half, "recall@1")
    assert (choice.best, choice.point) == (Point(8, 1.0), Point(8, 0.5))
    figures[4, np.flatnonzero(half & (figures[4] == 0))[:60]] = 1.0
    choice = Choice.make(POINTS, Quality({"recall@1": figures}, figures.astype(np.int64)), half, "recall@1")
    assert choice.point == choice.best == Point(8, 1.0)


def test_nothing_is_chosen_where_there_is_nothing_to_gain() -> None:
    chosen = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        figures = (rng.uniform(size=(5, 400)) < 0.5).astype(float)
        quality = Quality({"recall@1": figures}, figures.astype(np.int64))
        chosen.append(Choice.make(POINTS, quality, choosing_half([f"q{i}" for i in range(400)]), "recall@1").point)
    assert sum(point.alpha == 0.0 for point in chosen) >= 18


def test_harm_is_never_chosen() -> None:
    quality = quality_with([-0.1, -0.2, -0.05, -0.3])
    choice = Choice.make(POINTS, quality, choosing_half([f"q{i}" for i in range(4000)]), "recall@1")
    assert choice.point == POINTS[0]


@pytest.mark.parametrize("choosing", [True, False])
def test_a_choice_needs_queries_on_both_sides(choosing: bool) -> None:
    with pytest.raises(InputError, match="of 3 validation queries"):
        Choice.make(POINTS, quality_with([0.1, 0.1, 0.1, 0.1], 3), np.full(3, choosing), "recall@1")


@pytest.mark.parametrize("reporting", [1, 2, FEWEST_REPORTING - 1, FEWEST_REPORTING])
def test_a_handful_of_queries_proves_nothing(reporting: int) -> None:
    """All of them gain, so the interval is a point above 0."""
    figures = np.zeros((5, 50 + reporting))
    figures[3] = 1.0
    choosing = np.arange(50 + reporting) < 50
    choice = Choice.make(POINTS, Quality({"recall@1": figures}, figures.astype(np.int64)), choosing, "recall@1")
    assert (choice.candidate, choice.gain.low) == (Point(8, 0.5), 1.0)
    assert choice.point == (Point(8, 0.5) if reporting >= FEWEST_REPORTING else POINTS[0])


def test_intervals_of_gains_cover_the_truth() -> None:
    """Of paired wins and losses, with half a percent of tolerance for the simulation's own noise."""
    rng = np.random.default_rng(8)
    gains = rng.choice([1.0, 0.0, -1.0], (400, 250), p=(0.12, 0.80, 0.08))
    covered = [each.low <= 0.04 <= each.high for each in Interval.of_means(gains)]
    assert 0.92 <= np.mean(covered) <= 0.98
