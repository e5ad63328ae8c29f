"""The log-sum-exp of Inverted Softmax and its kin, from its definition."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import oracles
import pytest
from fakes import grid_vectors

from nnn_core.evaluation import rivals
from nnn_core.evaluation.rivals import _log_sum_exp

Vectors = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

BETAS = (0.01, 1.0, 20.0, 100.0)


def oracle_log_sum_exp(scores: Matrix, betas: tuple[float, ...]) -> Matrix:
    """By the definition, with a correctly rounded sum; of few and small enough terms only."""
    return np.array([[math.log(math.fsum(math.exp(b * s) for s in row)) for b in betas] for row in scores])


def scores_of(candidates: Vectors, references: Vectors) -> Matrix:
    return candidates.astype(np.float64) @ references.astype(np.float64).T


@pytest.mark.parametrize("offset", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("references", [1, 5, 4096, 9000])
def test_log_sum_exp_equals_the_oracle(references: int, offset: float) -> None:
    candidates, bank = grid_vectors(12, 64, 1), grid_vectors(references, 64, 2, offset)
    actual = _log_sum_exp(candidates, bank, BETAS).T
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, oracle_log_sum_exp(scores_of(candidates, bank), BETAS), rtol=0, atol=1e-10)


@pytest.mark.parametrize("beta", [1e-300, 1e3, 1e6, 1e300])
def test_no_temperature_overflows(beta: float) -> None:
    bank = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], np.float32)
    values = _log_sum_exp(bank[[0, 2, 3]], bank, (beta,))[0]
    many = math.log(4) if beta < 1 else math.log(2)
    np.testing.assert_allclose(values, [beta + many, beta + (many if beta < 1 else 0.0), beta + (many * (beta < 1))])


def test_tiles_of_candidates_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates, bank = grid_vectors(50, 16, 5), grid_vectors(300, 16, 6)
    expected = _log_sum_exp(candidates, bank, BETAS).T
    oracles.assert_same_bits(_log_sum_exp(candidates[17:30], bank, BETAS).T, expected[17:30])
    monkeypatch.setattr(rivals, "_LSE_CANDIDATES", 7)
    oracles.assert_same_bits(_log_sum_exp(candidates, bank, BETAS).T, expected)
    monkeypatch.setattr(rivals, "_LSE_REFERENCES", 11)
    tiled = _log_sum_exp(candidates, bank, BETAS).T
    np.testing.assert_allclose(tiled, expected, rtol=0, atol=1e-12)


def test_nothing_seen_is_minus_infinity() -> None:
    none = np.zeros((0, 4), np.float32)
    assert np.isneginf(_log_sum_exp(grid_vectors(3, 4, 0), none, BETAS)).all()
    assert _log_sum_exp(none, grid_vectors(3, 4, 0), BETAS).shape == (4, 0)
