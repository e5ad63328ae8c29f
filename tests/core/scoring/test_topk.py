"""TopK is a value: its merge is a commutative monoid to the bit, and means follow from the definition."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import numpy.typing as npt
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.scoring.topk import TopK, _descending, grid_of

#: Few distinct scores, so that ties are the rule.
SCORES = st.sampled_from([-1.0, -0.25, 0.0, 0.1, 0.1 + 2**-26, 0.5, 0.5 + 2**-24, 1.0])
Ragged = list[list[float]]


def ragged(rows: int) -> st.SearchStrategy[Ragged]:
    """For each candidate the scores of the references that it was compared with, in any order."""
    return st.lists(st.lists(SCORES, max_size=9), min_size=rows, max_size=rows)


def top_of(scores: Ragged, k: int) -> TopK:
    return TopK.of(oracles.padded(scores), k, np.array([len(row) for row in scores], np.int64))


def expected(scores: Ragged, k: int) -> TopK:
    best = [sorted(np.float32(row).tolist(), reverse=True)[:k] for row in scores]
    return TopK(k, np.array([len(row) for row in scores], np.int64), oracles.padded(best))


def assert_same(actual: TopK, wanted: TopK) -> None:
    assert actual.k == wanted.k
    oracles.assert_same_bits(actual.seen, wanted.seen)
    oracles.assert_same_bits(actual.scores, wanted.scores)


@st.composite
def several(draw: st.DrawFn, count: int) -> tuple[int, list[Ragged]]:
    rows = draw(st.integers(0, 5))
    return draw(st.integers(1, 12)), [draw(ragged(rows)) for _ in range(count)]


@given(several(1))
def test_of_keeps_the_highest(case: tuple[int, list[Ragged]]) -> None:
    k, (scores,) = case
    assert_same(top_of(scores, k), expected(scores, k))


@given(several(2))
def test_merge_equals_the_top_of_the_concatenation(case: tuple[int, list[Ragged]]) -> None:
    k, (left, right) = case
    together = [a + b for a, b in zip(left, right, strict=True)]
    assert_same(top_of(left, k) | top_of(right, k), expected(together, k))


@given(several(2))
def test_merge_is_commutative(case: tuple[int, list[Ragged]]) -> None:
    k, (left, right) = case
    assert_same(top_of(left, k) | top_of(right, k), top_of(right, k) | top_of(left, k))


@given(several(3))
def test_merge_is_associative(case: tuple[int, list[Ragged]]) -> None:
    k, parts = case
    a, b, c = (top_of(part, k) for part in parts)
    assert_same((a | b) | c, a | (b | c))


@given(several(1))
def test_empty_is_the_identity(case: tuple[int, list[Ragged]]) -> None:
    k, (scores,) = case
    top = top_of(scores, k)
    assert_same(top | TopK.empty(k, len(scores)), top)
    assert_same(TopK.empty(k, len(scores)) | top, top)


@given(several(5), st.randoms(use_true_random=False))
def test_any_order_of_many_gives_the_same_bits(case: tuple[int, list[Ragged]], random: object) -> None:
    k, parts = case
    tops = [top_of(part, k) for part in parts]
    whole = functools.reduce(TopK.__or__, tops)
    random.shuffle(tops)  # type: ignore[attr-defined]
    assert_same(functools.reduce(TopK.__or__, tops), whole)


@pytest.mark.parametrize("k", [1, 7, 64, 5000])
def test_large_merge_equals_sort(k: int) -> None:
    rng = np.random.default_rng(k)
    scores = rng.integers(-40, 40, (30, 3000)).astype(np.float32) / 64
    cuts = [scores[:, first:last] for first, last in ((0, 5), (5, 5), (5, 1700), (1700, 3000))]
    tops = [TopK.of(np.ascontiguousarray(cut), k, np.full(30, cut.shape[1])) for cut in cuts]
    merged = functools.reduce(TopK.__or__, tops)
    oracles.assert_same_bits(merged.scores, oracles.padded(oracles.highest(scores, k)))
    assert (merged.seen == 3000).all()


def test_zeros_of_either_sign_are_one_score() -> None:
    """0 and -0 are equal, so which of them comes first must not depend on the order of the merge."""
    plus = TopK.of(np.array([[0.0]], np.float32), 2, np.array([1]))
    minus = TopK.of(np.array([[-0.0]], np.float32), 2, np.array([1]))
    assert_same(plus | minus, minus | plus)


def test_valid_marks_padding() -> None:
    top = top_of([[1.0, 0.5, 0.1], [], [0.5]], 2)
    assert top.valid.tolist() == [[True, True], [False, False], [True, False]]
    assert np.isneginf(top.scores[~top.valid]).all()


def test_merge_leaves_its_operands_alone() -> None:
    left, right = top_of([[0.1, 0.5]], 3), top_of([[1.0]], 3)
    before = left.scores.tobytes(), right.scores.tobytes(), left.seen.tobytes()
    assert (left | right).scores.tolist() == [[1.0, 0.5, np.float32(0.1)]]
    assert (left.scores.tobytes(), right.scores.tobytes(), left.seen.tobytes()) == before


@pytest.mark.parametrize(
    ("k", "seen", "width"), [(3, [5, 5], 2), (3, [5, 5], 4), (3, [1, 2], 3), (3, [5], 3), (3, [0, 0], 1)]
)
def test_inconsistent_values_are_refused(k: int, seen: list[int], width: int) -> None:
    with pytest.raises(ValueError, match=r"k=3, seen .* disagree"):
        TopK(k, np.array(seen, np.int64), np.zeros((2, width), np.float32))


def test_other_k_or_rows_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="k=2, 3 rows cannot be merged with k=4, 3 rows"):
        TopK.empty(2, 3) | TopK.empty(4, 3)
    with pytest.raises(ValueError, match="k=2, 3 rows cannot be merged with k=2, 5 rows"):
        TopK.empty(2, 3) | TopK.empty(2, 5)


@given(st.integers(0, 12), st.integers(1, 12))
def test_descending_equals_sort(width: int, columns: int) -> None:
    scores = np.random.default_rng(columns).integers(0, 5, (4, columns)).astype(np.float32)
    wanted = np.sort(scores, axis=1)[:, ::-1][:, :width]
    if width <= columns:
        actual = _descending(scores, width)
        oracles.assert_same_bits(actual, wanted)
        assert actual.flags.c_contiguous


@pytest.mark.parametrize(
    ("k_max", "k", "grid"),
    [
        (1, None, (1,)),
        (8, None, (1, 2, 4, 8)),
        (9, None, (1, 2, 4, 8, 9)),
        (100, 5, (1, 2, 4, 5, 8, 16, 32, 64, 100)),
        (4, 4, (1, 2, 4)),
    ],
)
def test_grid_of(k_max: int, k: int | None, grid: tuple[int, ...]) -> None:
    assert grid_of(k_max, k) == grid


@given(st.integers(1, 5000))
def test_grid_ends_at_k_max(k_max: int) -> None:
    grid = grid_of(k_max)
    assert grid[0] == 1
    assert grid[-1] == k_max
    assert all(low < high <= 2 * low for low, high in itertools.pairwise(grid))


@given(several(1))
def test_means_equal_the_definition(case: tuple[int, list[Ragged]]) -> None:
    k_max, (scores,) = case
    grid = grid_of(k_max)
    means = top_of(scores, k_max).means(grid)
    assert means.shape == (len(scores), len(grid))
    assert means.dtype == np.float32
    for row, seen in enumerate(scores):
        best = sorted(np.float32(seen).tolist(), reverse=True)
        for column, k in enumerate(grid):
            used = best[:k]
            assert means[row, column] == np.float32(sum(used) / len(used) if used else 0.0)


@given(several(2))
def test_means_do_not_depend_on_the_cuts(case: tuple[int, list[Ragged]]) -> None:
    k, (left, right) = case
    together = [a + b for a, b in zip(left, right, strict=True)]
    grid = grid_of(k)
    oracles.assert_same_bits((top_of(left, k) | top_of(right, k)).means(grid), top_of(together, k).means(grid))


def test_means_never_touch_padding() -> None:
    means = top_of([[0.5, 1.0, 0.0, 0.5], [1.0], []], 4).means((1, 2, 4))
    assert means.tolist() == [[1.0, 0.75, 0.5], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]


def test_means_are_summed_in_float64() -> None:
    scores = np.full((1, 4096), np.float32(1 / 3), np.float32)
    scores[0, 0] = 1.0
    top: TopK = TopK.of(scores, 4096, np.array([4096]))
    exact: npt.NDArray[np.float64] = np.array((1.0 + 4095 * float(np.float32(1 / 3))) / 4096)
    assert top.means((4096,))[0, 0] == np.float32(exact)
