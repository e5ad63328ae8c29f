"""Unit vectors on the grid, and the claim that their inner products are exact."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import oracles
import pytest
from fakes import grid_vectors
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from oracles import on_grid

from nnn_core.vectors import off_length, to_grid, unit_vectors

SHAPES = nps.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)
FINITE = nps.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
ANY = nps.arrays(np.float64, SHAPES, elements=st.floats())


def bits(vectors: npt.NDArray[np.floating]) -> list[bytes]:
    return [array.tobytes() for array in unit_vectors(vectors)]


@given(FINITE)
def test_rows_have_length_one(vectors: npt.NDArray[np.float32]) -> None:
    unit, not_finite, zero = unit_vectors(vectors)
    assert not not_finite.any()
    np.testing.assert_array_equal(zero, (vectors == 0).all(axis=1))
    norms = np.linalg.norm(unit.astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, np.where(zero, 0.0, 1.0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 3, 64, 512, 4096])
def test_vectors_equal_the_oracle(dim: int) -> None:
    vectors = np.random.default_rng(dim).standard_normal((300, dim)).astype(np.float32)
    unit, _, _ = unit_vectors(vectors)
    np.testing.assert_allclose(unit, oracles.unit(vectors), rtol=0, atol=3 * 2.0**-26)
    np.testing.assert_allclose(np.linalg.norm(unit.astype(np.float64), axis=1), 1.0, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_the_bits_are_those_of_the_formula(kind: type[np.floating]) -> None:
    vectors = np.random.default_rng(5).standard_normal((131, 24)).astype(kind)
    vectors[7] = 0
    vectors[64, 3] = np.nan
    vectors[130, 0] = -np.inf
    wide = np.where(np.isfinite(vectors).all(axis=1)[:, None], vectors, 0).astype(np.float64)
    scaled = wide / np.maximum(np.abs(wide).max(axis=1), 1e-300)[:, None]
    scaled /= np.maximum(np.sqrt((scaled * scaled).sum(axis=1)), 1e-300)[:, None]
    unit, not_finite, zero = unit_vectors(vectors)
    assert unit.tobytes() == (np.rint(scaled * 2**25) / 2**25).astype(np.float32).tobytes()
    assert (np.flatnonzero(not_finite).tolist(), np.flatnonzero(zero).tolist()) == ([64, 130], [7])


@pytest.mark.parametrize("dim", [512, 4096])
def test_errors_that_all_point_one_way_stay_within_the_bound(dim: int) -> None:
    unit, _, _ = unit_vectors(np.ones((1, dim), np.float32))
    assert abs(np.linalg.norm(unit.astype(np.float64)) - 1.0) < math.sqrt(dim) * 2.0**-26 < 1e-6
    assert on_grid(unit)


@given(ANY)
def test_every_result_is_on_the_grid(vectors: npt.NDArray[np.float64]) -> None:
    unit, _, _ = unit_vectors(vectors)
    assert unit.dtype == np.float32
    assert unit.shape == vectors.shape
    assert all(Fraction(float(value)) * 2**25 % 1 == 0 for value in unit.ravel())
    assert on_grid(unit)


@given(ANY)
def test_unusable_rows_are_flagged_and_zero(vectors: npt.NDArray[np.float64]) -> None:
    unit, not_finite, zero = unit_vectors(vectors)
    for row, vector in enumerate(vectors.tolist()):
        finite = all(math.isfinite(value) for value in vector)
        assert not_finite[row] == (not finite)
        assert zero[row] == (finite and not any(vector))
    assert not unit[not_finite | zero].any()


@given(FINITE, st.integers(-60, 60))
def test_a_power_of_two_changes_nothing(vectors: npt.NDArray[np.float32], power: int) -> None:
    wide = vectors.astype(np.float64)
    assert bits(wide * 2.0**power) == bits(wide)


@given(FINITE, st.floats(1e-3, 1e3))
def test_scale_changes_at_most_the_last_step_of_the_grid(vectors: npt.NDArray[np.float32], scale: float) -> None:
    wide = vectors.astype(np.float64)
    np.testing.assert_allclose(unit_vectors(wide * scale)[0], unit_vectors(wide)[0], rtol=0, atol=2**-24)


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-200, 1e200, 1e308])
def test_lengths_whose_square_is_no_float_are_usable(scale: float) -> None:
    unit, not_finite, zero = unit_vectors(np.array([[1.0, -1.0, 0.0, 1.0]]) * scale)
    assert not (not_finite | zero).any()
    np.testing.assert_allclose(unit[0], np.array([1.0, -1.0, 0.0, 1.0]) / math.sqrt(3), rtol=0, atol=2**-25)


@pytest.mark.parametrize("dim", [1, 2, 7, 8, 129, 768, 9001])
def test_bits_do_not_depend_on_batches_or_memory_order(dim: int) -> None:
    vectors = np.random.default_rng(dim).standard_normal((520, dim)).astype(np.float32)
    vectors[3], vectors[300] = np.nan, 0.0
    whole = unit_vectors(vectors)
    rows = [unit_vectors(vectors[row : row + 1]) for row in range(0, 520, 13)]
    for number, array in enumerate(whole):
        oracles.assert_same_bits(np.concatenate([row[number] for row in rows]), array[::13])
    for other in (np.asfortranarray(vectors), np.repeat(vectors, 2, axis=1)[:, ::2]):
        assert not other.flags.c_contiguous or dim == 1
        assert bits(other) == bits(vectors)
    assert bits(vectors[::-1]) == [array[::-1].tobytes() for array in whole]


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f4", "<f8", ">f8"])
def test_any_float_type_is_read(kind: str) -> None:
    vectors = np.array([[0.5, -0.25, 2.0], [1.0, 0.0, 0.0]])
    assert bits(vectors.astype(kind)) == bits(vectors)


def test_no_rows_and_no_coordinates() -> None:
    unit, not_finite, zero = unit_vectors(np.zeros((0, 5), np.float32))
    assert (unit.shape, not_finite.shape, zero.shape) == ((0, 5), (0,), (0,))
    _, _, zero = unit_vectors(np.zeros((2, 0), np.float32))
    assert zero.tolist() == [True, True]


def test_the_argument_is_left_alone() -> None:
    vectors = np.array([[3.0, 4.0], [np.nan, 1.0]], np.float64)
    vectors.flags.writeable = False
    unit_vectors(vectors)
    assert vectors[0].tolist() == [3.0, 4.0]


@given(nps.arrays(np.float64, (3, 5), elements=st.floats(-1.0, 1.0)))
def test_the_grid_moves_a_coordinate_by_half_a_step(unit: npt.NDArray[np.float64]) -> None:
    moved = np.abs(to_grid(unit).astype(np.float64) - unit)
    # From 1/2 on float32 itself is twice as coarse; to round twice costs at most the sum of both.
    assert (moved <= np.where(np.abs(unit) < 0.5, 2.0**-26, 2.0**-25 + 2.0**-26)).all()


def test_on_grid_refuses_other_vectors() -> None:
    unit = grid_vectors(4, 16, 1)
    assert on_grid(unit)
    between, long = unit.copy(), unit.copy()
    between[2, 3] = 2.0**-26
    long[1, 0] = 1.0
    assert not on_grid(between)
    assert not on_grid(long)


@pytest.mark.parametrize("dim", [1, 2, 13, 50])
def test_inner_products_are_exact(dim: int) -> None:
    """float64 gives what rational arithmetic gives, to the last bit."""
    left, right = grid_vectors(6, dim, 1), grid_vectors(6, dim, 2, offset=-0.1)
    products = left.astype(np.float64) @ right.astype(np.float64).T
    for row, a in enumerate(left.tolist()):
        for column, b in enumerate(right.tolist()):
            exact = sum((Fraction(x) * Fraction(y) for x, y in zip(a, b, strict=True)), Fraction(0))
            assert Fraction(float(products[row, column])) == exact
            assert math.fsum(x * y for x, y in zip(a, b, strict=True)) == products[row, column]


def test_inner_products_do_not_depend_on_the_order_of_summation() -> None:
    rng = np.random.default_rng(0)
    left, right = (grid_vectors(60, 1024, seed).astype(np.float64) for seed in (1, 2))
    expected = left @ right.T
    for _ in range(4):
        order = rng.permutation(1024)
        oracles.assert_same_bits(left[:, order] @ right[:, order].T, expected)
    blocked = left[:, :300] @ right[:, :300].T + left[:, 300:] @ right[:, 300:].T
    oracles.assert_same_bits(blocked, expected)
    one_by_one = np.cumsum(left[:, None, :] * right[None, :, :], axis=2)[:, :, -1]
    oracles.assert_same_bits(one_by_one, expected)


def test_without_the_grid_the_order_would_matter() -> None:
    """Shows that the test above can fail: float32 vectors off the grid round differently."""
    vectors = np.random.default_rng(1).standard_normal((60, 1024)).astype(np.float32).astype(np.float64)
    order = np.random.default_rng(2).permutation(1024)
    assert (vectors @ vectors.T != vectors[:, order] @ vectors[:, order].T).any()


def test_lengths_that_float16_keeps_are_lengths_of_one() -> None:
    unit = grid_vectors(700, 24, 3)
    assert off_length(unit.astype(np.float16)) == off_length(unit * np.float32(1.005)) == 0
    assert off_length(unit * np.float32(1.02)) == off_length(unit * np.float32(0.98)) == 700
    assert off_length(np.full((2, 3), 1e200)) == 2
