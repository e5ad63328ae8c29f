"""The inner product with an augmented vector is the debiased score, in both forms."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pytest
import torch
from fakes import grid_vectors
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.consumers.augment import Form, augment, augment_queries
from nnn_core.consumers.faiss_index import debiased_index, plain_index, search_debiased
from nnn_core.errors import ConfigError
from nnn_core.vectors import unit_vectors

FORMS: tuple[Form, ...] = ("inner_product", "norm_completed")
Case = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """(candidates, their biases, queries)."""
    rows, dim = draw(st.integers(1, 30)), draw(st.sampled_from([1, 2, 16, 300]))
    scale = draw(st.sampled_from([0.0, 1e-4, 0.3, 1.0, 3.0]))
    seed = draw(st.integers(0, 10**6))
    bias = (np.random.default_rng(seed).uniform(-1, 1, rows) * scale).astype(np.float32)
    return grid_vectors(rows, dim, seed), bias, grid_vectors(7, dim, seed + 1)


def debiased(case: Case) -> npt.NDArray[np.float64]:
    vectors, bias, queries = (array.astype(np.float64) for array in case)
    return queries @ vectors.T - bias


@pytest.mark.parametrize("form", FORMS)
@given(case=cases())
def test_inner_product_is_the_debiased_score(form: Form, case: Case) -> None:
    vectors, bias, queries = case
    stored, asked = augment(vectors, bias, form), augment_queries(queries, form)
    assert stored.dtype == asked.dtype == np.float32
    scores = asked.astype(np.float64) @ stored.astype(np.float64).T
    np.testing.assert_allclose(scores, debiased(case), rtol=0, atol=1e-6)


@given(cases())
def test_completed_vectors_have_one_length(case: Case) -> None:
    vectors, bias, _ = case
    lengths = np.linalg.norm(augment(vectors, bias, "norm_completed").astype(np.float64), axis=1)
    limit = np.abs(bias.astype(np.float64)).max()
    # Near the largest bias the completion is the root of a rounding error, whose square is harmless.
    np.testing.assert_allclose(lengths**2, 1.0 + limit**2, rtol=1e-6)


@given(cases(), st.integers(0, 30))
def test_blocks_of_a_table_agree_with_the_whole(case: Case, cut: int) -> None:
    vectors, bias, _ = case
    limit = float(np.abs(bias).max())
    for form in FORMS:
        parts = [augment(vectors[rows], bias[rows], form, limit) for rows in (slice(0, cut), slice(cut, None))]
        assert np.concatenate(parts).tobytes() == augment(vectors, bias, form).tobytes()


@given(cases())
def test_cosine_and_distance_rank_alike(case: Case) -> None:
    """What the completed form is for: both orders equal that of the score, up to rounding."""
    vectors, bias, queries = case
    stored = augment(vectors, bias, "norm_completed").astype(np.float64)
    asked = augment_queries(queries, "norm_completed").astype(np.float64)
    cosine = asked @ (stored / np.linalg.norm(stored, axis=1, keepdims=True)).T
    distance = ((asked[:, None] - stored[None]) ** 2).sum(axis=2)
    scores, length = debiased(case), np.sqrt(1 + float(np.abs(bias).max()) ** 2)
    np.testing.assert_allclose(cosine * length, scores, atol=1e-5)
    np.testing.assert_allclose(((asked**2).sum(axis=1)[:, None] + length**2 - distance) / 2, scores, atol=1e-5)


def test_shapes() -> None:
    vectors, bias = grid_vectors(5, 8, 1), np.arange(5, dtype=np.float32)
    assert augment(vectors, bias).shape == (5, 9)
    assert augment(vectors, bias, "norm_completed").shape == (5, 10)
    assert augment_queries(vectors).tolist() == np.c_[vectors, np.ones(5)].tolist()
    assert augment_queries(vectors, "norm_completed").tolist() == np.c_[vectors, np.ones(5), np.zeros(5)].tolist()
    assert augment(vectors[:0], bias[:0], "norm_completed").shape == (0, 10)


def test_shapes_that_disagree_are_named() -> None:
    with pytest.raises(ConfigError, match=r"vectors \(5, 8\) and bias \(4,\) do not fit"):
        augment(grid_vectors(5, 8, 1), np.zeros(4, np.float32))
    with pytest.raises(ConfigError, match=r"bias \(5, 1\) do not fit"):
        augment(grid_vectors(5, 8, 1), np.zeros((5, 1), np.float32))


@pytest.mark.parametrize(("bias", "limit"), [(0.5, 0.4), (-0.5, 0.4), (0.5, 0.0), (0.009, 0.0), (0.0201, 0.02)])
def test_a_bias_beyond_the_limit_is_refused(bias: float, limit: float) -> None:
    """Else the vector would be longer than the others, and a cosine engine would rank it wrongly."""
    with pytest.raises(ConfigError, match=f"max_abs_bias={limit:g}"):
        augment(grid_vectors(3, 8, 1), np.array([0.0, bias, 0.0], np.float32), "norm_completed", limit)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("factor", [2.0, 0.9, 0.995, 1e30, 0.0, float("nan")])
def test_vectors_that_are_not_unit_length_are_refused(form: Form, factor: float) -> None:
    vectors, bias = grid_vectors(3, 8, 1), np.zeros(3, np.float32)
    vectors[1] *= np.float32(factor)
    with pytest.raises(ConfigError, match=r"1 of 3 vectors are not unit length .* normalise=True"):
        augment(vectors, bias, form)
    with pytest.raises(ConfigError, match=r"augment_queries: 1 of 3 vectors are not unit length"):
        augment_queries(vectors, form)


@pytest.mark.parametrize("form", FORMS)
def test_vectors_are_normalised_by_request_as_a_refresh_does(form: Form) -> None:
    unit, _, _ = unit_vectors(vectors := 3 * np.random.default_rng(0).standard_normal((9, 24)).astype(np.float32))
    bias = np.linspace(0.1, 0.3, 9, dtype=np.float32)
    assert augment(vectors, bias, form, normalise=True).tobytes() == augment(unit, bias, form).tobytes()
    assert augment_queries(vectors, form, normalise=True).tobytes() == augment_queries(unit, form).tobytes()
    for bad in (0.0, np.nan):
        vectors[2] = bad
        with pytest.raises(ConfigError, match="1 of 9 vectors are zero or not finite"):
            augment(vectors, bias, form, normalise=True)


@pytest.mark.parametrize("kind", [np.float16, "bfloat16"])
def test_unit_vectors_in_half_precision_are_unit_length(kind: Any) -> None:
    vectors = grid_vectors(200, 64, 1)
    rounded = torch.from_numpy(vectors).bfloat16().float().numpy() if kind == "bfloat16" else vectors.astype(kind)
    augment(rounded.astype(np.float32), np.zeros(200, np.float32), "norm_completed")


@pytest.mark.parametrize("form", FORMS)
@given(case=cases(), weight=st.sampled_from([0.0, 0.5, 1.0, 1.5]))
def test_a_weight_scales_the_bias(form: Form, case: Case, weight: float) -> None:
    vectors, bias, queries = case
    scores = augment_queries(queries, form, weight).astype(np.float64) @ augment(vectors, bias, form).T.astype(
        np.float64
    )
    plain = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    np.testing.assert_allclose(scores, plain - weight * bias.astype(np.float64), rtol=0, atol=1e-6)


def test_a_weight_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="weight inf"):
        augment_queries(grid_vectors(3, 8, 1), weight=float("inf"))


def test_faiss_ranks_by_the_debiased_score() -> None:
    vectors, queries = grid_vectors(400, 32, 1), grid_vectors(20, 32, 2)
    bias = np.random.default_rng(3).uniform(-0.5, 0.5, 400).astype(np.float32)
    scores, positions = search_debiased(debiased_index(vectors, bias), queries, 10)
    expected = debiased((vectors, bias, queries))
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :10], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(expected, positions, axis=1), scores, atol=1e-6)
    plain, _ = plain_index(vectors).search(queries, 10)
    assert not np.allclose(plain, scores, atol=0.1)
    assert isinstance(debiased_index(vectors, bias), faiss.IndexFlatIP)
