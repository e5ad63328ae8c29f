"""What all searches share: a tile of candidates, the reservoirs that select, the exact scores that stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search import _kernels as kernels
from nnn_core.scoring.search._rounding import PackedReferences, Rounded
from nnn_core.scoring.topk import _descending
from nnn_core.vectors import FloatMatrix, Mask

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tile:
    """Some candidates, on their way through a search.

    Attributes:
        vectors: (rows, dim) float32 vectors of the candidates, on the grid of ``nnn_core.vectors``.
        own: (rows, names) int64, codes of the pair ids that are a candidate's own, -1 for none; no columns if own pairs
            count like others.
    """

    vectors: FloatMatrix
    own: npt.NDArray[np.int64]

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> Tile:
        return Tile(self.vectors[rows], self.own[rows])


@dataclass
class Reservoirs:
    """The entries of each candidate that may be among its ``need`` highest (see ``_kernels``).

    Attributes:
        need: (rows,) int64, how many of the highest entries of each candidate must not be missed.
        doubt: (rows, 1) float32, by how much scores may be off.
        capacity: how many entries a reservoir holds; at least twice the largest ``need``.
        guess: (rows,) float32, what each candidate's ``need``-th highest score will hardly be below; what stays below
            that is not kept. Default: unknown.
    """

    need: npt.NDArray[np.int64]
    doubt: FloatMatrix
    capacity: int
    guess: npt.NDArray[np.float32] | None = None
    _keys: npt.NDArray[np.int64] = field(init=False)
    _counts: npt.NDArray[np.int64] = field(init=False)
    _limits: npt.NDArray[np.int64] = field(init=False)
    _thresholds: npt.NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        rows = len(self.need)
        self._keys = np.empty((rows, self.capacity), np.int64)
        self._counts = np.zeros(rows, np.int64)
        self._thresholds = np.full(rows, -np.inf, np.float32) if self.guess is None else self.guess.copy()
        self._limits = np.minimum(2 * self.need, self.capacity)

    def offer(self, scores: FloatMatrix, first: int) -> None:
        """Offer the scores (rows, n) of all candidates with the n references from position ``first`` on."""
        kernels.collect(scores, first, self.need, self.doubt, *self._state)

    def offer_products(
        self,
        candidates: npt.NDArray[np.uint8],
        references: PackedReferences,
        ends: npt.NDArray[np.int64] | None = None,
        looks: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None,
    ) -> None:
        """Offer products of int8 candidates with int8 references, in one list or in several.

        Args:
            candidates: (rows, dim) uint8, as ``Rounded.as_candidates``.
            references: int8 vectors of all references, list after list.
            ends: (lists + 1,) int64, 0 and the position after the last reference of each list; default: one list.
            looks: the candidates that look into each list, list after list, and (lists + 1,) where these end, from 0
                on; default: all candidates look into the one list.
        """
        if ends is None:
            ends = np.array([0, references.rows])
        if looks is None:
            looks = np.arange(len(candidates)), np.array([0, len(candidates)])
        kernels.collect_products(
            candidates, *looks, references.vectors, references.starts, references.steps, ends,
            self.need, self.doubt, *self._state,
        )  # fmt: skip

    def offer_near(
        self,
        candidates: Rounded,
        references: PackedReferences,
        doubt: FloatMatrix,
        widths: FloatMatrix,
        shifts: npt.NDArray[np.float64],
        exact: tuple[FloatMatrix, FloatMatrix, Positions],
        most: int,
    ) -> npt.NDArray[np.int64]:
        """Offer the exact scores of all references that int8 products do not dismiss, see ``_kernels.collect_near``.

        Returns:
            (rows,) int64, how many exact scores were computed of each candidate.
        """
        scored = np.zeros(len(self.need), np.int64)
        kernels.collect_near(
            candidates.as_candidates, references.vectors, references.starts, references.steps, doubt, widths, shifts,
            candidates.steps, *exact, most, self.need, self.doubt, *self._state, scored,
        )  # fmt: skip
        return scored

    @property
    def _state(self) -> tuple[npt.NDArray[Any], ...]:
        return self._keys, self._counts, self._limits, self._thresholds

    def finish(self) -> Mask:
        """Drop what is not among the highest; (rows,) which rows kept too much and now hold nothing."""
        kernels.finish(self.need, self.doubt, self._keys, self._counts, self._thresholds)
        overflowed: Mask = self._counts == kernels.OVERFLOW
        self._counts[overflowed], self._thresholds[overflowed] = 0, -np.inf
        return overflowed

    @property
    def lowest(self) -> npt.NDArray[np.float32]:
        """(rows,) the need-th highest score in each finished reservoir, -inf where all that was offered is needed."""
        return self._thresholds

    @property
    def kept(self) -> tuple[Positions, npt.NDArray[np.int64]]:
        """``(positions, counts)``: what was kept of each row, the need highest first; behind that, position 0."""
        width = int(self._counts.max(initial=0))
        valid = np.arange(width) < self._counts[:, None]
        return np.where(valid, self._keys[:, :width] & 0xFFFFFFFF, 0), self._counts

    @property
    def scores(self) -> FloatMatrix:
        """The score of each entry that was kept, (rows, most that were kept) float32, padded with -inf."""
        width = int(self._counts.max(initial=0))
        bits = (self._keys[:, :width] >> 32).astype(np.int32)
        scores = (bits ^ (bits >> 31 & 0x7FFFFFFF)).view(np.float32)
        return np.where(np.arange(width) < self._counts[:, None], scores, np.float32(-np.inf))


def score_selected(
    tile: Tile, index: ReferenceIndex, positions: Positions, counts: npt.NDArray[np.int64], k: int
) -> FloatMatrix:
    """The k highest exact scores among selected references, own pairs left out.

    Args:
        tile: the candidates to score.
        index: the references that ``positions`` point into.
        positions: (rows, any) int64 positions in ``index``, of which the first ``counts`` of a row are its selection.
        counts: (rows,) int64, how many references are selected for each candidate.
        k: how many scores of each candidate to keep, at most.

    Returns:
        (rows, min(k, references of the shard)) float32, descending, padded with -inf.
    """
    scores = np.full((len(counts), int(counts.max(initial=0))), -np.inf, np.float32)
    score_exactly(tile, index, positions, np.zeros_like(counts), counts, scores)
    return highest_selected(scores, tile, index, positions, counts, k)


def score_exactly(
    tile: Tile,
    index: ReferenceIndex,
    positions: Positions,
    begins: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    scores: FloatMatrix,
) -> None:
    """Write the exact scores of each row's selected references from ``begins`` to ``ends`` to the same places."""
    kernels.score_kept(tile.vectors, index.vectors, positions, begins, ends, scores)


def highest_selected(
    scores: FloatMatrix, tile: Tile, index: ReferenceIndex, positions: Positions, counts: npt.NDArray[np.int64], k: int
) -> FloatMatrix:
    """As ``score_selected``, from exact ``scores`` (rows, max counts) of what was selected."""
    widest = int(counts.max(initial=0))
    positions = np.where(np.arange(widest) < counts[:, None], positions[:, :widest], 0)
    leave_out_own(scores, tile, index, positions)
    return highest(scores, index, positions, k)


def leave_out_own(
    scores: npt.NDArray[np.floating], tile: Tile, index: ReferenceIndex, positions: Positions | slice
) -> None:
    """Write -inf over the scores of own pairs, if the index says which these are.

    Args:
        scores: (rows, any) floating-point scores of the candidates of ``tile``, changed in place.
        tile: the candidates that were scored, with the codes of their own pair ids.
        index: the references that were scored, with pair codes if own pairs are excluded.
        positions: position in ``index`` of the reference of each score, (rows, any) int64, or one slice for all rows.
    """
    if index.pair_codes is not None:
        codes = index.pair_codes[positions]
        for name in range(tile.own.shape[1]):
            scores[codes == tile.own[:, name, None]] = -np.inf


def highest(scores: FloatMatrix, index: ReferenceIndex, positions: Positions, k: int) -> FloatMatrix:
    """The k highest of ``scores`` (rows, any), each as often as its reference occurs in the shard.

    Args:
        scores: (rows, any) float32 scores of each candidate; -inf for what does not count.
        index: the references that were scored, with how often each occurs in the shard.
        positions: (rows, any) int64, position in ``index`` of the reference of each score.
        k: how many scores of each candidate to keep, at most.

    Returns:
        (rows, min(k, references of the shard)) float32, descending, padded with -inf.
    """
    width = min(k, index.rows)
    top = np.full((len(scores), width), -np.inf, np.float32)
    if index.repeats is None:
        best = _descending(scores, min(width, scores.shape[1]))
        top[:, : best.shape[1]] = best
        return top
    order = np.argsort(-scores, axis=1, kind="stable")[:, :width]
    sorted_scores = np.take_along_axis(scores, order, axis=1) + np.float32(0.0)
    kernels.repeat_scores(sorted_scores, index.repeats[np.take_along_axis(positions, order, axis=1)], top)
    return top
