"""Figures from ranks, their intervals, and the choice that is made by them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.evaluation._quality import measure
from nnn_core.evaluation.choice import FEWEST_ANSWERS, RELATED, Choice, _choose, _fold_of
from nnn_core.evaluation.intervals import Interval, _resampled_means, _standard_error
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
    means = _resampled_means(np.concatenate([values, values + 1.0]))
    assert means[:, 1] - means[:, 0] == pytest.approx(np.ones(2000))
    assert np.array_equal(means, _resampled_means(np.concatenate([values, values + 1.0])))


@pytest.mark.parametrize(("low", "high", "excludes"), [(0.1, 0.2, True), (-0.1, 0.1, False), (-0.2, -0.1, True)])
def test_an_interval_excludes_zero(low: float, high: float, excludes: bool) -> None:
    assert Interval(0.0, low, high).excludes_zero is excludes


def test_queries_with_one_answer_count_as_one() -> None:
    """Five captions of each image that rise and fall together are worth no more than one."""
    values = np.random.default_rng(3).standard_normal(200)
    captions, images = np.repeat(values, 5), np.repeat(np.arange(200), 5)
    alone = Interval.of_means(values[None])[0]
    assert vars(Interval.of_means(captions[None], images)[0]) == pytest.approx(vars(alone))
    assert _standard_error(captions, images) == pytest.approx(_standard_error(values, np.arange(200)))
    assert _standard_error(captions, images) == pytest.approx(values.std() / math.sqrt(200))
    narrow = Interval.of_means(captions[None])[0]
    assert (alone.high - alone.low) / (narrow.high - narrow.low) == pytest.approx(math.sqrt(5), rel=0.1)


def test_intervals_of_gains_cover_the_truth() -> None:
    """Of paired wins and losses of groups of three, with half a percent of tolerance for the simulation's own noise."""
    rng = np.random.default_rng(8)
    chances = np.repeat(rng.uniform(0.0, 0.24, (400, 90)), 3, axis=1)
    gains = (rng.uniform(size=chances.shape) < chances) * 1.0 - (rng.uniform(size=chances.shape) < 0.08)
    groups = np.repeat(np.arange(90), 3)
    covered = [each.low <= 0.04 <= each.high for each in Interval.of_means(gains, groups)]
    assert 0.92 <= np.mean(covered) <= 0.98


KS, ALPHAS = (4, 8, 16, 32), (0.25, 0.5, 0.75, 1.0)
POINTS = Point.of_grid(KS, ALPHAS)


def chosen_slowly(first: list[list[int]], some: list[int]) -> tuple[Point, Point]:
    """The rule of the module's docstring, word by word: the point with the highest gain, and the choice."""

    def s(query: int, point: Point) -> float:
        return -math.log2(min(first[POINTS.index(point)][query], 1000)) + math.log2(min(first[0][query], 1000))

    def raw(k: int, alpha: float) -> float:
        return math.fsum(s(query, Point(k, alpha)) for query in some) / len(some)

    def over_k(k: int, alpha: float) -> float:
        at = KS.index(k)
        near = [(2, k), *((1, KS[other]) for other in (at - 1, at + 1) if 0 <= other < len(KS))]
        return sum(weight * raw(other, alpha) for weight, other in near) / sum(weight for weight, _ in near)

    def g(point: Point) -> float:
        at = ALPHAS.index(point.alpha)
        gains = [(2, over_k(point.k, point.alpha)), (1, over_k(point.k, ALPHAS[at - 1]) if at else 0.0)]
        gains += [(1, over_k(point.k, ALPHAS[at + 1]))] if at + 1 < len(ALPHAS) else []
        return sum(weight * gain for weight, gain in gains) / sum(weight for weight, _ in gains)

    def distance(point: Point) -> float:
        return ((point.alpha - 0.5) / 0.25) ** 2 + ((math.log2(point.k) - 4) / 2) ** 2

    best = max(POINTS[1:], key=g)
    if g(best) <= 0:
        return POINTS[0], POINTS[0]
    near = []
    for point in POINTS[1:]:
        leads = [s(query, best) - s(query, point) for query in some]
        spread = math.sqrt(sum((lead - sum(leads) / len(leads)) ** 2 for lead in leads) / len(leads))
        if g(best) - g(point) <= spread / max(math.sqrt(len(some)), len(some) / 10):
            near.append(point)
    return best, min(near, key=distance)


def apply(first: np.ndarray, answers: list[str], agreement: float | None = None) -> tuple[Choice, np.ndarray]:
    return _choose(POINTS, first, answers, ("recall@1", (first <= 1).astype(float)), agreement)


@given(st.integers(0, 10**9), st.sampled_from([1.0, 1.5, 3.0, 100.0]))
def test_the_rule_is_its_slow_transcription(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    queries = int(rng.integers(12, 40))
    # Ranks that differ between points by a common and by an own factor, so that near points are alike.
    factors = spread ** rng.standard_normal((len(POINTS), 1)) * spread ** rng.standard_normal((len(POINTS), queries))
    first = np.maximum(1, np.rint(rng.integers(1, 60, queries) * factors)).astype(np.int64)
    answers = [f"image {number}" for number in rng.integers(0, queries, queries)]
    choice, unseen = apply(first, answers)
    ranks = first.tolist()
    assert (choice.best, choice.candidate) == chosen_slowly(ranks, list(range(queries)))
    folds = {_fold_of(answer) for answer in answers}
    others = {fold: [query for query in range(queries) if _fold_of(answers[query]) != fold] for fold in folds}
    expected = {fold: chosen_slowly(ranks, rest)[1] for fold, rest in others.items()}
    pooled = []
    for query, answer in enumerate(answers):
        assert POINTS[unseen[query]] == expected[_fold_of(answer)]
        pooled.append(math.log2(min(ranks[0][query], 1000) / min(ranks[unseen[query]][query], 1000)))
    assert choice.bits == pytest.approx(np.mean(pooled), abs=1e-12)
    total = {
        name: sum(p - np.mean(pooled) for p, a in zip(pooled, answers, strict=True) if a == name) for name in answers
    }
    assert choice.error == pytest.approx(math.sqrt(sum(each**2 for each in total.values())) / queries, abs=1e-12)
    enough = len(total) >= FEWEST_ANSWERS and choice.bits > 1.645 * choice.error and choice.candidate != POINTS[0]
    assert choice.point == (choice.candidate if enough else POINTS[0])


@pytest.mark.parametrize("seed", range(8))
def test_many_queries_are_trusted_sooner(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = 1.05 ** rng.standard_normal((len(POINTS), 1)) * 1.3 ** rng.standard_normal((len(POINTS), 300))
    first = np.maximum(1, np.rint(rng.integers(2, 60, 300) * factors)).astype(np.int64)
    for queries in (100, 300):
        choice, _ = apply(first[:, :queries], names(queries, queries))
        assert (choice.best, choice.candidate) == chosen_slowly(first.tolist(), list(range(queries)))


def ranks_with(gain: float, queries: int = 400, seed: int = 3, *, everywhere: bool = False) -> np.ndarray:
    """Ranks that (k 8, alpha 0.5), or every point, divides by 2**gain on average, with a noise of one halving."""
    rng = np.random.default_rng(seed)
    plain = rng.integers(5, 200, queries)
    first = np.tile(plain, (len(POINTS), 1))
    better = np.maximum(1, np.rint(plain / 2.0 ** (gain + rng.standard_normal(queries))))
    first[slice(1, None) if everywhere else POINTS.index(Point(8, 0.5))] = better
    return first


def names(queries: int, images: int) -> list[str]:
    return [f"image {row % images}" for row in range(queries)]


def test_a_gain_is_found_and_proved() -> None:
    choice, _ = apply(ranks_with(1.0), names(400, 400))
    assert choice.point == choice.candidate == choice.best == Point(8, 0.5)
    assert choice.bits == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("gain", [0.0, -1.0])
def test_nothing_is_published_where_there_is_nothing_to_gain(gain: float) -> None:
    found = [apply(ranks_with(gain, seed=seed), names(400, 400))[0].point for seed in range(20)]
    assert sum(point == POINTS[0] for point in found) >= 18


@pytest.mark.parametrize(("images", "proven"), [(FEWEST_ANSWERS - 1, False), (FEWEST_ANSWERS, True)])
def test_a_handful_of_answers_proves_nothing(images: int, proven: bool) -> None:
    choice, _ = apply(ranks_with(2.0), names(400, images))
    assert choice.answers == images
    assert choice.candidate == Point(8, 0.5)
    assert choice.proven is proven
    assert choice.point == (choice.candidate if proven else POINTS[0])


def test_a_bank_of_the_same_domain_needs_less_proof() -> None:
    first, answers = ranks_with(0.2, 60, seed=4, everywhere=True), names(60, 60)
    doubted, related = apply(first, answers, RELATED - 0.01)[0], apply(first, answers, RELATED)[0]
    assert 0.842 < related.bits / related.error < 1.645
    assert (doubted.proven, related.proven) == (False, True)
    assert apply(first, answers, None)[0] == doubted


def test_no_query_reports_on_a_choice_that_its_own_image_made() -> None:
    answers = names(300, 60)
    first = ranks_with(0.5, 300)
    unseen = apply(first, answers)[1]
    for fold in set(map(_fold_of, answers)):
        mine = np.array([_fold_of(name) == fold for name in answers])
        other = first.copy()
        other[1:, mine] = 1000
        assert np.array_equal(apply(other, answers)[1][mine], unseen[mine])
