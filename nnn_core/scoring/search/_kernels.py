"""The inner loops of every search: collect what may be among the highest, then score it exactly.

A search scores a tile of candidates against a slab of references with a matrix product in some
cheap arithmetic. ``collect`` keeps, for each candidate, the entries that may still be among its
``need`` highest: all whose score, at best, reaches what the need-th highest is at least. What it keeps
fits a small reservoir, so the scores are looked at once, in the cache, and most are dismissed sixteen
at a time by one comparison. ``score_kept`` then computes the exact scores of the few that are left.

A score may be off by at most ``doubt``, a number for each candidate; what is kept of an entry is the lowest that
its score may be. ``collect_near`` knows better bounds, for each candidate and reference, and takes the exact score of
an entry at once, while the reference is in the cache: nothing that it keeps is in doubt.

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
    lanes_at_least,
    lowest_lane,
    multiply,
    score_of,
    to_key,
)

_ALL_LANES = np.uint32((1 << LANES) - 1)

#: Scores of a candidate that are compared before those that reached the threshold raise it.
_CHUNK = 8 * LANES

#: References, in vectors of lanes, whose products with a few candidates are in memory at a time.
_SLAB_GROUPS = 60

#: Count of a row whose reservoir overflowed: it must be searched in another way.
OVERFLOW = -1


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
def _keep_reaching(keys: Any, row: int, first: int, count: int, least: int, doubt: Any) -> int:
    """Drop from keys[row, first:count] what is below ``least``, however high its score may be: how many are left."""
    threshold, width = score_of(least), np.float32(2.0) * doubt[row, 0]
    for at in range(first, count):
        key = keys[row, at]
        keys[row, first] = key
        # An entry that is at best as high as the need-th is not needed, unless it is one of these.
        first += (key >= least) | (score_of(key) + width > threshold)
    return first


@njit(cache=True, nogil=True)
def _look_through(keys: Any, row: int, count: int, need: Any, threshold: Any, doubt: Any) -> Any:
    """Drop from keys[row, :count] what cannot be among the highest: how many are left, and the new threshold."""
    least = _lower_bound(keys, row, count, need[row], need[row] + need[row] // 8, to_key(threshold, np.int64(0)))
    return _keep_reaching(keys, row, 0, count, least, doubt), score_of(least)


@njit(cache=True, nogil=True)
def _find_reaching(
    tile: Any, row: int, left: int, begin: int, end: int, steps: Any, first: int, least: Any, reached: Any
) -> int:
    """Write to ``reached`` which columns from ``begin`` to ``end`` of tile[row, left:] reach ``least``: how many do."""
    hits = 0
    for column in range(begin, end, LANES):
        # Products and steps go on behind what counts of them, scores do not.
        lanes = _ALL_LANES
        if steps is not None or column + LANES <= end:
            lanes = lanes_at_least(tile, row, left + column, steps, first + column, least)
        if column + LANES > end:
            lanes &= np.uint32((1 << (end - column)) - 1)
        while lanes:
            reached[hits] = column + lowest_lane(lanes)
            lanes &= lanes - np.uint32(1)
            hits += 1
    return hits


@njit(cache=True, nogil=True)
def _offer(
    tile: Any, left: int, columns: int, steps: Any, first: int, rows: Any, count_rows: int,
    need: Any, doubt: Any, keys: Any, counts: Any, limits: Any, thresholds: Any, reached: Any,
) -> None:  # fmt: skip
    """Offer tile[:, left : left + columns], whose first column is of position ``first``, to the reservoirs ``rows``.

    numba counts references to each array at every call, which takes as long as looking at a short row: hence many rows.
    """
    capacity = keys.shape[1]
    for row in range(count_rows):
        own = rows[row]
        count, threshold, bound = counts[own], thresholds[own], doubt[own, 0]
        begin = 0
        while begin < columns and count != OVERFLOW:
            end = min(begin + _CHUNK, columns)
            for hit in range(_find_reaching(tile, row, left, begin, end, steps, first, threshold - bound, reached)):
                at = np.int64(reached[hit])
                score = _score(tile[row, left + at], steps, first + at)
                keys[own, count] = to_key(score - bound, first + at)
                count += score + bound >= threshold
                if count == limits[own]:
                    count, threshold = _look_through(keys, own, count, need, threshold, doubt)
                    limits[own] = min(max(limits[own], 2 * count), capacity)
                    if count > capacity - capacity // 4:
                        count = OVERFLOW
                        break
            begin = end
        counts[own], thresholds[own] = count, threshold


@njit(cache=True, nogil=True, fastmath=True)
def _score_row(candidate: Any, references: Any, positions: Any, begin: int, end: int, scores: Any) -> None:
    """Write to ``scores`` the exact ones of a candidate with references[positions[begin:end]], rounded once to float32.

    Vectors on the grid of ``vectors`` have exact float64 inner products in any order of summation,
    so the compiler may reorder freely. Eight references at a time keep the memory busy.
    """
    last = end - 1
    for at in range(begin, end, 8):
        r0, r1 = references[positions[at]], references[positions[min(at + 1, last)]]
        r2, r3 = references[positions[min(at + 2, last)]], references[positions[min(at + 3, last)]]
        r4, r5 = references[positions[min(at + 4, last)]], references[positions[min(at + 5, last)]]
        r6, r7 = references[positions[min(at + 6, last)]], references[positions[min(at + 7, last)]]
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
        for axis in range(len(candidate)):
            value = np.float64(candidate[axis])
            s0 += value * np.float64(r0[axis])
            s1 += value * np.float64(r1[axis])
            s2 += value * np.float64(r2[axis])
            s3 += value * np.float64(r3[axis])
            s4 += value * np.float64(r4[axis])
            s5 += value * np.float64(r5[axis])
            s6 += value * np.float64(r6[axis])
            s7 += value * np.float64(r7[axis])
        scores[at] = s0
        scores[min(at + 1, last)] = s1
        scores[min(at + 2, last)] = s2
        scores[min(at + 3, last)] = s3
        scores[min(at + 4, last)] = s4
        scores[min(at + 5, last)] = s5
        scores[min(at + 6, last)] = s6
        scores[min(at + 7, last)] = s7


@njit(cache=True, nogil=True)
def _in_steps(score: Any, shift: Any, step: Any) -> Any:
    """What a product is at least, bounds apart, where the exact score, rounded to float32, is at least ``score``.

    Rounded to float32 a score up to 1 may be above the exact one by 2**-25, and float64 loses less than that again.
    """
    return np.float32((np.float64(score) - 2.0**-24 - shift) / step)


@njit(cache=True, nogil=True)
def _offer_near(
    products: Any, columns: int, steps: Any, first: int, rows: Any, count_rows: int, widest: Any,
    doubt: Any, widths: Any, shifts: Any, units: Any, candidates: Any, references: Any, positions: Any, most: int,
    need: Any, certain: Any, keys: Any, counts: Any, limits: Any, thresholds: Any, scored: Any,
    reached: Any, chosen: Any, places: Any, scores: Any,
) -> None:  # fmt: skip
    """Offer the exact scores of what products[:, :columns] do not dismiss to the reservoirs ``rows``."""
    for row in range(count_rows):
        own = rows[row]
        if counts[own] == OVERFLOW:
            continue
        count, threshold, tried = counts[own], thresholds[own], scored[own]
        least = _in_steps(threshold, shifts[own], units[own])
        furthest = doubt[own, 0] * widest[0] + doubt[own, 1] * widest[1]
        near = 0
        for hit in range(_find_reaching(products, row, 0, 0, columns, steps, first, least - furthest, reached)):
            place = first + np.int64(reached[hit])
            bound = doubt[own, 0] * widths[place, 0] + doubt[own, 1] * widths[place, 1]
            chosen[near], places[near] = positions[place], place
            near += _score(products[row, place - first], steps, place) + bound >= least
        _score_row(candidates[own], references, chosen, 0, near, scores)
        for hit in range(near):
            score = scores[hit] + np.float32(0.0)  # of two zeros only one has a place among keys
            if score >= threshold:
                keys[own, count] = to_key(score, places[hit])
                count += 1
                if count == limits[own]:
                    count, threshold = _look_through(keys, own, count, need, threshold, certain)
        tried += near
        if tried > most:
            count = OVERFLOW
        counts[own], thresholds[own], scored[own] = count, threshold, tried


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
        doubt: (rows, 1) float32, by how much scores may be off, see the module.
        keys: (rows, capacity) int64, written: the entries, each a score and a position in one number.
        counts: (rows,) int64, how many entries each reservoir holds, or ``OVERFLOW``; written.
        limits: (rows,) int64, the count at which a reservoir is looked through, above ``need``; written.
        thresholds: (rows,) float32, what the need-th highest is at least; written. At first -inf; or a guess, and where
            it is too high, fewer than ``need`` entries are left in the end.
    """
    rows, reached = np.arange(len(tile)), np.empty(_CHUNK, np.int32)
    _offer(tile, 0, tile.shape[1], None, first, rows, len(rows), need, doubt, keys, counts, limits, thresholds, reached)


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
    need: Any, doubt: Any, keys: Any, counts: Any, limits: Any, thresholds: Any,
) -> None:  # fmt: skip
    """Multiply int8 vectors, list by list, and offer the products to the reservoirs of the candidates, see ``collect``.

    Args:
        candidates: (rows, 4 * quads) uint8 vectors, to each coordinate of which a number was added that makes it
            positive.
        rows: (any,) int64, the candidates that look into each list, list after list.
        row_ends: (lists + 1,) int64, 0 and where in ``rows`` each list ends.
        vectors: (groups, quads, LANES * 4) int8 references, ``LANES`` side by side, four coordinates at a time.
        starts: (groups, any, LANES) int32, what sums of products begin with: it takes that number out again. One for
            all coordinates, or a pair of int16 for each ``PAIRED`` coordinates, see ``_lanes``.
        steps: (groups * LANES + LANES,) float32, what one of a product is worth with each reference.
        ends: (lists + 1,) int64, 0 and the position after the last reference of each list.
        need: as ``collect``.
        doubt: as ``collect``.
        keys: as ``collect``.
        counts: as ``collect``.
        limits: as ``collect``.
        thresholds: as ``collect``.
    """
    products = np.empty((ROWS, (_SLAB_GROUPS + GROUPS) * LANES), np.int32)
    some, reached = np.empty(ROWS, np.int64), np.empty(_CHUNK, np.int32)
    for number in range(len(ends) - 1):
        first, last = ends[number], ends[number + 1]
        for slab in range(first // LANES, -(-last // LANES), _SLAB_GROUPS):
            begin, end = max(first, slab * LANES), min(last, (slab + _SLAB_GROUPS) * LANES)
            for at in range(row_ends[number], row_ends[number + 1], ROWS):
                count = min(ROWS, row_ends[number + 1] - at)
                _multiply_slab(candidates, rows, at, count, vectors, starts, slab, end, some, products)
                _offer(
                    products, begin - slab * LANES, end - begin, steps, begin, some, count,
                    need, doubt, keys, counts, limits, thresholds, reached,
                )  # fmt: skip


@njit(cache=True, nogil=True)
def collect_near(
    candidates: Any, vectors: Any, starts: Any, steps: Any, doubt: Any, widths: Any, shifts: Any, units: Any,
    exact_candidates: Any, exact_references: Any, positions: Any, most: int,
    need: Any, certain: Any, keys: Any, counts: Any, limits: Any, thresholds: Any, scored: Any,
) -> None:  # fmt: skip
    """Multiply int8 vectors, score exactly what may be among the highest, and offer the scores to the reservoirs.

    The product of a candidate and a reference, times ``steps`` of the reference, stands for their exact score less
    ``shifts``, in ``units``, and is off by at most ``doubt[0] * widths[0] + doubt[1] * widths[1]``.

    Args:
        candidates: as ``collect_products``.
        vectors: as ``collect_products``.
        starts: as ``collect_products``.
        steps: as ``collect_products``.
        doubt: (rows, 2) float32, the candidates' part of the bound on a product's error.
        widths: (references, 2) float32, the references' part of it.
        shifts: (rows,) float64, what products lack of each candidate's scores.
        units: (rows,) float32, what one of a product, times a step, is worth.
        exact_candidates: (rows, dim) float32 vectors of the candidates.
        exact_references: (any, dim) float32 vectors.
        positions: (references,) int64, position in ``exact_references`` of each int8 reference.
        most: exact scores of a candidate after which it becomes ``OVERFLOW``.
        need: as ``collect``.
        certain: (rows, 1) float32 zeros, by how much exact scores are off.
        keys: as ``collect``, with places among the int8 references.
        counts: as ``collect``.
        limits: as ``collect``, but not written.
        thresholds: as ``collect``.
        scored: (rows,) int64, how many exact scores were computed of each candidate; written.
    """
    products = np.empty((ROWS, (_SLAB_GROUPS + GROUPS) * LANES), np.int32)
    some, widest = np.empty(ROWS, np.int64), np.empty(2, np.float32)
    width, numbers, count_references = _SLAB_GROUPS * LANES, np.arange(len(candidates)), len(positions)
    reached, chosen, places = np.empty(width, np.int32), np.empty(width, np.int64), np.empty(width, np.int64)
    scores = np.empty(width, np.float32)
    for slab in range(0, -(-count_references // LANES), _SLAB_GROUPS):
        first, last = slab * LANES, min(count_references, (slab + _SLAB_GROUPS) * LANES)
        for axis in range(2):
            widest[axis] = widths[first:last, axis].max()
        for at in range(0, len(candidates), ROWS):
            count = min(ROWS, len(candidates) - at)
            _multiply_slab(candidates, numbers, at, count, vectors, starts, slab, last, some, products)
            _offer_near(
                products, last - first, steps, first, some, count, widest,
                doubt, widths, shifts, units, exact_candidates, exact_references, positions, most,
                need, certain, keys, counts, limits, thresholds, scored, reached, chosen, places, scores,
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
                hits = _find_reaching(products, row, 0, 0, last - first, steps, first, thresholds[at + row], reached)
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
def finish(need: Any, doubt: Any, keys: Any, counts: Any, thresholds: Any) -> None:
    """Shrink every reservoir to what may be among its ``need`` highest, of which these come first."""
    for row in range(len(counts)):
        if counts[row] > need[row]:
            low = to_key(thresholds[row], np.int64(0))
            least, highest = _lower_bound(keys, row, counts[row], need[row], need[row], low), 0
            for at in range(counts[row]):
                key = keys[row, at]
                keys[row, at] = keys[row, highest]
                keys[row, highest] = key
                highest += key >= least
            least = keys[row, :highest].min()
            thresholds[row] = score_of(least)
            counts[row] = _keep_reaching(keys, row, highest, counts[row], least, doubt)


@njit(cache=True, nogil=True)
def score_kept(candidates: Any, references: Any, positions: Any, begins: Any, ends: Any, scores: Any) -> None:
    """Exact scores of what was kept, rounded once to float32.

    Args:
        candidates: (rows, dim) float32 vectors of the candidates.
        references: (any, dim) float32 vectors of the references.
        positions: (rows, capacity) int64 positions in ``references``.
        begins: (rows,) int64, the first of each row's positions that is scored.
        ends: (rows,) int64, where those that are scored end.
        scores: (rows, at least max ends) float32, to which the exact scores are written.
    """
    for row in range(len(candidates)):
        _score_row(candidates[row], references, positions[row], begins[row], ends[row], scores[row])


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
