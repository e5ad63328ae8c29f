"""Vectors as int8: turned, so that no coordinate stands out, and then rounded, each in steps of its own.

Embeddings have a few coordinates much larger than all others. A step of int8 wide enough for these
is far too wide for the rest. A fixed orthogonal transform spreads every coordinate over all of them
and leaves inner products as they are, so that the largest number need only stand for three or four times the
root mean square of a vector's coordinates. The transform is that of Hadamard with random signs, on the first and then
on the last ``n`` coordinates, ``n`` being the largest power of two that fits, and all of it twice:
O(dim log dim) for a vector of any dimension.

A vector is then ``step * int8 + rest``. The norm of the rest is computed, not assumed, and with it
goes what float64 loses on the way: 2**-53 of the vector's norm for each of at most 100 additions
that a coordinate goes through, far below ``SLACK``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from nnn_core.scoring.search._lanes import GROUPS, LANES, PAIRED, has_vnni
from nnn_core.vectors import FloatMatrix

Bytes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]

#: Part of a norm that covers the rounding of all float64 and float32 arithmetic on it.
SLACK = 2.0**-19

_PACKED_GROUPS = 256
_SEED = 20241110
#: Vectors turned side by side, one in each lane of the processor.
_LANES = 8


@dataclass(frozen=True)
class Format:
    """Which numbers vectors are rounded to.

    Attributes:
        largest: the largest number of a coordinate; one more is added to candidates, which makes them positive.
        longest: the largest norm of the numbers whose products are added up in one int16 (see ``_lanes``).
    """

    largest: int
    longest: float


#: For products that are added to int32 at once.
WIDE = Format(127, math.inf)

#: For any: no inner product of two such vectors of numbers is above 181**2, which is below 2**15.
NARROW = Format(63, 181.0)


def finest_format() -> Format:
    """The format with the least rounding that the kernels can multiply fast on this processor."""
    return WIDE if has_vnni() else NARROW


@dataclass(frozen=True)
class Rounded:
    """Vectors in int8, and how far they are from what they stand for.

    Attributes:
        format: which numbers they are rounded to.
        whole: (rows, dim) int8, the turned vectors in steps; zeros make ``dim`` a multiple of 4.
        steps: (rows,) float32, what a step of each vector is worth.
        norms: (rows,) float32, at least the norm of each vector.
        rests: (rows,) float32, at least the norm of what ``whole`` leaves out of each vector.
    """

    format: Format
    whole: Bytes
    steps: Floats
    norms: Floats
    rests: Floats

    @classmethod
    def of(cls, vectors: FloatMatrix, centre: npt.NDArray[np.float64], format: Format) -> Rounded:
        """Turn and round ``vectors`` (rows, dim) less ``centre`` (dim,), of norm at most 2 each."""
        rows, dim = vectors.shape
        whole, floats = np.zeros((rows, -(-dim // 4) * 4), np.int8), np.empty((3, rows), np.float32)
        _round(vectors, centre, _signs(dim), format.largest, format.longest, whole, *floats)
        return cls(format, whole, *floats)

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> Rounded:
        return Rounded(self.format, self.whole[rows], self.steps[rows], self.norms[rows], self.rests[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[Rounded]) -> Rounded:
        """All vectors of several of one format, one after the other."""
        arrays = zip(*((part.whole, part.steps, part.norms, part.rests) for part in parts), strict=True)
        return cls(parts[0].format, *(np.concatenate(each) for each in arrays))

    @property
    def as_candidates(self) -> npt.NDArray[np.uint8]:
        """The vectors as the kernels take candidates, made positive: (rows, dim) uint8."""
        return self.whole.view(np.uint8) + np.uint8(self.format.largest + 1)


@dataclass(frozen=True)
class PackedReferences:
    """int8 vectors in the order in which the kernels read them, see ``_kernels.collect_products``.

    Attributes:
        vectors: (groups, quads, 64) int8, 16 vectors side by side, four coordinates at a time.
        starts: (groups, any, 16) int32, what takes out of products what was added to candidates, see ``_lanes``.
        steps: (16 * groups + 16,) float32, what a step of each vector is worth; 1 behind the last.
        rows: how many vectors there are; those after them are zeros.
        format: which numbers these vectors, and the candidates that they are multiplied with, are rounded to.
    """

    vectors: Bytes
    starts: npt.NDArray[np.int32]
    steps: Floats
    rows: int
    format: Format

    @classmethod
    def of(cls, rounded: Rounded) -> PackedReferences:
        """Pack rounded vectors."""
        rows, dim = rounded.whole.shape
        groups = -(-rows // LANES)
        # The kernels multiply GROUPS at a time, and read whole lines of the cache.
        vectors = _aligned_zeros((groups + GROUPS - 1, dim // 4, LANES * 4))
        vnni = has_vnni()
        starts = np.zeros((len(vectors), 1 if vnni else -(-dim // PAIRED), LANES), np.int32)
        for group in range(0, groups, _PACKED_GROUPS):
            slab = rounded.whole[group * LANES : (group + _PACKED_GROUPS) * LANES]
            padded = np.zeros((-(-len(slab) // LANES) * LANES, dim), np.int8)
            padded[: len(slab)] = slab
            by_quad = padded.reshape(-1, LANES, dim // 4, 4).transpose(0, 2, 1, 3)
            vectors[group : group + len(by_quad)] = by_quad.reshape(len(by_quad), dim // 4, LANES * 4)
            starts[group : group + len(by_quad)] = _starts(padded, rounded.format.largest + 1, vnni)
        # Lists begin anywhere, and the kernels read LANES steps at a time from there.
        steps = np.append(rounded.steps, np.ones((len(starts) + 1) * LANES - rows, np.float32))
        return cls(vectors, starts, steps, rows, rounded.format)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.vectors.nbytes + self.starts.nbytes + self.steps.nbytes


def _starts(whole: Bytes, added: int, vnni: bool) -> npt.NDArray[np.int32]:
    """(groups, any, 16) what sums of products with vectors (16 * groups, dim) begin with, see ``PackedReferences``."""
    if vnni:
        return -added * whole.sum(axis=1, dtype=np.int32).reshape(-1, 1, LANES)
    pairs = np.zeros((len(whole) // LANES, -(-whole.shape[1] // PAIRED), LANES, 2), np.int16)
    _add_paired(whole, -added, pairs)
    return pairs.view(np.int32)[..., 0]


@njit(cache=True, nogil=True)
def _add_paired(whole: Any, times: int, pairs: Any) -> None:
    """Add ``times`` each number to the int16 that its products are added to, which wraps around."""
    for row in range(len(whole)):
        for axis in range(whole.shape[1]):
            pairs[row // LANES, axis // PAIRED, row % LANES, axis // 2 % 2] += times * np.int64(whole[row, axis])


def _aligned_zeros(shape: tuple[int, ...]) -> Bytes:
    """int8 zeros that begin at a line of the cache, which numpy does not promise."""
    size = math.prod(shape)
    memory = np.zeros(size + 63, np.int8)
    first = -memory.ctypes.data % 64
    return memory[first : first + size].reshape(shape)


@cache
def _signs(dim: int) -> npt.NDArray[np.float64]:
    """(2, n) signs, the same on every machine."""
    width = 1 << (dim.bit_length() - 1)
    bits = np.asarray(np.random.PCG64(_SEED).random_raw(2 * width)) >> np.uint64(63)
    return 2.0 * bits.reshape(2, width).astype(np.float64) - 1.0


@njit(cache=True, nogil=True)
def _transform(vectors: Any, signs: Any) -> None:
    """Hadamard's transform of each of ``vectors`` (n, lanes) float64 times ``signs`` (n,), in place."""
    width = len(vectors)
    for axis in range(width):
        sign = signs[axis] / math.sqrt(width)
        for lane in range(_LANES):
            vectors[axis, lane] *= sign
    half = 1
    while half < width:
        for first in range(0, width, 2 * half):
            for axis in range(first, first + half):
                for lane in range(_LANES):
                    one, other = vectors[axis, lane], vectors[axis + half, lane]
                    vectors[axis, lane] = one + other
                    vectors[axis + half, lane] = one - other
        half *= 2


@njit(cache=True, nogil=True)
def _round(
    vectors: Any, centre: Any, signs: Any, most: int, longest: float, whole: Any, steps: Any, norms: Any, rests: Any
) -> None:
    """Fill the arrays of ``Rounded`` for ``vectors`` (rows, dim) float32 less ``centre`` (dim,) float64."""
    dim, width = len(centre), signs.shape[1]
    turned = np.zeros((dim, _LANES))
    for first in range(0, len(vectors), _LANES):
        rows = min(_LANES, len(vectors) - first)
        for axis in range(dim):
            for lane in range(rows):
                turned[axis, lane] = vectors[first + lane, axis] - centre[axis]
        _transform(turned[:width], signs[0])
        _transform(turned[dim - width :], signs[1])
        largest, squares, missing = np.zeros(_LANES), np.zeros(_LANES), np.zeros(_LANES)
        paired, widest = np.zeros((2, _LANES)), np.zeros(_LANES)
        for axis in range(dim):
            if axis % PAIRED == 0:
                paired[:] = 0.0
            for lane in range(_LANES):
                square = turned[axis, lane] ** 2
                largest[lane] = max(largest[lane], abs(turned[axis, lane]))
                squares[lane] += square
                paired[axis // 2 % 2, lane] += square
            if axis % PAIRED == PAIRED - 1 or axis == dim - 1:
                widest = np.maximum(widest, np.maximum(paired[0], paired[1]))
        # Rounding makes each number larger by at most one half.
        step = np.maximum(largest / most, np.sqrt(widest) / (longest - math.sqrt(PAIRED / 2) / 2))
        step = np.where(largest > 0.0, step, 1.0).astype(np.float32)
        for axis in range(dim):
            for lane in range(_LANES):
                # float32 may round a step down, by less than the half that rint forgives.
                number = np.rint(turned[axis, lane] / step[lane])
                missing[lane] += (turned[axis, lane] - number * step[lane]) ** 2
                turned[axis, lane] = number
        for lane in range(rows):
            for axis in range(dim):
                whole[first + lane, axis] = np.int8(turned[axis, lane])
            steps[first + lane] = step[lane]
            norms[first + lane] = math.sqrt(squares[lane]) * (1.0 + SLACK)
            rests[first + lane] = math.sqrt(missing[lane]) * (1.0 + SLACK)
