"""Kernels for NVIDIA cards, in Triton, that never write a matrix of scores to memory.

A product of 16-bit vectors takes less time on such a card than writing and reading its scores. So
each block of scores is compared with its rows' thresholds while it lies in registers, and only the
positions of what reaches them are kept. Their exact scores are then computed straight from where
the vectors lie.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

#: Rows and columns of ``collect`` are padded to multiples of these, dimensions to a multiple of the third.
BLOCK_ROWS, BLOCK_COLUMNS, BLOCK_DIM = 128, 128, 64

#: Scores whose comparison fits into the bits of a word.
_WORD = 32

_BLOCK_SELECTED, _BLOCK_NUMBERS = 64, 64


def collect(candidates: Any, references: Any, columns: int, thresholds: Any, capacity: int) -> tuple[Any, Any]:
    """The positions of all references whose 16-bit product with a candidate reaches the candidate's threshold.

    Args:
        candidates: (rows, dim) float16 on the device; padded, as are the references.
        references: (columns or more, dim) float16 on the device.
        columns: how many references there are without the padding.
        thresholds: (rows,) float32 on the device; infinite for rows that are padding.
        capacity: how many positions of a row there is room for.

    Returns:
        ``(positions, counts)`` on the device: (rows, capacity) int32, in no order and undefined beyond the count, and
        (rows,) int32, which exceed the capacity where more were found.
    """
    rows, dim = candidates.shape
    counts = torch.zeros(rows, dtype=torch.int32, device=candidates.device)
    positions = torch.empty((rows, capacity), dtype=torch.int32, device=candidates.device)
    row_blocks = rows // BLOCK_ROWS
    _collect[(row_blocks * (len(references) // BLOCK_COLUMNS),)](
        candidates, references, thresholds, counts, positions, columns, capacity, row_blocks,
        DIM=dim, BLOCK_ROWS=BLOCK_ROWS, BLOCK_COLUMNS=BLOCK_COLUMNS, BLOCK_DIM=BLOCK_DIM, WORD=_WORD,
        num_warps=8, num_stages=3,
    )  # fmt: skip
    return positions, counts


def exact_scores(candidates: Any, references: Any, positions: Any, counts: Any) -> Any:
    """The float64 inner products of each candidate with the references at its positions.

    Args:
        candidates: (rows, dim) float32 on the device.
        references: (any, dim) float32 on the device.
        positions: (rows, capacity) int32 positions in ``references``.
        counts: (rows,) int32, how many positions of a row are valid.

    Returns:
        (rows, capacity) float64 on the device; -inf where there is no valid position.
    """
    rows, capacity = positions.shape
    scores = torch.empty((rows, capacity), dtype=torch.float64, device=candidates.device)
    _score[(rows, triton.cdiv(capacity, _BLOCK_SELECTED))](
        candidates, references, positions, counts, scores, candidates.shape[1], capacity,
        BLOCK_SELECTED=_BLOCK_SELECTED, BLOCK_NUMBERS=_BLOCK_NUMBERS, num_warps=4,
    )  # fmt: skip
    return scores


@triton.jit  # type: ignore[untyped-decorator]
def _collect(  # type: ignore[no-untyped-def]
    candidates, references, thresholds, counts, positions, columns, capacity, row_blocks,
    DIM: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, BLOCK_DIM: tl.constexpr,
    WORD: tl.constexpr,
):  # fmt: skip
    # Blocks that run at the same time share references, which are many, and all candidates, which fit the cache.
    program = tl.program_id(0)
    rows = program % row_blocks * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    first = program // row_blocks * BLOCK_COLUMNS
    numbers = tl.arange(0, BLOCK_DIM)
    left = candidates + rows[:, None] * DIM + numbers[None, :]
    right = references + (first.to(tl.int64) + tl.arange(0, BLOCK_COLUMNS))[None, :] * DIM + numbers[:, None]
    scores = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
    for _ in range(0, DIM, BLOCK_DIM):
        scores = tl.dot(tl.load(left), tl.load(right), scores)
        left += BLOCK_DIM
        right += BLOCK_DIM

    # One bit a score, many scores a word: a loop over the few bits that are set costs less than a store for each score.
    columns_here = tl.arange(0, BLOCK_COLUMNS)
    reached = (scores >= tl.load(thresholds + rows)[:, None]) & (first + columns_here < columns)[None, :]
    bits = reached.to(tl.int32) << (columns_here % WORD)[None, :]
    words = tl.sum(tl.reshape(bits, (BLOCK_ROWS, BLOCK_COLUMNS // WORD, WORD)), axis=2)
    row = rows[:, None] + tl.zeros_like(words)
    start = (first + tl.arange(0, BLOCK_COLUMNS // WORD) * WORD)[None, :]
    left_over = tl.max(tl.max((words != 0).to(tl.int32), axis=1), axis=0)
    while left_over > 0:
        some = words != 0
        lowest = words & -words
        # The exponent of a power of two as a float is the number of its bit.
        bit = (lowest.to(tl.uint32, bitcast=True).to(tl.float32).to(tl.int32, bitcast=True) >> 23) - 127
        slot = tl.atomic_add(counts + row, 1, mask=some, sem="relaxed")
        tl.store(positions + row.to(tl.int64) * capacity + slot, start + bit, mask=some & (slot < capacity))
        words = words & (words - 1)
        left_over = tl.max(tl.max((words != 0).to(tl.int32), axis=1), axis=0)


@triton.jit  # type: ignore[untyped-decorator]
def _score(  # type: ignore[no-untyped-def]
    candidates, references, positions, counts, scores, dim, capacity,
    BLOCK_SELECTED: tl.constexpr, BLOCK_NUMBERS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    places = tl.program_id(1) * BLOCK_SELECTED + tl.arange(0, BLOCK_SELECTED)
    valid = places < tl.minimum(tl.load(counts + row), capacity)
    inside = places < capacity
    total = tl.zeros((BLOCK_SELECTED,), tl.float64)
    if tl.max(valid.to(tl.int32), axis=0) > 0:
        at = tl.load(positions + row * capacity + places, mask=valid, other=0).to(tl.int64)
        for start in range(0, dim, BLOCK_NUMBERS):
            numbers = start + tl.arange(0, BLOCK_NUMBERS)
            own = tl.load(candidates + row * dim + numbers, mask=numbers < dim, other=0.0).to(tl.float64)
            theirs = tl.load(
                references + at[:, None] * dim + numbers[None, :],
                mask=valid[:, None] & (numbers < dim)[None, :],
                other=0.0,
            )
            total += tl.sum(theirs.to(tl.float64) * own[None, :], axis=1)
    tl.store(scores + row * capacity + places, tl.where(valid, total, float("-inf")), mask=inside)
