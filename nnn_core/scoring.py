"""Scoring: the exact top-k of every candidate over one reference shard.

FAISS selects in float32, which is fast but rounds. The selected pairs are scored again in
float64, where vectors on the fixed-point grid give exact inner products (``vectors``). Since a
float32 score is at most ``error_bound`` away from the exact one, a candidate whose k-th exact
score beats the lowest selected float32 score by that much cannot have missed anything; the few
rows that fail this certificate are scored against the whole shard in float64. The result is the
exact top-k, to the bit, whatever the tiles, threads or hardware that selected it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nnn_core.embedded import VectorBlock
from nnn_core.references import ReferenceIndex
from nnn_core.topk import TopK, descending
from nnn_core.vectors import FloatMatrix

#: Extra references selected beyond k, so that float32 rounding seldom fails the certificate.
SLACK = 16

#: A candidate with more own pairs than this in one shard is scored against the whole shard.
_MAX_MASKED = 8

_TILE_ROWS = 4096
_RESCORE_ROWS = 32
_EXHAUSTIVE_BYTES = 64 << 20


def error_bound(dim: int) -> float:
    """Largest difference between a float32 and the exact inner product of two unit vectors.

    n u / (1 - n u) for n additions in any order with unit roundoff u = 2**-24 (Higham, Accuracy
    and Stability of Numerical Algorithms, 2nd ed., section 3.1), times a norm that may exceed 1
    by the rounding to the grid, doubled for libraries that split the product.
    """
    nu = dim * 2.0**-24
    return 2.0 * nu / (1.0 - nu) * (1.0 + 1e-5)


def score_block(block: VectorBlock, index: ReferenceIndex, k: int) -> TopK:
    """Exact top-k of each candidate of ``block`` over ``index``, own pairs excluded if it has pair ids.

    Args:
        block: candidates, (rows, dim).
        index: one reference shard.
        k: how many scores to keep.

    Returns:
        TopK of (rows, min(k, references seen)) float32: exact inner products, rounded once.
    """
    masks = _own_codes(block, index)
    tiles = [
        _score_tile(
            block.vectors[first : first + _TILE_ROWS],
            [mask[first : first + _TILE_ROWS] for mask in masks],
            index,
            k,
        )
        for first in range(0, len(block.vectors), _TILE_ROWS)
    ]
    seen = np.full(len(block.vectors), index.rows, np.int64) - _masked_counts(masks, index)
    scores = np.concatenate(tiles) if tiles else np.zeros((0, 0), np.float32)
    return TopK(k, seen, scores[:, : min(k, int(seen.max(initial=0)))])


def _own_codes(block: VectorBlock, index: ReferenceIndex) -> list[npt.NDArray[np.int64]]:
    """Codes of the pair ids that are each candidate's own: its id's and its pair id's, each counted once."""
    if index.pair_ids is None:
        return []
    by_id = index.codes_of(block.ids)
    by_pair = index.codes_of(block.pair_ids)
    return [by_id, np.where(by_pair == by_id, -1, by_pair)]


def _masked_counts(masks: list[npt.NDArray[np.int64]], index: ReferenceIndex) -> npt.NDArray[np.int64] | int:
    """(rows,) how many references of the shard do not count for each candidate."""
    if index.pair_codes is None or index.pair_ids is None:
        return 0
    # One more bin at the end, which code -1 ("none of them") reads as zero.
    counts = np.append(np.bincount(index.pair_codes, minlength=len(index.pair_ids)), 0).astype(np.int64)
    total: npt.NDArray[np.int64] = sum((counts[mask] for mask in masks), np.zeros(len(masks[0]), np.int64))
    return total


def _score_tile(
    candidates: FloatMatrix, masks: list[npt.NDArray[np.int64]], index: ReferenceIndex, k: int
) -> FloatMatrix:
    """(rows, min(k, shard rows)) exact scores, descending, padded with -inf where own pairs were left out."""
    width = min(k, index.rows)
    wanted = k + SLACK + (_MAX_MASKED if masks else 0)
    if wanted * 2 >= index.rows:
        return _score_exhaustively(candidates, masks, index, width)
    selected, positions = index.search(candidates, wanted)
    exact = _rescore(candidates, index.vectors, positions)
    scores = exact.astype(np.float32)
    for mask in masks:
        own = index.pair_codes[positions] == mask[:, None]  # type: ignore[index]
        scores[own], exact[own] = -np.inf, -np.inf
    kth = np.partition(exact, wanted - width, axis=1)[:, wanted - width]
    doubtful = kth < selected[:, -1].astype(np.float64) + error_bound(candidates.shape[1])
    top = descending(scores, width)
    if doubtful.any():
        rows = np.flatnonzero(doubtful)
        top[rows] = _score_exhaustively(candidates[rows], [mask[rows] for mask in masks], index, width)
    return top


def _rescore(
    candidates: FloatMatrix, references: FloatMatrix, positions: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Exact inner product of each candidate with its selected references: (rows, selected) float64."""
    exact = np.empty(positions.shape, np.float64)
    for first in range(0, len(candidates), _RESCORE_ROWS):
        rows = slice(first, first + _RESCORE_ROWS)
        gathered = references[positions[rows]].astype(np.float64)
        exact[rows] = np.matmul(gathered, candidates[rows].astype(np.float64)[:, :, None])[:, :, 0]
    return exact


def _score_exhaustively(
    candidates: FloatMatrix, masks: list[npt.NDArray[np.int64]], index: ReferenceIndex, width: int
) -> FloatMatrix:
    """The same by scoring every pair in float64, in tiles of bounded memory."""
    rows = max(1, _EXHAUSTIVE_BYTES // (8 * index.rows))
    tiles = [
        _exhaust_tile(candidates[first : first + rows], [mask[first : first + rows] for mask in masks], index, width)
        for first in range(0, len(candidates), rows)
    ]
    return np.concatenate(tiles) if tiles else np.zeros((0, width), np.float32)


def _exhaust_tile(
    candidates: FloatMatrix, masks: list[npt.NDArray[np.int64]], index: ReferenceIndex, width: int
) -> FloatMatrix:
    scores = np.empty((len(candidates), index.rows), np.float32)
    wide = candidates.astype(np.float64)
    columns = max(1, _EXHAUSTIVE_BYTES // (8 * candidates.shape[1]))
    for first in range(0, index.rows, columns):
        part = slice(first, first + columns)
        scores[:, part] = wide @ index.vectors[part].astype(np.float64).T
    for mask in masks:
        scores[index.pair_codes[None, :] == mask[:, None]] = -np.inf  # type: ignore[index]
    return descending(scores, width)
