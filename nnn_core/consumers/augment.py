"""Applying the bias inside an ordinary vector index.

``<q, r> - b`` is an inner product of longer vectors, so any index that ranks by inner product
ranks by the debiased score if it stores ``[r, -b]`` and is asked with ``[q, 1]``. Engines that
normalise what they store, or rank by distance, need vectors of equal length: a further
coordinate brings them all to length M without touching the score, since its query value is 0.
Asking with ``[q, w]`` instead of ``[q, 1]`` weighs the bias by w, so one index serves every alpha; 0 is plain search.
(The reduction of inner product to cosine and L2 is that of Bachrach et al., RecSys 2014.)
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from nnn_core.errors import ConfigError
from nnn_core.vectors import FloatMatrix, unit_vectors

#: How far the square of a length may be from 1; rounding to float16 or bfloat16 stays well below.
_TOLERANCE = 4e-3

Form = Literal["inner_product", "norm_completed"]


def augment(
    vectors: FloatMatrix,
    bias: npt.NDArray[np.float32],
    form: Form = "inner_product",
    max_abs_bias: float | None = None,
    normalise: bool = False,
) -> FloatMatrix:
    """Candidate vectors with their bias inside.

    Args:
        vectors: (rows, dim) float32 unit vectors.
        bias: (rows,) float32, in the same order.
        form: ``inner_product`` for indexes that rank by inner product: ``[r, -b]``;
            ``norm_completed`` for cosine and L2: ``[r, -b, sqrt(M^2 - |r|^2 - b^2)]``, where
            M^2 = 1 + max_abs_bias^2 is the common length of all vectors.
        max_abs_bias: highest \\|b\\| of the *whole* table, needed when the rows are only a block of
            it; by default that of ``bias``.
        normalise: bring vectors to unit length first, exactly as a refresh does; without it others are refused.

    Returns:
        (rows, dim + 1) or (rows, dim + 2) float32.

    Raises:
        ConfigError: shapes disagree; a vector is not unit length; or, where lengths are completed, a bias is larger
            than ``max_abs_bias``.
    """
    if vectors.ndim != 2 or bias.shape != (len(vectors),):
        raise ConfigError(
            f"augment: vectors {vectors.shape} and bias {bias.shape} do not fit: give one bias for each row."
        )
    vectors = _unit(vectors, normalise, "augment")
    wide = bias.astype(np.float64)
    columns = [vectors, -bias[:, None]]
    if form == "norm_completed":
        limit = float(np.abs(wide).max(initial=0.0)) if max_abs_bias is None else max_abs_bias
        if (np.abs(wide) > limit).any():
            raise ConfigError(
                f"augment: biases reach {np.abs(wide).max():g} (max_abs_bias={limit:g}), so vectors cannot be "
                "brought to one length. Pass the max_abs_bias of the whole table."
            )
        rest = 1.0 + limit**2 - (vectors.astype(np.float64) ** 2).sum(axis=1) - wide**2
        columns.append(np.sqrt(np.maximum(rest, 0.0))[:, None].astype(np.float32))
    return np.concatenate(columns, axis=1, dtype=np.float32)


def augment_queries(
    queries: FloatMatrix, form: Form = "inner_product", weight: float = 1.0, normalise: bool = False
) -> FloatMatrix:
    """Query vectors for an index of augmented candidates: ``[q, weight]`` or ``[q, weight, 0]``.

    Args:
        queries: (rows, dim) float32 unit vectors.
        form: the form that the index was built with.
        weight: what biases are multiplied by for these queries: 1 for the biases as stored, 0 for plain search.
        normalise: bring queries to unit length first; without it others are refused.

    Returns:
        (rows, dim + 1) or (rows, dim + 2) float32.

    Raises:
        ConfigError: a query is not unit length, or ``weight`` is not a number.
    """
    if not math.isfinite(weight):
        raise ConfigError(
            f"augment_queries: weight {weight} is not a finite number. Pass 1 for the stored bias, or 0 for none."
        )
    queries = _unit(queries, normalise, "augment_queries")
    extra = [np.full((len(queries), 1), weight, np.float32)]
    if form == "norm_completed":
        extra.append(np.zeros((len(queries), 1), np.float32))
    return np.concatenate([queries, *extra], axis=1, dtype=np.float32)


def _unit(vectors: FloatMatrix, normalise: bool, who: str) -> FloatMatrix:
    """The vectors, if they are unit length or may be made so.

    Raises:
        ConfigError: they are not, or some vector has no direction.
    """
    if normalise:
        vectors, not_finite, zero = unit_vectors(vectors)
        if lost := int((not_finite | zero).sum()):
            raise ConfigError(f"{who}: {lost} of {len(vectors)} vectors are zero or not finite; leave them out.")
        return vectors
    with np.errstate(over="ignore"):
        squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
    off = ~(np.abs(squares - 1.0) <= _TOLERANCE)
    if off.any():
        raise ConfigError(
            f"{who}: {int(off.sum())} of {len(vectors)} vectors are not unit length (lengths "
            f"{np.sqrt(squares.min()):g} to {np.sqrt(squares.max()):g}), so the bias would have the wrong "
            "weight. Normalise them, or pass normalise=True."
        )
    return vectors
