"""The search on an accelerator: bfloat16 products select, float64 on the device decides.

The selection is the prefilter's: bfloat16 rounds a vector by a known rest, so the error of a product
is bounded, and what lies within the bound of the k-th highest is scored exactly. Scores are looked
at tile by tile, and in a tile first at the maximum of every group of references: the need-th
highest of these maxima is a lower bound for the need-th highest score, and only groups that reach
it are opened. float64 inner products of vectors on the grid are exact on any hardware, so the result
is that of the other exact searches to the bit. Rows that the certificate refuses are selected again
by float32 products, and those that are still refused are searched by ``ExactSearch``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search._selection import Tile, error_bound, highest, leave_out_own
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.vectors import FloatMatrix, Mask

#: Scores in memory at a time.
_TILE_SCORES = 1 << 28

_GROUP = 32
_SPARE = 64
_RESCORE_NUMBERS = 1 << 27


@dataclass(frozen=True)
class DeviceSearch:
    """Selects by rounded products on an accelerator, see the module.

    Attributes:
        index: the references that are searched.
        device: the accelerator by torch's name, such as ``cuda``.
        vectors: (rows, dim) float32 vectors of the references on the device, zero rows added up to whole groups.
        rounded: (rows, dim) bfloat16, ``vectors`` rounded, on the device.
        largest_rest: largest norm of what bfloat16 leaves out of a reference.
    """

    index: ReferenceIndex
    device: str
    vectors: Any
    rounded: Any
    largest_rest: float
    name: str = "device"
    tile_rows: int = 4096

    @classmethod
    def of(cls, index: ReferenceIndex, device: str = "cuda") -> DeviceSearch:
        """Copy the references of ``index`` to the device."""
        # Sums must stay in float32, or the bound does not hold.
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        vectors = torch.tensor(index.vectors, device=device)
        rest = torch.linalg.vector_norm(vectors - vectors.bfloat16().float(), dim=1).max().item()
        vectors = torch.nn.functional.pad(vectors, (0, 0, 0, -len(vectors) % _GROUP))
        return cls(index, device, vectors, vectors.bfloat16(), rest)

    @property
    def nbytes(self) -> int:
        """Bytes in the memory of the host and the device."""
        return int(self.index.nbytes + self.vectors.nbytes + self.rounded.nbytes)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def top(self, tile: Tile, k: int) -> FloatMatrix:
        """Exact scores of each candidate's k nearest references, (rows, min(k, references)) float32, descending."""
        own = self.index.own_references(tile.own, distinct=True)
        # Twice as many as needed: the error of bfloat16 reaches beyond the k-th.
        width = 2 * (k + int(own.max(initial=0))) + _SPARE
        if width * 2 > len(self.index.vectors):
            return ExactSearch(self.index).top(tile, k)
        top = np.empty((len(tile.vectors), k), np.float32)
        left = np.arange(len(tile.vectors))
        for references in (self.rounded, self.vectors):
            top[left], certain = self._search(tile[left], references, k, width)
            left = left[~certain]
            if not len(left):
                return top
        top[left] = ExactSearch(self.index).top(tile[left], k)
        return top

    def _search(self, tile: Tile, references: Any, k: int, width: int) -> tuple[FloatMatrix, Mask]:
        """Scores by selection with ``references``, and the rows for which they are certainly the highest."""
        candidates = torch.tensor(tile.vectors, device=self.device)
        approximate, positions = self._select(candidates.to(references.dtype), references, width)
        exact, at = self._score(candidates, positions).cpu().numpy(), positions.cpu().numpy()
        leave_out_own(exact, tile, self.index, at)
        # What was not selected is at most as high as the lowest that was, give or take the error.
        highest_missed = approximate[:, -1].double().cpu().numpy() + self._bound(candidates, approximate, references)
        kth = np.partition(exact, width - k, axis=1)[:, width - k]
        return highest(exact.astype(np.float32), self.index, at, k), kth >= highest_missed

    def _bound(self, candidates: Any, approximate: Any, references: Any) -> npt.NDArray[np.float64]:
        """(rows,) largest error of a product that is no higher than those selected."""
        bound = np.full(len(candidates), error_bound(self.index.dim))
        if references.dtype == torch.bfloat16:
            rest = torch.linalg.vector_norm(candidates - candidates.bfloat16().float(), dim=1)
            # Cauchy and Schwarz for the rests, and the product itself rounded to 8 bits.
            bound += 1.01 * (rest.double().cpu().numpy() + self.largest_rest)
            bound += 2.0**-8 * approximate.abs().amax(dim=1).double().cpu().numpy()
        return bound

    def _select(self, candidates: Any, references: Any, width: int) -> tuple[Any, Any]:
        """The ``width`` highest rounded products of each candidate and their positions, tile by tile."""
        rows = len(candidates)
        best = torch.full((rows, width), -torch.inf, device=self.device)
        at = torch.zeros((rows, width), dtype=torch.int64, device=self.device)
        columns = max(1, _TILE_SCORES // max(1, rows) // _GROUP) * _GROUP
        for first in range(0, len(references), columns):
            scores = candidates @ references[first : first + columns].T
            if first + columns > len(self.index.vectors):  # the rows that only fill the last group
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


def has_device() -> bool:
    """Whether PyTorch sees a CUDA device."""
    return bool(torch.cuda.is_available())
