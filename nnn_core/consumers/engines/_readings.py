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

from nnn_core.consumers.augment import Form

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """How an engine's number x becomes the inner product s.

    Attributes:
        formula: of s, for people; ``M`` is the stored length and ``L`` the asked one.
        inner_product: the formula for arrays: ``(x, stored length, asked length)``.
    """

    formula: str
    inner_product: Callable[[Numbers, float, float], Numbers]


def _from_squared(x: Numbers, m: float, q: float) -> Numbers:
    return (m * m + q * q - x) / 2.0


READINGS = {
    "dot": Reading("x", lambda x, m, q: x),
    "minus_dot": Reading("-x", lambda x, m, q: -x),
    "one_minus_dot": Reading("1 - x", lambda x, m, q: 1.0 - x),
    "positive_dot": Reading(
        "x - 1 where x >= 1, else 1 - 1 / x",
        lambda x, m, q: np.where(x < 1.0, 1.0 - 1.0 / np.maximum(x, 1e-300), x - 1.0),
    ),
    "cosine": Reading("L M x", lambda x, m, q: x * m * q),
    "one_minus_cosine": Reading("L M (1 - x)", lambda x, m, q: (1.0 - x) * m * q),
    "half_cosine": Reading("L M (2 x - 1)", lambda x, m, q: (2.0 * x - 1.0) * m * q),
    "l2": Reading("(L^2 + M^2 - x^2) / 2", lambda x, m, q: _from_squared(x * x, m, q)),
    "squared_l2": Reading("(L^2 + M^2 - x) / 2", _from_squared),
    "inverse_squared_l2": Reading("(L^2 + M^2 - 1 / x + 1) / 2", lambda x, m, q: _from_squared(1.0 / x - 1.0, m, q)),
}


def stored_text(form: Form, unit: bool, zeros: bool = False) -> str:
    """The stored vector for people; b is the shifted bias.

    Args:
        form: form of the vector.
        unit: whether it is divided by its length.
        zeros: whether zeros follow.
    """
    text = "[r, -b" if form == "inner_product" else "[r, -b, sqrt(M^2 - 1 - b^2)"
    return f"{text}{', 0...' if zeros else ''}]{' / M' if unit else ''}"


def asked_text(form: Form, unit: bool, zeros: bool = False) -> str:
    """The asked vector for people, see ``stored_text``."""
    text = "[q, 1" if form == "inner_product" else "[q, 1, 0"
    return f"{text}{', 0...' if zeros else ''}]{' / sqrt(2)' if unit else ''}"
