"""Applying the bias inside an ordinary vector index.

``<q, r> - b`` is an inner product of longer vectors, so any index that ranks by inner product
ranks by the debiased score if it stores ``[r, -b]`` and is asked with ``[q, 1]``. Engines that
normalise what they store, or rank by distance, need vectors of equal length: a further
coordinate brings them all to length M without touching the score, since its query value is 0.
(The reduction of inner product to cosine and L2 is that of Bachrach et al., RecSys 2014.)
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from nnn_core.errors import ConfigError
from nnn_core.vectors import FloatMatrix

Form = Literal["inner_product", "norm_completed"]


def augment(
    vectors: FloatMatrix, bias: npt.NDArray[np.float32], form: Form = "inner_product", max_abs_bias: float | None = None
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

    Returns:
        (rows, dim + 1) or (rows, dim + 2) float32.

    Raises:
        ConfigError: shapes disagree; or, where lengths are completed, a vector is not unit length or a
            bias is larger than ``max_abs_bias``.
    """
    if vectors.ndim != 2 or bias.shape != (len(vectors),):
        raise ConfigError(f"augment: vectors {vectors.shape} and bias {bias.shape} disagree; one bias a row is needed.")
    wide = bias.astype(np.float64)
    columns = [vectors, -bias[:, None]]
    if form == "norm_completed":
        limit = float(np.abs(wide).max(initial=0.0)) if max_abs_bias is None else max_abs_bias
        squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
        if (np.abs(wide) > limit).any() or (np.abs(squares - 1.0) > 1e-3).any():
            raise ConfigError(
                f"augment: vectors have lengths {np.sqrt(squares.min()):g} to {np.sqrt(squares.max()):g} and biases "
                f"reach {np.abs(wide).max():g} (max_abs_bias={limit:g}), so they cannot be brought to one length; "
                "vectors must be unit length, and max_abs_bias that of the whole table."
            )
        rest = 1.0 + limit**2 - squares - wide**2
        columns.append(np.sqrt(np.maximum(rest, 0.0))[:, None].astype(np.float32))
    return np.concatenate(columns, axis=1, dtype=np.float32)


def augment_queries(queries: FloatMatrix, form: Form = "inner_product") -> FloatMatrix:
    """Query vectors for an index of augmented candidates: ``[q, 1]`` or ``[q, 1, 0]``.

    Args:
        queries: (rows, dim) float32 unit vectors.
        form: the form that the index was built with.

    Returns:
        (rows, dim + 1) or (rows, dim + 2) float32.
    """
    ones = np.ones((len(queries), 1), np.float32)
    extra = [ones] if form == "inner_product" else [ones, np.zeros_like(ones)]
    return np.concatenate([queries, *extra], axis=1, dtype=np.float32)
