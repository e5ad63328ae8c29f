"""Moments of a bank to the bit, what follows from them, and the log-sum-exp with its bounds."""

from __future__ import annotations

import functools
import io
import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import oracles
import pytest
from fakes import grid_vectors
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.evaluation import _statistics as statistics
from nnn_core.evaluation._statistics import BankMoments, ExactLogSumExp, exact_log_sum_exp, log_sum_exp
from nnn_core.scoring.topk import TopK
from nnn_core.vectors import on_grid, to_grid

Vectors = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

BETAS = (0.01, 1.0, 20.0, 100.0)


@st.composite
def banks(draw: st.DrawFn, min_rows: int = 0) -> Vectors:
    """Few vectors of a small dimension: random, repeated, alike, and with one coordinate at its limit."""
    dim = draw(st.integers(1, 9))
    rows = draw(st.integers(min_rows, 12))
    offset = draw(st.sampled_from([0.0, 0.3, 1000.0]))
    vectors = grid_vectors(rows, dim, draw(st.integers(0, 99)), offset)
    for row in draw(st.lists(st.integers(0, rows - 1), max_size=4)) if rows else []:
        vectors[row] = 0.0
        vectors[row, draw(st.integers(0, dim - 1))] = draw(st.sampled_from([1.0, -1.0, 1.0 + 2.0**-18]))
    return vectors


def cuts(rows: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Ranges that cover ``rows`` rows in order, some of them empty."""
    inner = st.lists(st.integers(0, rows), max_size=4).map(lambda at: [0, *sorted(at), rows])
    return inner.map(lambda at: list(itertools.pairwise(at)))


def whole(vectors: Vectors) -> npt.NDArray[np.object_]:
    """Coordinates as Python's whole numbers."""
    return np.array([[int(Fraction(float(x)) * 2**25) for x in row] for row in vectors], object).reshape(vectors.shape)


def product_sums(moments: BankMoments) -> list[list[int]]:
    high, mixed, low = moments.second.astype(object)
    return (high * 2**26 + mixed * 2**13 + low).tolist()


def assert_same(actual: BankMoments, wanted: BankMoments) -> None:
    assert actual.rows == wanted.rows
    oracles.assert_same_bits(actual.first, wanted.first)
    oracles.assert_same_bits(actual.second, wanted.second)


def oracle_similarities(candidates: Vectors, bank: Vectors) -> tuple[Matrix, Matrix]:
    scores = candidates.astype(np.float64) @ bank.astype(np.float64).T
    return scores.mean(axis=1), scores.std(axis=1)


@given(banks())
def test_moments_equal_sums_of_whole_numbers(bank: Vectors) -> None:
    moments, numbers = BankMoments.of(bank), whole(bank)
    assert moments.rows == len(bank)
    assert moments.first.tolist() == [sum(column) for column in numbers.T]
    assert product_sums(moments) == [[sum(a * b) for b in numbers.T] for a in numbers.T]


@pytest.mark.parametrize("dim", [1, 2, 70])
def test_coordinates_at_their_limit_do_not_overflow(dim: int) -> None:
    """Every entry as large as it can be, in more rows than one block holds."""
    bank = np.zeros((5000, dim), np.float32)
    bank[:, 0] = 1.0 + 2.0**-18
    bank[::2, 0] *= -1.0
    assert on_grid(bank)
    moments = BankMoments.of(bank)
    assert product_sums(moments)[0][0] == 5000 * (2**25 + 2**7) ** 2
    assert moments.first.tolist() == [0] * dim


def test_halves_at_their_limit_do_not_overflow() -> None:
    """h and l both near 2**12, so that their sum's square is the largest there is."""
    coordinate = float((2**12 - 1) * 2**13 + 2**12) / 2**25
    bank = np.full((4097, 1), coordinate, np.float64).astype(np.float32)
    assert product_sums(BankMoments.of(bank)) == [[4097 * whole(bank)[0, 0] ** 2]]


@given(st.data(), banks())
def test_moments_do_not_depend_on_the_cuts(data: st.DataObject, bank: Vectors) -> None:
    parts = [BankMoments.of(bank[first:last]) for first, last in data.draw(cuts(len(bank)))]
    assert_same(functools.reduce(BankMoments.__or__, parts), BankMoments.of(bank))


@given(st.randoms(use_true_random=False), banks())
def test_moments_do_not_depend_on_the_order(random: object, bank: Vectors) -> None:
    order = list(range(len(bank)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert_same(BankMoments.of(bank[order]), BankMoments.of(bank))


@given(st.data(), banks())
def test_merge_is_a_commutative_monoid(data: st.DataObject, bank: Vectors) -> None:
    first, second = sorted(data.draw(st.lists(st.integers(0, len(bank)), min_size=2, max_size=2)))
    a, b, c = (BankMoments.of(part) for part in (bank[:first], bank[first:second], bank[second:]))
    assert_same((a | b) | c, a | (b | c))
    assert_same(a | b, b | a)
    empty = BankMoments.empty(bank.shape[1])
    assert_same(a | empty, a)
    assert_same(empty | a, a)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = grid_vectors(5000, 37, 3)
    expected = BankMoments.of(bank)
    monkeypatch.setattr(statistics, "_BANK_ROWS", 7)
    assert_same(BankMoments.of(bank), expected)
    assert_same(BankMoments.of(np.asfortranarray(bank)), expected)


def test_merge_leaves_its_operands_alone() -> None:
    left, right = BankMoments.of(grid_vectors(5, 3, 1)), BankMoments.of(grid_vectors(4, 3, 2))
    before = left.first.tobytes(), left.second.tobytes(), right.second.tobytes()
    assert (left | right).rows == 9
    assert (left.first.tobytes(), left.second.tobytes(), right.second.tobytes()) == before


@given(banks())
def test_arrays_hold_all_of_it(bank: Vectors) -> None:
    moments, file = BankMoments.of(bank), io.BytesIO()
    np.savez(file, **moments.to_arrays())
    file.seek(0)
    with np.load(file) as arrays:
        assert_same(BankMoments.from_arrays(arrays), moments)


@given(banks(min_rows=1))
def test_mean_and_covariance_are_rounded_once(bank: Vectors) -> None:
    moments, exact = BankMoments.of(bank), [[Fraction(float(x)) for x in row] for row in bank]
    mean = [sum(column) / len(bank) for column in zip(*exact, strict=True)]
    assert moments.mean.tolist() == [float(m) for m in mean]
    for i, m in enumerate(mean):
        for j, n in enumerate(mean):
            assert moments.covariance[i, j] == float(sum((row[i] - m) * (row[j] - n) for row in exact) / len(bank))


@pytest.mark.parametrize("offset", [0.0, 0.3, 30.0])
@pytest.mark.parametrize("dim", [1, 2, 31, 32, 33, 130])
def test_similarities_equal_the_oracle(dim: int, offset: float) -> None:
    candidates, bank = grid_vectors(150, dim, 1, 0.1), grid_vectors(3000, dim, 2, offset)
    mean, std = BankMoments.of(bank).similarities(candidates)
    assert mean.dtype == std.dtype == np.float32
    expected_mean, expected_std = oracle_similarities(candidates, bank)
    np.testing.assert_allclose(mean, expected_mean, rtol=0, atol=1e-7)
    np.testing.assert_allclose(std, expected_std, rtol=2e-7, atol=1e-7)


def test_alike_vectors_keep_their_spread() -> None:
    """Deviations of 1e-6 about similarities near 1, which E[s^2] - E[s]^2 would lose."""
    rng = np.random.default_rng(5)
    bank = to_grid(np.where(np.arange(64) == 0, 1.0, rng.standard_normal((4000, 64)) * 1e-6))
    candidates = grid_vectors(40, 64, 6, 1.0)
    _, std = BankMoments.of(bank).similarities(candidates)
    _, expected = oracle_similarities(candidates, bank - np.eye(1, 64, dtype=np.float32))
    assert 1e-7 < expected.min() < 1e-5
    np.testing.assert_allclose(std, expected, rtol=1e-6)


@pytest.mark.parametrize("dim", [1, 3, 4, 30, 32, 67])
def test_similarities_are_summed_in_the_order_that_is_written(dim: int) -> None:
    """Coordinate by coordinate, without fused or reordered additions: the same float64 bits from plain NumPy."""
    candidates, moments = grid_vectors(100, dim, 1), BankMoments.of(grid_vectors(50, dim, 2))
    x, width = candidates.astype(np.float64), -(-dim // 4) * 4
    mean, form = np.zeros(width), np.zeros((width, width))
    expected = np.zeros((2, 100))
    for j in range(dim):
        mean[j], image = moments.mean[j], np.zeros(100)
        for i in range(j + 1):
            form[j, i] = moments.covariance[j, i] * (1.0 if i == j else 2.0)
            image = image + form[j, i] * x[:, i]
        expected[0] = expected[0] + mean[j] * x[:, j]
        expected[1] = expected[1] + image * x[:, j]
    oracles.assert_same_bits(statistics._forms(candidates, mean, form), expected)
    actual_mean, std = moments.similarities(candidates)
    oracles.assert_same_bits(actual_mean, expected[0].astype(np.float32))
    oracles.assert_same_bits(std, np.sqrt(np.maximum(expected[1], 0.0)).astype(np.float32))


@given(st.data())
def test_similarities_do_not_depend_on_the_cuts(data: st.DataObject) -> None:
    dim = data.draw(st.sampled_from([3, 34, 100]))
    candidates, bank = grid_vectors(200, dim, 7), grid_vectors(90, dim, 8)
    expected = BankMoments.of(bank).similarities(candidates)
    bank_cuts, candidate_cuts = data.draw(cuts(len(bank))), data.draw(cuts(len(candidates)))
    moments = functools.reduce(BankMoments.__or__, [BankMoments.of(bank[a:b]) for a, b in reversed(bank_cuts)])
    parts = [moments.similarities(candidates[a:b]) for a, b in candidate_cuts]
    for part, wanted in zip(zip(*parts, strict=True), expected, strict=True):
        oracles.assert_same_bits(np.concatenate(part), wanted)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 3001])
def test_equal_vectors_have_no_spread_at_all(rows: int) -> None:
    candidates, vector = grid_vectors(70, 48, 1), grid_vectors(1, 48, 2, 1.0)
    mean, std = BankMoments.of(np.repeat(vector, rows, axis=0)).similarities(candidates)
    oracles.assert_same_bits(std, np.zeros(70, np.float32))
    np.testing.assert_allclose(mean, oracles.exact_scores(candidates, vector)[:, 0], rtol=0, atol=6e-8)


def test_a_useless_row_spoils_only_itself() -> None:
    candidates, moments = grid_vectors(70, 5, 1), BankMoments.of(grid_vectors(9, 5, 2))
    expected = moments.similarities(candidates)
    candidates[3, 1] = np.nan
    for actual, wanted in zip(moments.similarities(candidates), expected, strict=True):
        assert np.isnan(actual[3])
        oracles.assert_same_bits(np.delete(actual, 3), np.delete(wanted, 3))


@pytest.mark.parametrize("value", [0.1 + 2.0**-26, np.nan, np.inf, 1.5])
def test_vectors_off_the_grid_are_refused(value: float) -> None:
    bank = np.zeros((3000, 2), np.float32)
    bank[2100, 1] = value
    with pytest.raises(ValueError, match="vectors 2048 to 2999 are not all unit vectors on the grid"):
        BankMoments.of(bank)


def test_moments_that_cannot_be_are_refused() -> None:
    first, second = np.zeros(4, np.int64), np.zeros((3, 4, 4), np.int64)
    for wrong in (
        (1, first, second[:, :3]),
        (1, first, second[0]),
        (1, first.astype(np.float64), second),
        (1, first[None], second),
    ):
        with pytest.raises(ValueError, match="disagree, or are not int64"):
            BankMoments(*wrong)
    for rows in (-1, statistics.MAX_ROWS + 1):
        with pytest.raises(ValueError, match=f"{rows} rows; int64 sums hold 0 to"):
            BankMoments(rows, first, second)
    with pytest.raises(ValueError, match="dim 4 cannot be merged with dim 5"):
        BankMoments.empty(4) | BankMoments.empty(5)
    with pytest.raises(KeyError, match="second"):
        BankMoments.from_arrays({"rows": np.array(1), "first": first})


def test_an_empty_bank_and_another_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match="an empty bank has neither mean nor covariance"):
        BankMoments.empty(3).similarities(grid_vectors(2, 3, 0))
    with pytest.raises(ValueError, match="of dim 4 cannot be compared with a bank of dim 3"):
        BankMoments.of(grid_vectors(2, 3, 0)).similarities(grid_vectors(2, 4, 0))


def test_a_kernel_that_cannot_be_cached_still_runs() -> None:
    """Source that is in no file has no place for a cache, like a package in a folder that nobody may write."""
    names: dict[str, Callable[[int], int]] = {}
    exec("def twice(x):\n    return 2 * x\n", names)
    assert statistics._compiled(names["twice"])(21) == 42


def oracle_log_sum_exp(scores: Matrix, betas: tuple[float, ...]) -> Matrix:
    """By the definition, with a correctly rounded sum; of few and small enough terms only."""
    return np.array([[math.log(math.fsum(math.exp(b * s) for s in row)) for b in betas] for row in scores])


def scores_of(candidates: Vectors, references: Vectors) -> Matrix:
    return candidates.astype(np.float64) @ references.astype(np.float64).T


@pytest.mark.parametrize("offset", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("references", [1, 5, 4096, 9000])
def test_exact_log_sum_exp_equals_the_oracle(references: int, offset: float) -> None:
    candidates, bank = grid_vectors(12, 64, 1), grid_vectors(references, 64, 2, offset)
    actual = exact_log_sum_exp(candidates, bank, BETAS).values
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, oracle_log_sum_exp(scores_of(candidates, bank), BETAS), rtol=0, atol=1e-10)


@pytest.mark.parametrize("beta", [1e-300, 1e3, 1e6, 1e300])
def test_no_temperature_overflows(beta: float) -> None:
    bank = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], np.float32)
    values = exact_log_sum_exp(bank[[0, 2, 3]], bank, (beta,)).values[:, 0]
    many = math.log(4) if beta < 1 else math.log(2)
    np.testing.assert_allclose(values, [beta + many, beta + (many if beta < 1 else 0.0), beta + (many * (beta < 1))])
    bounds = log_sum_exp(TopK.of(scores_of(bank, bank).astype(np.float32), 2, np.full(4, 4)), (beta,))
    assert np.isfinite(bounds.lower).all()
    assert (bounds.lower <= bounds.upper).all()


@given(st.data())
def test_log_sum_exp_hardly_depends_on_the_cuts(data: st.DataObject) -> None:
    candidates, bank = grid_vectors(6, 8, 3), grid_vectors(40, 8, 4)
    expected = exact_log_sum_exp(candidates, bank, BETAS).values
    parts = [exact_log_sum_exp(candidates, bank[a:b], BETAS) for a, b in data.draw(cuts(len(bank)))]
    merged = functools.reduce(ExactLogSumExp.__or__, data.draw(st.permutations(parts)))
    np.testing.assert_allclose(merged.values, expected, rtol=0, atol=1e-12)


@given(st.integers(0, 99))
def test_log_sum_exp_merges_as_a_monoid(seed: int) -> None:
    scores = np.random.default_rng(seed).uniform(-1, 1, (3, 5, 7))
    scores[0, 1], scores[1, 2, :3] = -np.inf, -np.inf
    a, b, c = (ExactLogSumExp.of(part, BETAS) for part in scores)
    oracles.assert_same_bits((a | b).values, (b | a).values)
    np.testing.assert_allclose(((a | b) | c).values, (a | (b | c)).values, rtol=0, atol=1e-12)
    empty = ExactLogSumExp.empty(5, BETAS)
    oracles.assert_same_bits((a | empty).values, a.values)
    oracles.assert_same_bits((empty | a).values, a.values)


def test_tiles_of_candidates_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates, bank = grid_vectors(50, 16, 5), grid_vectors(300, 16, 6)
    expected = exact_log_sum_exp(candidates, bank, BETAS).values
    oracles.assert_same_bits(exact_log_sum_exp(candidates[17:30], bank, BETAS).values, expected[17:30])
    monkeypatch.setattr(statistics, "_CANDIDATE_ROWS", 7)
    monkeypatch.setattr(statistics, "_TERMS", 900)
    oracles.assert_same_bits(exact_log_sum_exp(candidates, bank, BETAS).values, expected)
    monkeypatch.setattr(statistics, "_REFERENCE_ROWS", 11)
    tiled = exact_log_sum_exp(candidates, bank, BETAS).values
    np.testing.assert_allclose(tiled, expected, rtol=0, atol=1e-12)


def test_left_out_pairs_do_not_count() -> None:
    scores = np.array([[0.5, -np.inf, 0.1], [-np.inf, -np.inf, -np.inf], [0.2, 0.3, 0.4]])
    values = ExactLogSumExp.of(scores, (7.0,)).values[:, 0]
    assert values[0] == pytest.approx(math.log(math.exp(3.5) + math.exp(0.7)), abs=1e-12)
    assert values[1] == -np.inf


def test_nothing_seen_is_minus_infinity() -> None:
    none = np.zeros((0, 4), np.float32)
    assert np.isneginf(exact_log_sum_exp(grid_vectors(3, 4, 0), none, BETAS).values).all()
    assert exact_log_sum_exp(none, grid_vectors(3, 4, 0), BETAS).values.shape == (0, 4)
    for top in (TopK.empty(4, 3), TopK.empty(4, 0)):
        bounds = log_sum_exp(top, BETAS)
        assert bounds.lower.shape == bounds.upper.shape == (len(top.seen), 4)
        assert np.isneginf(bounds.lower).all()
        assert np.isneginf(bounds.upper).all()


@given(st.integers(0, 99), st.integers(1, 40), st.sampled_from([0.0, 0.3, 30.0]))
def test_bounds_enclose_the_exact_value(seed: int, k: int, offset: float) -> None:
    candidates, bank = grid_vectors(9, 6, seed), grid_vectors(30, 6, seed + 1, offset)
    top = TopK.of(scores_of(candidates, bank).astype(np.float32), k, np.full(9, 30))
    bounds, exact = log_sum_exp(top, BETAS), exact_log_sum_exp(candidates, bank, BETAS).values
    # The scores of a TopK are rounded to float32.
    rounding = np.array(BETAS) * 2.0**-25 + 1e-12
    assert (bounds.lower <= exact + rounding).all()
    assert (exact <= bounds.upper + rounding).all()
    if k >= 30:
        oracles.assert_same_bits(bounds.lower, bounds.upper)


@given(st.lists(st.lists(st.floats(-1, 1, width=32), max_size=9), min_size=1, max_size=5), st.integers(1, 5))
def test_bounds_follow_their_formulas(scores: list[list[float]], k: int) -> None:
    top = TopK.of(oracles.padded(scores), k, np.array([len(row) for row in scores], np.int64))
    bounds = log_sum_exp(top, BETAS)
    for i, row in enumerate(scores):
        kept = sorted(row, reverse=True)[:k]
        for j, beta in enumerate(BETAS):
            total = math.fsum(math.exp(beta * score) for score in kept)
            most = total + (len(row) - len(kept)) * math.exp(beta * kept[-1]) if kept else 0.0
            assert bounds.lower[i, j] == pytest.approx(math.log(total) if kept else -np.inf, abs=1e-11)
            assert bounds.upper[i, j] == pytest.approx(math.log(most) if kept else -np.inf, abs=1e-11)


def test_bounds_of_a_row_do_not_depend_on_its_neighbours() -> None:
    short = np.random.default_rng(1).uniform(-1, 1, (50, 21)).astype(np.float32)
    alone = log_sum_exp(TopK.of(short, 64, np.full(50, 21)), BETAS)
    both = np.full((51, 150), -np.inf, np.float32)
    both[:50, :21], both[50] = short, 0.5
    beside = log_sum_exp(TopK.of(both, 64, np.array([21] * 50 + [150])), BETAS)
    oracles.assert_same_bits(beside.lower[:50], alone.lower)
    oracles.assert_same_bits(beside.upper[:50], alone.upper)
    assert (beside.upper[50] > beside.lower[50]).all()


@pytest.mark.parametrize("beta", [0.0, -1.0, np.inf, np.nan])
def test_useless_temperatures_are_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="inverse temperatures must be positive and finite"):
        ExactLogSumExp.of(np.zeros((2, 2)), (1.0, beta))
    with pytest.raises(ValueError, match="inverse temperatures must be positive and finite"):
        log_sum_exp(TopK.empty(2, 2), (beta,))


def test_other_rows_or_temperatures_cannot_be_merged() -> None:
    for other in (ExactLogSumExp.empty(3, (1.0,)), ExactLogSumExp.empty(2, (2.0,))):
        with pytest.raises(ValueError, match="other rows or inverse temperatures cannot be merged"):
            ExactLogSumExp.empty(2, (1.0,)) | other
