"""The prefiltered search: products of int8 vectors dismiss most of the bank, exact scores decide.

Processors multiply int8 matrices several times faster than float32 ones (AVX-512 VNNI, AVX2). A vector, turned as
``_rounding`` says, is ``step * int8 + rest``; for a candidate x and a reference y less the mean of the bank, by
Cauchy and Schwarz,

    |<x, y> - step_x step_y <x8, y8>|  <=  |rest x| |y|  +  |step_x x8| |rest y|

with the actual norms of this candidate and this reference, so that one vector that rounds badly widens
the bound for no other. A reference may be among the k highest if its product plus the bound reaches
what the k-th highest is at least. Its exact score is then computed at once, while it is in the cache; the
k-th highest of these so far is the next threshold, and a guess from a sample of the bank, hardly ever too high, is the
first. A candidate of which fewer than k reach the guess, or of which products dismiss too little, is searched exactly.

The mean of the bank is taken out because it adds the same number to all scores of a candidate and
so changes no order. In the embeddings of one modality it is most of every vector: what is left is
shorter, and the bound shrinks with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search._rounding import SLACK, PackedReferences, Rounded, finest_format
from nnn_core.scoring.search._selection import Positions, Reservoirs, Tile, highest_selected, score_exactly
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.vectors import FloatMatrix, Mask

#: A candidate with more own pairs than this in one shard is searched exactly.
_MAX_OWN = 1024

#: Exact scores of a candidate after which computing all of them by a matrix product is cheaper: this many, for each
#: that is needed, or this share of the bank.
_MOST_SCORED = 4096, 8, 1 / 8

#: One reference of so many is in the sample.
SAMPLED = 32

#: Bytes that are kept of a reference of 512 dimensions besides its coordinates.
PER_REFERENCE = 36
_SEED = 20241110


@dataclass(frozen=True)
class PrefilterSearch:
    """Selects by products of int8 vectors, see the module.

    Attributes:
        index: the references that are searched.
        mean: (dim,) float64, the mean of the references.
        order: (distinct,) int64, positions of the references in ``index``: those of a narrow bound first, so that the
            widest bound among some hundreds of them, by which most are dismissed at sight, is hardly wider than others.
        packed: the references less the mean, in int8 and this order.
        widths: (distinct, 2) float32, at least the norm of each of these, and of its rest.
        sample: places of some of these, by which the k-th highest score is guessed.
        packed_sample: these, as ``packed``.
    """

    index: ReferenceIndex
    mean: npt.NDArray[np.float64]
    order: npt.NDArray[np.int64]
    packed: PackedReferences
    widths: FloatMatrix
    sample: npt.NDArray[np.int64]
    packed_sample: PackedReferences
    name: str = "prefilter"
    tile_rows: int = 1024

    @classmethod
    def of(cls, index: ReferenceIndex) -> PrefilterSearch:
        """Round the references of ``index``."""
        mean = index.vectors.mean(axis=0, dtype=np.float64)
        rounded = Rounded.of(index.vectors, mean, finest_format())
        # What float32 loses on scores and thresholds is a small part of the product of the longest vectors.
        slack = np.float32(SLACK) * rounded.norms.max()
        widths = np.stack([rounded.norms, rounded.rests + slack], axis=1)
        # Candidates are rounded as references are: what their part of the bound is relative to their norm, on average.
        rest = float((rounded.rests / np.maximum(rounded.norms, np.finfo(np.float32).tiny)).mean())
        order = np.argsort(widths @ np.array([rest, 1.0], np.float32), kind="stable")
        rounded, widths = rounded[order], widths[order]
        sample = np.flatnonzero(np.random.default_rng(_SEED).random(len(widths)) < 1 / SAMPLED)
        return cls(
            index, mean, order, PackedReferences.of(rounded), widths, sample, PackedReferences.of(rounded[sample])
        )

    @property
    def nbytes(self) -> int:
        """How many bytes of memory the search takes."""
        rounded = self.packed.nbytes + self.packed_sample.nbytes
        return self.index.nbytes + self.order.nbytes + rounded + self.widths.nbytes + self.sample.nbytes

    def top(self, tile: Tile, k: int) -> FloatMatrix:
        """Exact scores of each candidate's k nearest references, (rows, min(k, references)) float32, descending."""
        own = self.index.own_references(tile.own, distinct=True)
        (scores, positions, counts), missed, _ = self._select(tile, k + np.where(own > _MAX_OWN, 0, own))
        top = highest_selected(scores, tile, self.index, positions, counts, k)
        rows = np.flatnonzero(missed | (own > _MAX_OWN))
        if len(rows):
            top[rows] = ExactSearch(self.index).top(tile[rows], k)
        return top

    def _select(
        self, tile: Tile, need: npt.NDArray[np.int64]
    ) -> tuple[tuple[FloatMatrix, Positions, npt.NDArray[np.int64]], Mask, npt.NDArray[np.int64]]:
        """Exact scores of the ``need`` (rows,) highest of each candidate, own pairs included.

        Returns:
            Scores (rows, most that there are) float32, padded with -inf, positions in ``index`` and how many there are
            of each row; the rows (mask) that miss some of the highest; how many exact scores were computed of each.
        """
        candidates = Rounded.of(tile.vectors, np.zeros_like(self.mean), self.packed.format)
        # In steps of the candidate, as its products are. Rounded, a vector is longer by its rest at most.
        lengths = np.stack([candidates.rests, candidates.norms + candidates.rests], axis=1)
        doubt = (lengths / candidates.steps[:, None]).astype(np.float32)
        guess = self._guess(tile, candidates, need)
        reservoirs = Reservoirs(need, np.zeros((len(need), 1), np.float32), 2 * int(need.max(initial=0)), guess)
        exact = tile.vectors, self.index.vectors, self.order
        shifts = tile.vectors.astype(np.float64) @ self.mean
        some, each, share = _MOST_SCORED
        most = max(some, each * int(need.max(initial=0)), int(share * len(self.order)))
        scored = reservoirs.offer_near(candidates, self.packed, doubt, self.widths, shifts, exact, most)
        overflowed = reservoirs.finish()
        places, counts = reservoirs.kept
        missed = overflowed | (np.isfinite(guess) & (counts < need))
        return (reservoirs.scores, self.order[places], counts), missed, scored

    def _guess(self, tile: Tile, candidates: Rounded, need: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(rows,) float32, a score that the ``need``-th highest of each candidate is most likely not below, or -inf.

        The sample has ``need / SAMPLED`` of these highest give or take the root of that. Four roots and two more lie
        below the need-th in all but one of ten thousand cases. Most of the bank is then dismissed at sight, where
        otherwise each of the first thousands of references is among the highest so far. Which of the sample are its
        highest is told by products alone: the lowest exact score of any so many is a bound.
        """
        expected = need / SAMPLED
        sampled = np.ceil(expected + 4.0 * np.sqrt(expected) + 2.0).astype(np.int64)
        reservoirs = Reservoirs(sampled, np.zeros((len(need), 1), np.float32), 2 * int(sampled.max(initial=0)))
        reservoirs.offer_products(candidates.as_candidates, self.packed_sample)
        reservoirs.finish()
        places, counts = reservoirs.kept
        scores: FloatMatrix = np.full(places.shape, np.inf, np.float32)
        positions = self.order[self.sample[places]] if len(self.sample) else places
        score_exactly(tile, self.index, positions, np.zeros_like(counts), counts, scores)
        lowest = scores.min(axis=1, initial=np.float32(np.inf))
        return np.where(counts < sampled, np.float32(-np.inf), lowest)
