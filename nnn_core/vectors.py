"""Unit vectors on a fixed-point grid, which makes every inner product exact.

A stored coordinate is a multiple of 2**-25. The product of two coordinates is then a
multiple of 2**-50, and every partial sum of an inner product of unit vectors is a multiple
of 2**-50 below 2 in magnitude: 51 bits, which float64 holds without rounding. So a float64
inner product of two stored vectors is *exact*, in whatever order, tiling, library or
hardware it is summed; this is what makes bias tables reproducible to the bit.

The grid costs at most 2**-26 a coordinate (three times that above 1/2, where float32 itself is
coarser), that is sqrt(d) * 2**-25 (7e-7 at d = 512) on a score in the worst case and about 1e-8 in
practice, below the resolution of the models.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatMatrix = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

#: Coordinates are multiples of 1 / GRID.
GRID = float(2**25)

#: Rows normalised at a time: few enough that the float64 copies stay in the processor's cache.
_BLOCK_ROWS = 128

_LENGTH_TOLERANCE = 0.01

NOT_FINITE = "vector is not finite"
ZERO_NORM = "vector has zero norm"


def unit_vectors(vectors: npt.NDArray[np.floating]) -> tuple[FloatMatrix, Mask, Mask]:
    """Normalise rows to length 1 and round them to the grid.

    Args:
        vectors: (rows, dim), any float type.

    Returns:
        ``(unit, not_finite, zero)``: unit vectors (rows, dim) float32, zero where unusable, and
        two masks (rows,) of the rows that have a NaN or infinity, and of those without length.
    """
    rows, dim = np.shape(vectors)
    unit = np.empty((rows, dim), np.float32)
    not_finite, zero = np.zeros(rows, np.bool_), np.zeros(rows, np.bool_)
    room = np.empty((2, min(rows, _BLOCK_ROWS), dim))
    for first in range(0, rows, _BLOCK_ROWS):
        some = slice(first, first + _BLOCK_ROWS)
        not_finite[some], zero[some] = _unit_block(vectors[some], unit[some], *room)
    return unit, not_finite, zero


def _unit_block(
    vectors: npt.NDArray[np.floating],
    unit: FloatMatrix,
    wide: npt.NDArray[np.float64],
    spare: npt.NDArray[np.float64],
) -> tuple[Mask, Mask]:
    """Fill ``unit`` with the unit vectors; room for as many rows or more is given, as fresh memory costs time."""
    wide, spare = wide[: len(vectors)], spare[: len(vectors)]
    wide[...] = vectors
    largest = np.abs(wide, out=spare).max(axis=1, initial=0.0)
    not_finite: Mask = ~np.isfinite(largest)
    if not_finite.any():
        wide[not_finite], largest[not_finite] = 0.0, 0.0
    zero: Mask = ~not_finite & (largest == 0.0)
    # Scaled by the largest coordinate first, so that the squares neither overflow nor vanish.
    wide /= np.where(largest > 0.0, largest, 1.0)[:, None]
    norms = np.sqrt(np.multiply(wide, wide, out=spare).sum(axis=1))
    wide /= np.where(norms > 0.0, norms, 1.0)[:, None]
    _round_to_grid(wide, unit)
    return not_finite, zero


def off_length(vectors: npt.NDArray[np.floating]) -> int:
    """How many finite rows have a length other than 1, within 0.01, which float16 keeps."""
    blocks = (vectors[first : first + _BLOCK_ROWS] for first in range(0, len(vectors), _BLOCK_ROWS))
    with np.errstate(over="ignore"):
        lengths = [np.sqrt((block.astype(np.float64) ** 2).sum(axis=1)) for block in blocks]
    return sum(int((np.abs(each - 1.0) > _LENGTH_TOLERANCE).sum()) for each in lengths)


def to_grid(unit: npt.NDArray[np.float64]) -> FloatMatrix:
    """Round coordinates (rows, dim) in [-1, 1] to the grid, as float32 without further loss."""
    rounded = np.empty(unit.shape, np.float32)
    _round_to_grid(unit.copy(), rounded)
    return rounded


def _round_to_grid(unit: npt.NDArray[np.float64], rounded: FloatMatrix) -> None:
    """Fill ``rounded``; what ``unit`` holds is lost."""
    unit *= GRID
    # Above 1/2 float32 is coarser than the grid; its own rounding lands on a multiple all the same.
    rounded[...] = np.rint(unit, out=unit)
    rounded /= np.float32(GRID)


def error_bound(dim: int) -> float:
    """Largest difference between a float32 and the exact inner product of two unit vectors.

    n u / (1 - n u) for n additions in any order with unit roundoff u = 2**-24 (Higham, Accuracy
    and Stability of Numerical Algorithms, 2nd ed., section 3.1), times a norm that may exceed 1
    by the rounding to the grid, doubled for libraries that split the product.
    """
    nu = dim * 2.0**-24
    return 2.0 * nu / (1.0 - nu) * (1.0 + 1e-5)
