"""Readings: from the number that an engine returns with a hit back to an inner product of stored and asked vector.

Engines say the same thing in many ways: as a similarity, as a distance, squared or not, or squeezed into positive
numbers. Where vectors are norm-completed, all stored ones have length M and all asked ones length L, so a cosine or
a distance determines the inner product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """How an engine's number x becomes the inner product s.

    Attributes:
        formula: of s, for people; ``M`` is the stored length and ``L`` the asked one.
        inner_product: the same for arrays: ``(x, stored length, asked length)``.
        score: its inverse, ``(s, stored length, asked length)``: what the engine would return.
        best_last: whether the engine calls small numbers good.
    """

    formula: str
    inner_product: Callable[[Numbers, float, float], Numbers]
    score: Callable[[Numbers, float, float], Numbers]
    best_last: bool = False


def _squared(s: Numbers, m: float, q: float) -> Numbers:
    return np.maximum(m * m + q * q - 2.0 * s, 0.0)


def _from_squared(x: Numbers, m: float, q: float) -> Numbers:
    return (m * m + q * q - x) / 2.0


def _shifted(s: Numbers) -> Numbers:
    return np.where(s < 0.0, 1.0 / (1.0 + np.abs(s)), s + 1.0)


def _unshifted(x: Numbers) -> Numbers:
    return np.where(x < 1.0, 1.0 - 1.0 / np.maximum(x, 1e-300), x - 1.0)


READINGS: dict[str, Reading] = {
    "dot": Reading("x", lambda x, m, q: x, lambda s, m, q: s),
    "minus_dot": Reading("-x", lambda x, m, q: -x, lambda s, m, q: -s, best_last=True),
    "one_minus_dot": Reading("1 - x", lambda x, m, q: 1.0 - x, lambda s, m, q: 1.0 - s, best_last=True),
    "positive_dot": Reading(
        "x - 1 where x >= 1, else 1 - 1 / x", lambda x, m, q: _unshifted(x), lambda s, m, q: _shifted(s)
    ),
    "cosine": Reading("L M x", lambda x, m, q: x * m * q, lambda s, m, q: s / (m * q)),
    "one_minus_cosine": Reading(
        "L M (1 - x)", lambda x, m, q: (1.0 - x) * m * q, lambda s, m, q: 1.0 - s / (m * q), best_last=True
    ),
    "half_cosine": Reading(
        "L M (2 x - 1)", lambda x, m, q: (2.0 * x - 1.0) * m * q, lambda s, m, q: (1.0 + s / (m * q)) / 2.0
    ),
    "l2": Reading(
        "(L^2 + M^2 - x^2) / 2",
        lambda x, m, q: _from_squared(x * x, m, q),
        lambda s, m, q: np.sqrt(_squared(s, m, q)),
        best_last=True,
    ),
    "squared_l2": Reading("(L^2 + M^2 - x) / 2", _from_squared, _squared, best_last=True),
    "inverse_squared_l2": Reading(
        "(L^2 + M^2 - 1 / x + 1) / 2",
        lambda x, m, q: _from_squared(1.0 / x - 1.0, m, q),
        lambda s, m, q: 1.0 / (1.0 + _squared(s, m, q)),
    ),
}
