"""The inner loops of every search: collect what may be among the highest, then score it exactly.

A search scores a tile of candidates against a slab of references with a matrix product in some
cheap arithmetic. ``collect`` keeps, for each candidate, the entries that may still be among its
``need`` highest: all whose score, at best, reaches what the need-th highest is at least. What it keeps
fits a small reservoir, so the scores are looked at once, in the cache, and most are dismissed sixteen
at a time by one comparison. ``score_kept`` then computes the exact scores of the few that are left.

How far a score may be off depends on candidate and reference: by at most ``doubt[0] * width[0] +
doubt[1] * width[1]``, of which the first factors belong to the candidate and the second to the
reference. Where all references are alike there are no widths, and ``doubt[0]`` is the bound. What is
kept of an entry is the lowest that its score may be.

Compiled by numba on first use and kept on disk. None of the loops needs Python's lock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from nnn_core.scoring.search._lanes import (
    GROUPS,
    LANES,
    ROWS,
    append_lanes,
    lanes_at_least,
    multiply,
    score_of,
    to_key,
)

_ALL_LANES = np.uint32((1 << LANES) - 1)

#: Scores of a candidate that are compared before those that reached the threshold raise it.
_CHUNK = 8 * LANES

#: References, in vectors of lanes, whose products with a few candidates are in memory at a time.
_SLAB_GROUPS = 20 * GROUPS

#: Count of a row whose reservoir overflowed: it must be searched in another way.
OVERFLOW = -1

#: Count of a row of which too few entries reached the threshold it began with: it must be searched from a lower one.
TOO_FEW = -2


@njit(cache=True, nogil=True)
def _score(number: Any, steps: Any, position: int) -> Any:
    """The score that an entry of a tile stands for."""
    if steps is None:
        return number
    return np.float32(number) * steps[position]


@njit(cache=True, nogil=True)
def _lower_bound(keys: Any, row: int, count: int, need: int, most: int, low: int) -> int:
    """A number that at least ``need`` and at most ``most`` of keys[row, :count], of which all differ, reach.

    At least ``need`` reach ``low``. Bisection looks at all keys a dozen times, but many at once and without a branch.
    """
    high = low
    for at in range(count):
        high = max(high, keys[row, at])
    while low < high:
        middle = (low | high) - ((low ^ high) >> 1)  # the mean, rounded up
        reached = 0
        for at in range(count):
            reached += keys[row, at] >= middle
        if reached < need:
            high = middle - 1
        else:
            low = middle
            if reached <= most:
                break
    return low


@njit(cache=True, nogil=True)
def _bound(doubt: Any, row: int, widths: Any, position: int) -> Any:
    """By how much a candidate's score with the reference at ``position`` may be off."""
    if widths is None:
        return doubt[row, 0]
    return doubt[row, 0] * widths[position, 0] + doubt[row, 1] * widths[position, 1]


@njit(cache=True, nogil=True)
def _keep_reaching(keys: Any, row: int, first: int, count: int, least: int, doubt: Any, widths: Any) -> int:
    """Drop from keys[row, first:count] what is below ``least``, however high its score may be: how many are left."""
    threshold = score_of(least)
    for at in range(first, count):
        key = keys[row, at]
        keys[row, first] = key
        highest = score_of(key) + np.float32(2.0) * _bound(doubt, row, widths, key & 0xFFFFFFFF)
        # An entry that is at best as high as the need-th is not needed, unless it is one of these.
        first += (key >= least) | (highest > threshold)
    return first


@njit(cache=True, nogil=True)
def _offer(
    tile: Any, left: int, columns: int, steps: Any, first: int, rows: Any, count_rows: int, widest: Any,
    need: Any, doubt: Any, widths: Any, keys: Any, counts: Any, limits: Any, thresholds: Any, reached: Any,
) -> None:  # fmt: skip
    """Offer tile[:, left : left + columns], whose first column is of position ``first``, to the reservoirs ``rows``.

    numba counts references to each array at every call, which takes as long as looking at a short row: hence many rows.
    """
    capacity = keys.shape[1]
    for row in range(count_rows):
        own = rows[row]
        count, threshold = counts[own], thresholds[own]
        furthest = _bound(doubt, own, widest, 0)
        begin = 0
        while begin < columns and count != OVERFLOW:
            hits, end = 0, min(begin + _CHUNK, columns)
            for column in range(begin, end, LANES):
                # Products and steps go on behind what counts of them, scores do not.
                lanes = _ALL_LANES
                if steps is not None or column + LANES <= end:
                    lanes = lanes_at_least(tile, row, left + column, steps, first + column, threshold - furthest)
                if column + LANES > end:
                    lanes &= np.uint32((1 << (end - column)) - 1)
                if lanes:
                    hits += append_lanes(reached, hits, column, lanes)
            for hit in range(hits):
                at = np.int64(reached[hit])
                score = _score(tile[row, left + at], steps, first + at)
                bound = _bound(doubt, own, widths, first + at)
                keys[own, count] = to_key(score - bound, first + at)
                count += score + bound >= threshold
                if count == limits[own]:
                    least = _lower_bound(
                        keys, own, count, need[own], need[own] + need[own] // 8, to_key(threshold, np.int64(0))
                    )
                    count, threshold = _keep_reaching(keys, own, 0, count, least, doubt, widths), score_of(least)
                    limits[own] = min(max(limits[own], 2 * count), capacity)
                    if count > capacity - capacity // 4:
                        count = OVERFLOW
                        break
            begin += _CHUNK
        counts[own], thresholds[own] = count, threshold


@njit(cache=True, nogil=True)
def collect(tile: Any, first: int, need: Any, doubt: Any, keys: Any, counts: Any, limits: Any, thresholds: Any) -> None:
    """Offer a tile of scores to the reservoirs of its candidates.

    A reservoir holds every entry offered so far that may be among the ``need`` highest; without doubt,
    after ``finish``, exactly these, of equal scores those of the highest positions. Neither depends on
    the order in which tiles come.

    Args:
        tile: (rows, n) float32 scores of the candidates with n consecutive references.
        first: position in the index of the first column of ``tile``.
        need: (rows,) int64, how many of the highest must not be missed; 1 to half the capacity.
        doubt: (rows, 1) float32, by how much scores may be off.
        keys: (rows, capacity) int64, written: the entries, each a score and a position in one number.
        counts: (rows,) int64, how many entries each reservoir holds, or ``OVERFLOW``; written.
        limits: (rows,) int64, the count at which a reservoir is looked through, above ``need``; written.
        thresholds: (rows,) float32, what the need-th highest is at least; at first -inf; written.
    """
    rows, reached = np.arange(len(tile)), np.empty(_CHUNK, np.int32)
    _offer(
        tile, 0, tile.shape[1], None, first, rows, len(rows), None,
        need, doubt, None, keys, counts, limits, thresholds, reached,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _multiply_slab(
    candidates: Any,
    rows: Any,
    at: int,
    count: int,
    vectors: Any,
    starts: Any,
    slab: int,
    last: int,
    some: Any,
    products: Any,
) -> None:
    """Products of ``count`` candidates, rows[at:], with groups of references from ``slab`` up to position ``last``."""
    for row in range(ROWS):
        some[row] = rows[at + min(row, count - 1)]
    for group in range(slab, -(-last // LANES), GROUPS):
        multiply(candidates, some, vectors, starts, group, products, (group - slab) * LANES)


@njit(cache=True, nogil=True)
def collect_products(
    candidates: Any, rows: Any, row_ends: Any, vectors: Any, starts: Any, steps: Any, ends: Any,
    need: Any, doubt: Any, widths: Any, keys: Any, counts: Any, limits: Any, thresholds: Any,
) -> None:  # fmt: skip
    """Multiply int8 vectors, list by list, and offer the products to the reservoirs of the candidates, see ``collect``.

    Args:
        candidates: (rows, 4 * quads) uint8 vectors, 128 added to each coordinate.
        rows: (any,) int64, the candidates that look into each list, list after list.
        row_ends: (lists + 1,) int64, 0 and where in ``rows`` each list ends.
        vectors: (groups, quads, LANES * 4) int8 references, ``LANES`` side by side, four coordinates at a time.
        starts: (groups, LANES) int32, what is added to products: it takes the 128 out again.
        steps: (groups * LANES,) float32, what one of a product is worth with each reference.
        ends: (lists + 1,) int64, 0 and the position after the last reference of each list.
        need: as ``collect``.
        doubt: (rows, 2) float32, the candidates' part of the bound on a score's error, see the module.
        widths: (references, 2) float32, the references' part of it; None where ``doubt`` (rows, 1) is the bound.
        keys: as ``collect``.
        counts: as ``collect``.
        limits: as ``collect``.
        thresholds: as ``collect``.
    """
    products = np.empty((ROWS, (_SLAB_GROUPS + GROUPS) * LANES), np.int32)
    some, reached, widest = np.empty(ROWS, np.int64), np.empty(_CHUNK, np.int32), np.empty((1, 2), np.float32)
    for number in range(len(ends) - 1):
        first, last = ends[number], ends[number + 1]
        for slab in range(first // LANES, -(-last // LANES), _SLAB_GROUPS):
            begin, end = max(first, slab * LANES), min(last, (slab + _SLAB_GROUPS) * LANES)
            if widths is not None:
                for axis in range(2):
                    widest[0, axis] = widths[begin:end, axis].max()
            for at in range(row_ends[number], row_ends[number + 1], ROWS):
                count = min(ROWS, row_ends[number + 1] - at)
                _multiply_slab(candidates, rows, at, count, vectors, starts, slab, end, some, products)
                _offer(
                    products, begin - slab * LANES, end - begin, steps, begin, some, count,
                    None if widths is None else widest,
                    need, doubt, widths, keys, counts, limits, thresholds, reached,
                )  # fmt: skip


@njit(cache=True, nogil=True)
def choose_lists(candidates: Any, lists: int, vectors: Any, starts: Any, steps: Any, thresholds: Any) -> Any:
    """Which candidates look into which list: those whose product with it reaches the candidate's threshold.

    Args:
        candidates: as ``collect_products``.
        lists: how many there are.
        vectors: (groups, quads, LANES * 4) int8 vectors of the lists, as those of references.
        starts: as ``collect_products``.
        steps: (groups * LANES,) float32, what one of a product is worth with each list.
        thresholds: (rows,) float32, what a score must reach.

    Returns:
        ``(looking, ends)``: int64 candidates, ascending within a list, list after list; (lists + 1,) int64, 0 and
        where in ``looking`` each list ends.
    """
    products = np.empty((ROWS, (_SLAB_GROUPS + GROUPS) * LANES), np.int32)
    some, numbers, reached = np.empty(ROWS, np.int64), np.arange(len(candidates)), np.empty(lists, np.int32)
    chosen, ends, count = np.empty((1024, 2), np.int32), np.zeros(lists + 1, np.int64), 0
    for slab in range(0, -(-lists // LANES), _SLAB_GROUPS):
        first, last = slab * LANES, min(lists, (slab + _SLAB_GROUPS) * LANES)
        for at in range(0, len(candidates), ROWS):
            rows = min(ROWS, len(candidates) - at)
            _multiply_slab(candidates, numbers, at, rows, vectors, starts, slab, last, some, products)
            for row in range(rows):
                hits = 0
                for column in range(0, last - first, LANES):
                    lanes = lanes_at_least(products, row, column, steps, first + column, thresholds[at + row])
                    if column + LANES > last - first:
                        lanes &= np.uint32((1 << (last - first - column)) - 1)
                    if lanes:
                        hits += append_lanes(reached, hits, column, lanes)
                if count + hits > len(chosen):
                    chosen = np.concatenate((chosen, np.empty((len(chosen) + hits, 2), np.int32)))
                for hit in range(hits):
                    chosen[count, 0], chosen[count, 1] = first + reached[hit], at + row
                    ends[first + reached[hit] + 1] += 1
                    count += 1
    ends = np.cumsum(ends)
    looking, after = np.empty(count, np.int64), ends[:-1].copy()
    for at in range(count):
        looking[after[chosen[at, 0]]] = chosen[at, 1]
        after[chosen[at, 0]] += 1
    return looking, ends


@njit(cache=True, nogil=True)
def finish(need: Any, doubt: Any, widths: Any, keys: Any, counts: Any, thresholds: Any) -> None:
    """Shrink every reservoir to what may be among its ``need`` highest, of which these come first.

    A row that began with a threshold which fewer reach has missed some of them and becomes ``TOO_FEW``.
    """
    for row in range(len(counts)):
        low, reached = to_key(thresholds[row], np.int64(0)), 0
        for at in range(counts[row]):
            reached += keys[row, at] >= low
        if reached < need[row]:
            counts[row] = TOO_FEW if counts[row] != OVERFLOW and thresholds[row] > -np.inf else counts[row]
        elif counts[row] > need[row]:
            least, highest = _lower_bound(keys, row, counts[row], need[row], need[row], low), 0
            for at in range(counts[row]):
                key = keys[row, at]
                keys[row, at] = keys[row, highest]
                keys[row, highest] = key
                highest += key >= least
            least = keys[row, :highest].min()
            thresholds[row] = score_of(least)
            counts[row] = _keep_reaching(keys, row, highest, counts[row], least, doubt, widths)


@njit(cache=True, nogil=True)
def tighten(need: Any, doubt: Any, widths: Any, keys: Any, counts: Any, thresholds: Any) -> None:
    """Drop from finished reservoirs what stays below what the need-th highest is now known to be at least."""
    for row in range(len(counts)):
        if counts[row] > need[row]:
            least = to_key(thresholds[row], np.int64(0))
            counts[row] = _keep_reaching(keys, row, need[row], counts[row], least, doubt, widths)


@njit(cache=True, nogil=True, fastmath=True)
def score_kept(candidates: Any, references: Any, positions: Any, begins: Any, ends: Any, scores: Any) -> None:
    """Exact scores of what was kept, rounded once to float32.

    Vectors on the grid of ``vectors`` have exact float64 inner products in any order of summation,
    so the compiler may reorder freely. Eight references at a time keep the memory busy.

    Args:
        candidates: (rows, dim) float32 vectors of the candidates.
        references: (any, dim) float32 vectors of the references.
        positions: (rows, capacity) int64 positions in ``references``.
        begins: (rows,) int64, the first of each row's positions that is scored.
        ends: (rows,) int64, where those that are scored end.
        scores: (rows, at least max ends) float32, to which the exact scores are written.
    """
    dim = candidates.shape[1]
    for row in range(len(candidates)):
        candidate = candidates[row].astype(np.float64)
        last = ends[row] - 1
        for at in range(begins[row], ends[row], 8):
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
