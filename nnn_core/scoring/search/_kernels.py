"""The inner loops of every search: collect what may be among the highest, then score it exactly.

A search scores a tile of candidates against a slab of references with a matrix product in some
cheap arithmetic. ``collect`` keeps, for each candidate, the entries that may still be among its
``need`` highest: all within ``margin`` of the need-th highest seen so far. What it keeps fits a
small reservoir, so the scores are looked at once, in the cache, and most are dismissed sixteen at
a time by one comparison. ``score_kept`` then computes the exact scores of the few that are left.

Compiled by numba on first use and kept on disk. None of the loops needs Python's lock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

#: Scores compared with the threshold at once.
LANES = 16

#: Count of a row whose reservoir overflowed: it must be searched in another way.
OVERFLOW = -1


@intrinsic
def _lanes_at_least(typing_context: Any, tile: Any, row: Any, column: Any, threshold: Any) -> Any:
    """Bit i is set where tile[row, column + i] >= threshold; LLVM does not vectorise the loop by itself."""
    signature = types.uint32(tile, row, column, tile.dtype)
    is_float = isinstance(tile.dtype, types.Float)

    def build(context: Any, builder: Any, _: Any, args: Any) -> Any:
        array = context.make_array(tile)(context, builder, args[0])
        address = cgutils.get_item_pointer(
            context, builder, tile, array, [args[1], args[2]], wraparound=False, boundscheck=False
        )
        lanes = ir.VectorType(ir.FloatType() if is_float else ir.IntType(32), LANES)
        scores = builder.load(builder.bitcast(address, lanes.as_pointer()), align=4)
        undefined = ir.Constant(lanes, ir.Undefined)
        first = builder.insert_element(undefined, args[3], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        splat = builder.shuffle_vector(first, undefined, zeros)
        compare = builder.fcmp_ordered if is_float else builder.icmp_signed
        return builder.zext(builder.bitcast(compare(">=", scores, splat), ir.IntType(LANES)), ir.IntType(32))

    return signature, build


@intrinsic
def _trailing_zeros(typing_context: Any, bits: Any) -> Any:
    signature = types.uint32(types.uint32)

    def build(context: Any, builder: Any, _: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return signature, build


@intrinsic
def _key(typing_context: Any, score: Any, position: Any) -> Any:
    """A float32 or int32 score and a position below 2**32 as an int64 that sorts by score, then by position."""
    signature = types.int64(score, types.int64)

    def build(context: Any, builder: Any, _: Any, args: Any) -> Any:
        bits = _turned(builder, builder.bitcast(args[0], ir.IntType(32))) if score is types.float32 else args[0]
        high = builder.shl(builder.sext(bits, ir.IntType(64)), ir.Constant(ir.IntType(64), 32))
        return builder.or_(high, args[1])

    return signature, build


@intrinsic
def _score_of(typing_context: Any, key: Any, like: Any) -> Any:
    """The score in a key, of the type of ``like``."""
    signature = like(types.int64, like)

    def build(context: Any, builder: Any, _: Any, args: Any) -> Any:
        high = builder.ashr(args[0], ir.Constant(ir.IntType(64), 32))
        bits = builder.trunc(high, ir.IntType(32))
        return builder.bitcast(_turned(builder, bits), ir.FloatType()) if like is types.float32 else bits

    return signature, build


def _turned(builder: Any, bits: Any) -> Any:
    """Bits of a float32 such that they sort as integers do, and back: those of negative numbers are turned round."""
    sign = builder.ashr(bits, ir.Constant(ir.IntType(32), 31))
    return builder.xor(bits, builder.and_(sign, ir.Constant(ir.IntType(32), 0x7FFFFFFF)))


@njit(cache=True, nogil=True)
def _move_highest(keys: Any, count: int, need: int) -> int:
    """Reorder keys[:count] so that the ``need`` highest come first; return the lowest of these."""
    low, high, target = 0, count - 1, need - 1
    while low < high:
        middle = (low + high) >> 1
        a, b, c = keys[low], keys[middle], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        if pivot == b:
            keys[middle] = c
        elif pivot == a:
            keys[low] = c
        split = low
        for at in range(low, high):  # no branch: what is above the pivot moves to the front
            key = keys[at]
            keys[at] = keys[split]
            keys[split] = key
            split += key > pivot
        keys[high] = keys[split]
        keys[split] = pivot
        if split == target:
            break
        if split < target:
            low = split + 1
        else:
            high = split - 1
    lowest = keys[0]
    for at in range(1, need):
        lowest = min(lowest, keys[at])
    return lowest


@njit(cache=True, nogil=True)
def _shrink(keys: Any, count: int, need: int, margin: Any) -> Any:
    """Drop what cannot be among the ``need`` highest: (entries left, lowest score that still can)."""
    threshold = _score_of(_move_highest(keys, count, need), margin) - margin
    left = need
    if margin > 0:
        for at in range(need, count):
            key = keys[at]
            keys[left] = key
            left += _score_of(key, margin) >= threshold
    return left, threshold


@njit(cache=True, nogil=True)
def collect(tile: Any, rows: Any, first: int, need: Any, margin: Any, keys: Any, counts: Any, thresholds: Any) -> None:
    """Offer a tile of scores to the reservoirs of its candidates.

    A reservoir holds every entry offered so far whose score is at least the need-th highest minus
    the margin; with margin 0, after ``finish``, exactly the ``need`` highest, of equal scores those
    of the highest positions. Neither depends on the order in which tiles come.

    Args:
        tile: (m, n) float32 or int32 scores of m candidates with n consecutive references.
        rows: (m,) int64, the reservoir of each row of ``tile``.
        first: position in the index of the first column of ``tile``.
        need: (reservoirs,) int64, how many of the highest must not be missed; 1 to half the capacity.
        margin: (reservoirs,) in the type of the scores, how far below the need-th highest still counts; at least 0.
        keys: (reservoirs, capacity) int64, written: the entries, each a score and a position in one number.
        counts: (reservoirs,) int64, how many entries each reservoir holds, or ``OVERFLOW``; written.
        thresholds: (reservoirs,) in the type of the scores, what an entry must reach; at first the lowest value.
    """
    capacity = keys.shape[1]
    columns = tile.shape[1]
    for row in range(tile.shape[0]):
        own = rows[row]
        count = counts[own]
        if count == OVERFLOW:
            continue
        threshold = thresholds[own]
        reservoir = keys[own]
        column = 0
        while column < columns:
            if column + LANES <= columns:
                hits = _lanes_at_least(tile, row, column, threshold)
            else:
                hits = np.uint32(0)
                for lane in range(columns - column):
                    hits |= np.uint32(tile[row, column + lane] >= threshold) << np.uint32(lane)
            while hits:
                at = column + np.int64(_trailing_zeros(hits))
                hits &= hits - np.uint32(1)
                reservoir[count] = _key(tile[row, at], first + at)
                count += 1
            if count > capacity - LANES:
                count, threshold = _shrink(reservoir, count, need[own], margin[own])
                if count > capacity - capacity // 4:
                    count = OVERFLOW
                    break
            column += LANES
        thresholds[own] = threshold
        counts[own] = count


@njit(cache=True, nogil=True)
def finish(keys: Any, counts: Any, need: Any, margin: Any) -> None:
    """Shrink every reservoir to what may be among its ``need`` highest; keys become positions."""
    for row in range(len(counts)):
        if counts[row] > need[row]:
            counts[row], _ = _shrink(keys[row], counts[row], need[row], margin[row])
        for at in range(max(0, counts[row])):
            keys[row, at] &= 0xFFFFFFFF


@njit(cache=True, nogil=True, fastmath=True)
def score_kept(candidates: Any, references: Any, positions: Any, counts: Any, scores: Any) -> None:
    """Exact scores of what was kept, rounded once to float32.

    Vectors on the grid of ``vectors`` have exact float64 inner products in any order of summation,
    so the compiler may reorder freely. Eight references at a time keep the memory busy.

    Args:
        candidates: (rows, dim) float32 vectors of the candidates.
        references: (any, dim) float32 vectors of the references.
        positions: (rows, capacity) int64 positions in ``references``, of which the first ``counts`` of a row are read.
        counts: (rows,) int64, how many positions each row has.
        scores: (rows, at least max counts) float32, to which the exact scores are written.
    """
    dim = candidates.shape[1]
    for row in range(len(candidates)):
        candidate = candidates[row].astype(np.float64)
        last = counts[row] - 1
        for at in range(0, counts[row], 8):
            r0, r1 = references[positions[row, at]], references[positions[row, min(at + 1, last)]]
            r2, r3 = references[positions[row, min(at + 2, last)]], references[positions[row, min(at + 3, last)]]
            r4, r5 = references[positions[row, min(at + 4, last)]], references[positions[row, min(at + 5, last)]]
            r6, r7 = references[positions[row, min(at + 6, last)]], references[positions[row, min(at + 7, last)]]
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
            for axis in range(dim):
                value = candidate[axis]
                s0 += value * np.float64(r0[axis])
                s1 += value * np.float64(r1[axis])
                s2 += value * np.float64(r2[axis])
                s3 += value * np.float64(r3[axis])
                s4 += value * np.float64(r4[axis])
                s5 += value * np.float64(r5[axis])
                s6 += value * np.float64(r6[axis])
                s7 += value * np.float64(r7[axis])
            scores[row, at] = s0
            scores[row, min(at + 1, last)] = s1
            scores[row, min(at + 2, last)] = s2
            scores[row, min(at + 3, last)] = s3
            scores[row, min(at + 4, last)] = s4
            scores[row, min(at + 5, last)] = s5
            scores[row, min(at + 6, last)] = s6
            scores[row, min(at + 7, last)] = s7


@njit(cache=True, nogil=True)
def repeat_scores(scores: Any, times: Any, out: Any) -> None:
    """Write each row's scores, each repeated ``times``, until the row of ``out`` is full.

    Args:
        scores: (rows, n) float32 scores of each candidate, descending.
        times: (rows, n) int64, how often each score is to be repeated.
        out: (rows, width) float32, written; what is not reached keeps its value.
    """
    for row in range(len(scores)):
        filled = 0
        for at in range(scores.shape[1]):
            for _ in range(min(times[row, at], out.shape[1] - filled)):
                out[row, filled] = scores[row, at]
                filled += 1


@njit(cache=True, nogil=True)
def columns_at_least(scores: Any, thresholds: Any) -> Any:
    """For each row the columns that reach their threshold.

    Args:
        scores: (m, n) float32 scores, compared with the threshold of their column.
        thresholds: (n,) float32, what the scores of each column must reach.

    Returns:
        ``(columns, ends)``: int64 columns, ascending within a row, row after row; (m,) int64 where each row ends.
    """
    columns = np.empty(1024, np.int64)
    ends = np.empty(len(scores), np.int64)
    count = 0
    for row in range(len(scores)):
        if count + scores.shape[1] > len(columns):
            columns = np.concatenate((columns, np.empty(max(len(columns), scores.shape[1]), np.int64)))
        for column in range(scores.shape[1]):
            columns[count] = column
            count += scores[row, column] >= thresholds[column]
        ends[row] = count
    return columns[:count], ends
