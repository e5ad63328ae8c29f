"""The exact search: a float32 matrix product selects, float64 decides.

A float32 score is at most ``error_bound`` away from the exact one. So every reference among the k
exactly highest has a float32 score within twice that bound of the k-th highest float32 score; the
reservoirs keep all of these, and their exact scores decide. Rows of which too many lie that close
(thousands of near-duplicates) are scored against the whole shard in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search._selection import Reservoirs, Tile, highest, leave_out_own, score_selected
from nnn_core.scoring.topk import _descending
from nnn_core.vectors import FloatMatrix, error_bound

#: References scored by one matrix product: with 1,024 candidates, 4 MiB of scores, which stay in the cache.
SLAB_ROWS = 1024

#: A candidate with more own pairs than this in one shard is scored against the whole shard.
_MAX_OWN = 64

#: Room for references within the margin.
_SPARE = 128
_EXHAUSTIVE_SLAB = 4096


@dataclass(frozen=True)
class ExactSearch:
    """Selects by float32 products, see the module.

    Attributes:
        index: the references that are searched.
    """

    index: ReferenceIndex
    name: str = "exact"
    tile_rows: int = 1024

    @property
    def nbytes(self) -> int:
        """How many bytes of memory the search takes."""
        return self.index.nbytes

    def top(self, tile: Tile, k: int) -> FloatMatrix:
        """Exact scores of each candidate's k nearest references, (rows, min(k, references)) float32, descending."""
        own = self.index.own_references(tile.own, distinct=True)
        # 2**-22 covers the float32 arithmetic on scores and bounds.
        doubt = np.full((len(own), 1), error_bound(self.index.dim) + 2.0**-22, np.float32)
        need = k + np.minimum(own, _MAX_OWN)
        reservoirs = Reservoirs(need, doubt, 2 * int(need.max(initial=0)) + _SPARE)
        scores = np.empty((len(own), SLAB_ROWS), np.float32)
        for first in range(0, len(self.index.vectors), SLAB_ROWS):
            slab = self.index.vectors[first : first + SLAB_ROWS]
            out = scores if len(slab) == SLAB_ROWS else np.empty((len(own), len(slab)), np.float32)
            reservoirs.offer(np.matmul(tile.vectors, slab.T, out=out), first)
        overflowed = reservoirs.finish()
        top = score_selected(tile, self.index, *reservoirs.kept, k)
        rows = np.flatnonzero(overflowed | (own > _MAX_OWN))
        if len(rows):
            top[rows] = _score_exhaustively(tile[rows], self.index, k)
        return top


def _score_exhaustively(tile: Tile, index: ReferenceIndex, k: int) -> FloatMatrix:
    """Exact scores of each candidate's k nearest references, by scoring every pair in float64."""
    wide = tile.vectors.astype(np.float64)
    top = np.full((len(wide), 0), -np.inf, np.float32)
    for first in range(0, len(index.vectors), _EXHAUSTIVE_SLAB):
        slab = slice(first, first + _EXHAUSTIVE_SLAB)
        scores = (wide @ index.vectors[slab].astype(np.float64).T).astype(np.float32)
        leave_out_own(scores, tile, index, slab)
        positions = np.broadcast_to(np.arange(first, first + scores.shape[1]), scores.shape)
        both = np.concatenate([top, highest(scores, index, positions, k)], axis=1)
        top = _descending(both, min(k, index.rows, both.shape[1]))
    return top
