"""The search on an accelerator: 16-bit products select, float64 on the device decides.

The selection is the prefilter's: float16 rounds a vector by a known rest, so the error of a product
is bounded, and what lies within the bound of the k-th highest is scored exactly. On an NVIDIA card
a first product with every sixteenth reference or fewer says what score a candidate's nearest
references will about reach, and a kernel collects all references that do (see ``_fused``).
Elsewhere scores are looked at tile by tile, and in a tile first at the maximum of every group of
references: the need-th highest of these maxima is a lower bound for the need-th highest score, and
only groups that reach it are opened. float64 inner products of vectors on the grid are exact on any
hardware, so the result is that of the other exact searches to the bit. Rows that the certificate
refuses are selected again by float32 products, and those that are still refused are searched by
``ExactSearch``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search._selection import Tile
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.vectors import FloatMatrix, Mask, error_bound

# Vectors in a file's memory must not be written, and are not: they are copied to the device.
warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)

#: Scores in memory at a time.
_TILE_SCORES = 1 << 28

_GROUP = 32
_SPARE = 64
_RESCORE_NUMBERS = 1 << 27

#: One reference in so many is sampled, and so many maxima of the sample's scores are ranked.
_SAMPLED = 16
_MAXIMA = 4096

#: How many times as many references the kernel collects for the rows whose first threshold was too high or too low.
_FURTHER = 4


#: Exact scores (rows, selected) float64, -inf for none; the positions of their references; and (rows,) float64 scores
#: that no other reference exceeds.
Selected = tuple[Any, Any, Any]
Selection = Callable[[Any], Selected]


@dataclass(frozen=True)
class DeviceSearch:
    """Selects by rounded products on an accelerator, see the module.

    Attributes:
        index: the references that are searched.
        device: the accelerator by torch's name, such as ``cuda``.
        vectors: (rows, dim) float32 vectors of the references on the device.
        rounded: ``vectors`` in float16 on the device, with zeros added up to whole blocks if the kernel selects.
        largest_rest: largest norm of what float16 leaves out of a reference.
        codes: (rows,) int64 pair codes of the references on the device, if own pairs are left out.
        repeats: (rows,) int64 how often each reference occurs on the device, if some occur more than once.
        fused: whether the kernel selects, rather than torch.
    """

    index: ReferenceIndex
    device: str
    vectors: Any
    rounded: Any
    largest_rest: float
    codes: Any
    repeats: Any
    fused: bool
    name: str = "device"
    tile_rows: int = 8192

    @classmethod
    def of(cls, index: ReferenceIndex, device: str = "cuda", fused: bool | None = None) -> DeviceSearch:
        """Copy the references of ``index`` to the device.

        Args:
            index: the references to search.
            device: the accelerator by torch's name, such as ``cuda``.
            fused: whether the kernel selects; by default on an NVIDIA card with a bank that is worth its sample.
        """
        # Sums must stay in float32, or the bound does not hold.
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        large = len(index.vectors) >= _SAMPLED * _MAXIMA
        fused = large and (device == "cuda" and _has_kernels() if fused is None else fused)
        vectors = torch.from_numpy(index.vectors).to(device)
        rest = torch.linalg.vector_norm(vectors - vectors.half().float(), dim=1).max().item()
        codes, repeats = (
            None if numbers is None else torch.from_numpy(numbers).to(device)
            for numbers in (index.pair_codes, index.repeats)
        )
        rounded = vectors.half()
        if fused:
            from nnn_core.scoring.search import _fused

            rounded = _blocks(rounded, _fused.BLOCK_COLUMNS)
        return cls(index, device, vectors, rounded, rest, codes, repeats, fused)

    @property
    def nbytes(self) -> int:
        """Bytes in the memory of the host and the device."""
        return int(self.index.nbytes + self.vectors.nbytes + self.rounded.nbytes)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def top(self, tile: Tile, k: int) -> FloatMatrix:
        """Exact scores of each candidate's k nearest references, (rows, min(k, references)) float32, descending."""
        own = int(self.index.own_references(tile.own, distinct=True).max(initial=0))
        # Twice as many as needed: the error of float32 products reaches beyond the k-th.
        width = 2 * (k + own) + _SPARE
        if width * 2 > len(self.index.vectors):
            return ExactSearch(self.index).top(tile, k)
        top = np.empty((len(tile.vectors), min(k, self.index.rows)), np.float32)
        left = np.arange(len(tile.vectors))
        for select in self._selections(k + own, width):
            part = tile if len(left) == len(tile.vectors) else tile[left]
            exact, positions, highest_missed = select(torch.from_numpy(part.vectors).to(self.device))
            if self.codes is not None:
                for name in range(part.own.shape[1]):
                    theirs = torch.from_numpy(part.own[:, name]).to(self.device)
                    exact[self.codes[positions.long()] == theirs[:, None]] = -torch.inf
            top[left], certain = self._highest(exact, positions, highest_missed, k)
            left = left[~certain]
            if not len(left):
                return top
        top[left] = ExactSearch(self.index).top(tile[left], k)
        return top

    def _selections(self, need: int, width: int) -> list[Selection]:
        """The ways to select at least ``need`` references, of which a later one is for rows that the first left."""
        by_torch: list[Selection] = [partial(self._open, self.vectors, width)]
        if self.fused and _FURTHER * self._rank(need) <= _MAXIMA:
            return [partial(self._collect, need, 1), partial(self._collect, need, _FURTHER), *by_torch]
        return [partial(self._open, self.rounded, width), *by_torch]

    def _highest(self, exact: Any, positions: Any, highest_missed: Any, k: int) -> tuple[FloatMatrix, Mask]:
        """The k highest scores, each as often as its reference occurs, and the rows where no other can be higher."""
        best = exact.topk(k, dim=1)
        certain = best.values[:, -1] >= highest_missed
        scores = best.values
        if self.repeats is not None:
            often = self.repeats[positions.gather(1, best.indices).long()].cumsum(dim=1)
            places = torch.arange(min(k, self.index.rows), device=self.device).expand(len(scores), -1).contiguous()
            scores = scores.gather(1, torch.searchsorted(often, places, right=True).clamp(max=k - 1))
        # Adding 0 makes -0 and 0 one number to the bit.
        return (scores.float() + 0.0).cpu().numpy(), certain.cpu().numpy()

    def _collect(self, need: int, times: int, candidates: Any) -> Selected:
        """Select all references above a score that about ``times`` as many as needed reach, by the kernel."""
        from nnn_core.scoring.search import _fused

        rows, references = len(candidates), len(self.index.vectors)
        rounded = _blocks(candidates.half(), _fused.BLOCK_ROWS)
        columns, rank = self._sampled, times * self._rank(need)
        sample = self.rounded[:references][:: references // columns][:columns]
        maxima = (rounded @ sample.T).view(len(rounded), -1, _MAXIMA).amax(dim=1)
        thresholds = maxima.topk(rank, dim=1).values[:, -1].float()
        thresholds[rows:] = torch.inf
        capacity = 128 * math.ceil(times * (rank + 6 * math.sqrt(rank)) * references / columns / 128)
        positions, counts = _fused.collect(rounded, self.rounded, references, thresholds, capacity)
        positions, counts = positions[:rows], counts[:rows]
        exact = _fused.exact_scores(candidates, self.vectors, positions, counts)
        positions = torch.where(exact > -torch.inf, positions, 0)
        missed = thresholds[:rows].double() + self._bound(candidates, self.rounded)
        return exact, positions, torch.where(counts > capacity, torch.inf, missed)

    @property
    def _sampled(self) -> int:
        """How many references are in the sample."""
        return _MAXIMA * (len(self.index.vectors) // (_SAMPLED * _MAXIMA))

    def _rank(self, need: int) -> int:
        """Rank in the sample of a score that at least ``need`` of all references reach, almost always."""
        expected = need * self._sampled / len(self.index.vectors)
        return math.ceil(expected + 4 * math.sqrt(expected) + 4)  # four deviations

    def _open(self, references: Any, width: int, candidates: Any) -> Selected:
        """Select the ``width`` references with the highest products, by torch."""
        best, positions = self._select(candidates.to(references.dtype), references, width)
        bound = self._bound(candidates, references)
        if references.dtype == torch.float16:  # the product itself is rounded to 11 bits
            bound += 2.0**-11 * best.abs().amax(dim=1).double()
        # What was not selected is at most as high as the lowest that was, give or take the error.
        return self._score(candidates, positions), positions, best[:, -1].double() + bound

    def _bound(self, candidates: Any, references: Any) -> Any:
        """(rows,) float64 largest error of a float32 sum of products, by Cauchy and Schwarz for the rests."""
        bound = torch.full((len(candidates),), error_bound(self.index.dim), dtype=torch.float64, device=self.device)
        if references.dtype == torch.float16:
            rest = torch.linalg.vector_norm(candidates - candidates.half().float(), dim=1).double()
            bound += 1.01 * (rest + self.largest_rest)
        return bound

    def _select(self, candidates: Any, references: Any, width: int) -> tuple[Any, Any]:
        """The ``width`` highest products of each candidate and their positions, tile by tile."""
        rows, dim = candidates.shape
        best = torch.full((rows, width), -torch.inf, device=self.device)
        at = torch.zeros((rows, width), dtype=torch.int64, device=self.device)
        columns = max(1, _TILE_SCORES // max(1, rows) // _GROUP) * _GROUP
        for first in range(0, len(self.index.vectors), columns):
            slab = references[first : first + columns, :dim]
            slab = torch.nn.functional.pad(slab, (0, 0, 0, -len(slab) % _GROUP))
            scores = candidates @ slab.T
            if first + len(slab) > len(self.index.vectors):  # the rows that only fill the last group
                scores[:, len(self.index.vectors) - first :] = -torch.inf
            groups = scores.view(rows, -1, _GROUP)
            chosen = groups.amax(dim=2).topk(min(width, groups.shape[1]), dim=1, sorted=False).indices
            opened = torch.gather(groups, 1, chosen[:, :, None].expand(-1, -1, _GROUP)).reshape(rows, -1).float()
            places = (first + chosen[:, :, None] * _GROUP + torch.arange(_GROUP, device=self.device)).reshape(rows, -1)
            kept = torch.cat([best, opened], dim=1).topk(width, dim=1)
            best, at = kept.values, torch.gather(torch.cat([at, places], dim=1), 1, kept.indices)
        return best, at

    def _score(self, candidates: Any, positions: Any) -> Any:
        """Exact scores (rows, selected) float64."""
        step = max(1, _RESCORE_NUMBERS // (positions.shape[1] * self.index.dim))
        return torch.cat(
            [
                torch.bmm(self.vectors[positions[first : first + step]].double(),
                          candidates[first : first + step].double()[:, :, None])[:, :, 0]
                for first in range(0, len(candidates), step)
            ]
        )  # fmt: skip


def _blocks(vectors: Any, rows: int) -> Any:
    """Vectors with zeros added up to whole blocks of the kernel, which are of ``rows``."""
    from nnn_core.scoring.search import _fused

    return torch.nn.functional.pad(vectors, (0, -vectors.shape[1] % _fused.BLOCK_DIM, 0, -len(vectors) % rows))


def has_device() -> bool:
    """Whether PyTorch sees a CUDA device."""
    return bool(torch.cuda.is_available())


@cache
def _has_kernels() -> bool:
    # PyTorch for CUDA brings Triton on Linux.
    return find_spec("triton") is not None
