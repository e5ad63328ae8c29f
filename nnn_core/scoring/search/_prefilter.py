"""The prefiltered search: products of int8 vectors select a superset, exact scores decide.

Processors with int8 instructions (VNNI, AMX) multiply int8 matrices several times faster than
float32 ones. A vector, turned as ``_rounding`` says, is ``step * int8 + rest``; for a candidate x and a
reference y less the mean of the bank, by Cauchy and Schwarz,

    |<x, y> - step_x step_y <x8, y8>|  <=  |rest x| |y|  +  |step_x x8| |rest y|

with the actual norms of this candidate and this reference, so that one vector that rounds badly widens
the bound for no other. A reference may be among the k highest if its score plus the bound reaches
the k-th highest of all scores less their bounds. The reservoirs keep these. Exact scores of k of them
then say what the k-th highest is at least, which lets most of the others go, and the exact scores of
those that are left decide. A candidate that keeps too many is searched exactly.

The mean of the bank is taken out because it adds the same number to all scores of a candidate and
so changes no order. In the embeddings of one modality it is most of every vector: what is left is
shorter, and the bound shrinks with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search._rounding import SLACK, PackedReferences, Rounded
from nnn_core.scoring.search._selection import Reservoirs, Tile, highest_selected, score_exactly
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.vectors import FloatMatrix, Mask

#: Room in a reservoir. Most hold a few times k; on banks of many copies that differ little it is some thousands, and
#: room that is not used costs nothing.
_MIN_CAPACITY = 4096
_CAPACITY = 16

#: One reference of so many is in the sample.
SAMPLED = 16
_SEED = 20241110


@dataclass(frozen=True)
class PrefilterSearch:
    """Selects by products of int8 vectors, see the module.

    Attributes:
        index: the references that are searched.
        mean: (dim,) float64, the mean of the references.
        packed: the references less the mean, in int8.
        widths: (distinct, 2) float32, at least the norm of each reference less the mean, and of its rest.
        sample: some of ``packed``, by which the k-th highest score is guessed, and their ``widths``.
    """

    index: ReferenceIndex
    mean: npt.NDArray[np.float64]
    packed: PackedReferences
    widths: FloatMatrix
    sample: tuple[PackedReferences, FloatMatrix]
    name: str = "prefilter"
    tile_rows: int = 1024

    @classmethod
    def of(cls, index: ReferenceIndex) -> PrefilterSearch:
        """Round the references of ``index``."""
        mean = index.vectors.mean(axis=0, dtype=np.float64)
        rounded = Rounded.of(index.vectors, mean)
        # What float32 loses on scores and thresholds is a small part of the product of the longest vectors.
        slack = np.float32(SLACK) * rounded.norms.max()
        widths = np.stack([rounded.norms, rounded.rests + slack], axis=1)
        sampled = np.random.default_rng(_SEED).random(len(widths)) < 1 / SAMPLED
        sample = PackedReferences.of(rounded[sampled]), widths[sampled]
        return cls(index, mean, PackedReferences.of(rounded), widths, sample)

    @property
    def nbytes(self) -> int:
        """How many bytes of memory the search takes."""
        sample, widths = self.sample
        return self.index.nbytes + self.packed.nbytes + self.widths.nbytes + sample.nbytes + widths.nbytes

    def top(self, tile: Tile, k: int) -> FloatMatrix:
        """Exact scores of each candidate's k nearest references, (rows, min(k, references)) float32, descending."""
        own = self.index.own_references(tile.own, distinct=True)
        capacity = max(_MIN_CAPACITY, _CAPACITY * k)
        need = k + np.minimum(own, capacity // 4)
        scores, reservoirs, overflowed = self._select(tile, need, capacity)
        top = highest_selected(scores, tile, self.index, *reservoirs.kept, k)
        rows = np.flatnonzero(overflowed | (own > capacity // 4))
        if len(rows):
            top[rows] = ExactSearch(self.index).top(tile[rows], k)
        return top

    def _select(self, tile: Tile, need: npt.NDArray[np.int64], capacity: int) -> tuple[FloatMatrix, Reservoirs, Mask]:
        """Exact scores of all that may be among the ``need`` highest, which these are, and the rows that kept too much.

        Args:
            tile: the candidates to search.
            need: (rows,) int64, how many of the highest must not be missed, own pairs included.
            capacity: how many entries are kept of each candidate at most, at least twice ``need``.

        Returns:
            Scores (rows, most that were kept) float32, padded with -inf; the reservoirs that hold what was kept, and
            nothing for rows (mask) that kept too much.
        """
        candidates = Rounded.of(tile.vectors, np.zeros_like(self.mean))
        # In steps of the candidate, as its products are. Rounded, a vector is longer by its rest at most.
        lengths = np.stack([candidates.rests, candidates.norms + candidates.rests], axis=1)
        doubt = (lengths / candidates.steps[:, None]).astype(np.float32)
        reservoirs = Reservoirs(need, doubt, capacity, self.widths, self._guess(candidates, doubt, need))
        reservoirs.offer_products(candidates.as_candidates, self.packed)
        overflowed = reservoirs.finish()
        if len(missed := reservoirs.restart()):
            reservoirs.offer_products(candidates.as_candidates, self.packed, looks=(missed, np.array([0, len(missed)])))
            overflowed |= reservoirs.finish()
        positions, counts = reservoirs.kept
        scores: FloatMatrix = np.full(positions.shape, -np.inf, np.float32)
        nearest = np.minimum(need, counts)
        score_exactly(tile, self.index, positions, np.zeros_like(nearest), nearest, scores)
        lowest = np.where(np.arange(scores.shape[1]) < nearest[:, None], scores, np.inf).min(axis=1, initial=np.inf)
        # Rounded to float32 a score may be above the exact one by 2**-25, and float64 loses less than that again.
        reached = (lowest - 2.0**-24 - tile.vectors.astype(np.float64) @ self.mean) / candidates.steps
        reservoirs.raise_thresholds(reached.astype(np.float32))
        positions, counts = reservoirs.kept
        scores = scores[:, : positions.shape[1]]
        score_exactly(tile, self.index, positions, nearest, counts, scores)
        scores[np.arange(scores.shape[1]) >= counts[:, None]] = -np.inf
        return scores, reservoirs, overflowed

    def _guess(self, candidates: Rounded, doubt: FloatMatrix, need: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(rows,) float32, what the ``need``-th highest entry of each candidate is most likely not below.

        The sample has ``need / SAMPLED`` of these highest give or take the root of that. Four roots more lie below
        the need-th in all but one of some thousand cases. Most of the bank is then dismissed at sight, where otherwise
        each of the first thousands of references is among the highest so far.
        """
        expected = need / SAMPLED
        sampled = np.ceil(expected + 4.0 * np.sqrt(expected)).astype(np.int64)
        sample, widths = self.sample
        reservoirs = Reservoirs(sampled, doubt, _CAPACITY * int(sampled.max(initial=1)), widths)
        reservoirs.offer_products(candidates.as_candidates, sample)
        reservoirs.finish()
        return reservoirs.lowest
