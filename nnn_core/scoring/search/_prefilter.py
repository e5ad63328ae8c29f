"""The prefiltered search: products of int8 vectors select a superset, exact scores decide.

Processors with int8 instructions (VNNI, AMX) multiply int8 matrices several times faster than
float32 ones. A vector is written as ``scale * int8 + rest``; by Cauchy and Schwarz the rests move
an inner product by at most

    |<x, y> - sx sy <x8, y8>|  <=  |rest x| |y|  +  |sx x8| |rest y|

which is computed per candidate from the actual rests. Every reference among the k highest then
has an integer product within twice that bound of the k-th highest integer product. The reservoirs
keep all of these and their exact scores decide; a candidate that keeps too many is searched exactly.

The mean of the bank is taken out first. It adds the same number to all scores of a candidate and
so changes no order, and in the embeddings of one modality it is most of every vector: what is left
is shorter, and the bound shrinks with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search._selection import Reservoirs, Tile, score_selected
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.vectors import FloatMatrix

Bytes = npt.NDArray[np.int8]
Multiply = Callable[[Bytes, Bytes], npt.NDArray[np.int32]]

_LARGEST = 127
_SLAB_ROWS = 2048

#: Room in a reservoir: the selection is coarse, so that several times k are kept.
_MIN_CAPACITY = 4096

#: Fractions of the largest coordinate that are tried as the range of int8; what lies beyond is clipped.
_RANGES = (1.0, 0.8, 0.65, 0.5, 0.4, 0.3)

_SCALE_SAMPLE = 4096


@dataclass(frozen=True)
class PrefilterSearch:
    """Selects by products of int8 vectors, see the module.

    Attributes:
        index: the references that are searched.
        quantised: (distinct, dim) int8, the references less their mean, in steps of ``scale``.
        scale: what a step of ``quantised`` is worth, in the unit of the vectors' coordinates.
        longest: largest norm of a reference less the mean.
        largest_rest: largest norm of what int8 leaves out of a reference less the mean.
        multiply: function that gives the int32 (m, n) products of int8 rows (m, dim) and (n, dim).
    """

    index: ReferenceIndex
    quantised: Bytes
    scale: float
    longest: float
    largest_rest: float
    multiply: Multiply
    name: str = "prefilter"
    tile_rows: int = 1024

    @classmethod
    def of(cls, index: ReferenceIndex, multiply: Multiply | None = None) -> PrefilterSearch:
        """Quantise the references of ``index``."""
        mean = index.vectors.mean(axis=0, dtype=np.float64)
        scale = _best_scale(index.vectors[:: -(-len(index.vectors) // _SCALE_SAMPLE)] - mean)
        quantised = np.empty(index.vectors.shape, np.int8)
        longest = largest_rest = 0.0
        for first in range(0, len(quantised), _SLAB_ROWS):
            centred = index.vectors[first : first + _SLAB_ROWS] - mean
            part = _quantise(centred, scale)
            quantised[first : first + _SLAB_ROWS] = part
            longest = max(longest, float(np.linalg.norm(centred, axis=1).max()))
            largest_rest = max(largest_rest, float(np.linalg.norm(centred - part * scale, axis=1).max()))
        return cls(index, quantised, scale, longest, largest_rest, multiply or _multiply_native)

    @property
    def nbytes(self) -> int:
        """How many bytes of memory the search takes."""
        return self.index.nbytes + self.quantised.nbytes

    def top(self, tile: Tile, k: int) -> FloatMatrix:
        """Exact scores of each candidate's k nearest references, (rows, min(k, references)) float32, descending."""
        own = self.index.own_references(tile.own, distinct=True)
        capacity = max(_MIN_CAPACITY, 8 * k)
        candidates, margin = self._quantise_candidates(tile.vectors)
        reservoirs = Reservoirs(k + np.minimum(own, capacity // 4), margin, capacity)
        for first in range(0, len(self.quantised), _SLAB_ROWS):
            reservoirs.offer(self.multiply(candidates, self.quantised[first : first + _SLAB_ROWS]), first)
        positions, counts, overflowed = reservoirs.finish()
        top = score_selected(tile, self.index, positions, counts, k)
        rows = np.flatnonzero(overflowed | (own > capacity // 4))
        if len(rows):
            top[rows] = ExactSearch(self.index).top(tile[rows], k)
        return top

    def _quantise_candidates(self, vectors: FloatMatrix) -> tuple[Bytes, npt.NDArray[np.int32]]:
        """int8 candidates, and by how much two of their products may be in the wrong order."""
        wide = vectors.astype(np.float64)
        scales = np.abs(wide).max(axis=1, initial=0.0) / _LARGEST
        scales[scales == 0.0] = 1.0
        quantised = _quantise(wide, scales[:, None])
        kept = quantised * scales[:, None]
        bound = np.linalg.norm(wide - kept, axis=1) * self.longest
        bound += np.linalg.norm(kept, axis=1) * self.largest_rest
        # 1e-6 covers the float64 rounding of the bound itself and of the mean.
        return quantised, np.ceil(2.0 * (bound + 1e-6) / (scales * self.scale)).clip(max=2**29).astype(np.int32)


def _quantise(vectors: npt.NDArray[np.float64], scale: float | npt.NDArray[np.float64]) -> Bytes:
    return np.rint(vectors / scale).clip(-_LARGEST, _LARGEST).astype(np.int8)


def _best_scale(sample: npt.NDArray[np.float64]) -> float:
    """The scale whose largest rest is smallest: clipping a few large coordinates makes all others finer."""
    largest = float(np.abs(sample).max(initial=0.0))
    if largest == 0.0:  # all references are equal
        return 1.0
    scales = [largest * share / _LARGEST for share in _RANGES]
    return min(scales, key=lambda scale: float(np.linalg.norm(sample - _quantise(sample, scale) * scale, axis=1).max()))


@cache
def has_fast_int8() -> bool:
    """Whether this processor has instructions for int8 products (VNNI or AMX), as Linux lists them."""
    cpuinfo = Path("/proc/cpuinfo")
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return bool(words & {"avx512_vnni", "avx_vnni", "amx_int8"})


def _multiply_native(candidates: Bytes, references: Bytes) -> npt.NDArray[np.int32]:
    """Product by PyTorch (oneDNN), which uses the int8 instructions."""
    import torch

    torch.set_num_threads(1)
    product = torch._int_mm(torch.from_numpy(candidates), torch.from_numpy(references).T)
    return product.numpy()  # type: ignore[no-any-return]
