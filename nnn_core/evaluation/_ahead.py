"""The inner loops of ``_counting.count_ahead``: float32 decides what is clear, float64 the rest.

With d, by how much a candidate's score without bias is above a target's, and e, by how much its mean over k is, the
candidate leads at (k, alpha) by d - alpha e. That is linear in alpha, so the lowest and the highest lead over all
points follow from the lowest and the highest e over all k; many candidates are ahead of a target nowhere or everywhere.
Any other leads at all alphas below d / e, or above it where e is negative. So one division tells at how many of a run
of alphas it leads, and candidates are counted by that number.

Compiled by numba on first use and kept on disk. None of the loops needs Python's lock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def count_tile(
    scores: Any, means: Any, alphas: Any, runs: Any, steps: Any, query: Any, plain: Any, own: Any, wanted: Any,
    margin: Any, queries: Any, candidates: Any, order: Any, before: Any, counts: Any,
) -> None:  # fmt: skip
    """Add, for each target and point, the number of candidates of a tile that are ahead.

    Args:
        scores: (queries, n) float32 scores without bias of n candidates.
        means: (columns, n) float32 means of the candidates.
        alphas: (points,) float64 weights, run after run.
        runs: (runs, 4) int64: column of the means, first point, number of points, and the first weight in steps.
        steps: (runs,) float32, by how much the weights of a run grow from one point to the next.
        query: (targets,) int64, row of each target's query in ``scores`` and ``queries``.
        plain: (targets,) float64, exact score of each target without bias.
        own: (targets, columns) float32 means of the targets.
        wanted: (targets, points) float64, debiased score of each target at each point.
        margin: float32, how near to 0 a lead in float32 is, at most, where the exact one may have another sign.
        queries: (queries, dim) float32 vectors of the queries.
        candidates: (n, dim) float32 vectors of the candidates.
        order: (n,) int64, place of each candidate in the order of ids.
        before: (targets,) int64; of candidates with equal scores those of a lower place are ahead.
        counts: (targets, points) int64, added to.
    """
    n, most = scores.shape[1], runs[:, 2].max()
    low, high = np.empty(n, np.float32), np.empty(n, np.float32)
    leads, rises = np.empty(n, np.float32), np.empty(n, np.float32)
    decided, exact = np.empty(n, np.bool_), np.empty(n)
    kept = np.empty(n + 1, np.uint64)  # without a sign: what could be negative is looked at before each use
    kinds = np.empty(n, np.uint32)
    tally = np.empty((4, 2 * most + 3), np.int32)
    weights = alphas.astype(np.float32)
    for target in range(len(query)):
        goal = np.float32(plain[target])
        _bound_steps(means, own[target], weights.min(), weights.max(), low, high)
        left, always = _keep_undecided(scores[query[target]], goal, low, high, margin, decided, kept)
        counts[target] += always
        for at in range(left):
            leads[at] = scores[query[target], kept[at]] - goal
        exact[:left] = np.nan
        asked = queries[query[target]].astype(np.float64)
        for run in range(len(runs)):
            column, start, size, first = runs[run]
            for at in range(left):
                rises[at] = means[column, kept[at]] - own[target, column]
            _sort_by_lead(leads, rises, left, steps[run], first, size, margin, kinds)
            _add_up(kinds, left, size, tally, counts[target], start)
            for place in range(4):
                at, near = place, tally[place, 2 * size + 2]
                while near > 0:
                    if kinds[at] == 2 * size + 2:
                        near -= 1
                        row = kept[at]
                        if np.isnan(exact[at]):
                            exact[at] = _exact_score(asked, candidates[row])
                        for point in range(start, start + size):
                            lead = leads[at] - weights[point] * rises[at]
                            if abs(lead) > margin:
                                counts[target, point] += lead > margin
                                continue
                            bias = np.float32(alphas[point] * np.float64(means[column, row]))
                            score, goal_here = exact[at] - np.float64(bias), wanted[target, point]
                            earlier = (score == goal_here) & (order[row] < before[target])
                            counts[target, point] += (score > goal_here) | earlier
                    at += 4


@njit(cache=True, nogil=True)
def _bound_steps(means: Any, own: Any, least: Any, most: Any, low: Any, high: Any) -> None:
    """The lowest and the highest alpha e of each candidate, over all columns and all alphas from least to most."""
    low[:] = np.float32(np.inf)
    high[:] = np.float32(-np.inf)
    fours = len(means) // 4 * 4
    for column in range(0, fours, 4):
        # Four columns at once, so that the bounds are read and written a quarter as often.
        row, other, third, fourth = means[column], means[column + 1], means[column + 2], means[column + 3]
        mean, beside, next_, last = own[column], own[column + 1], own[column + 2], own[column + 3]
        for at in range(len(low)):
            a, b, c, d = row[at] - mean, other[at] - beside, third[at] - next_, fourth[at] - last
            low[at] = min(low[at], min(min(a, b), min(c, d)))
            high[at] = max(high[at], max(max(a, b), max(c, d)))
    for column in range(fours, len(means)):
        row, mean = means[column], own[column]
        for at in range(len(low)):
            step = row[at] - mean
            low[at] = min(low[at], step)
            high[at] = max(high[at], step)
    for at in range(len(low)):
        low[at] = min(least * low[at], most * low[at])
        high[at] = max(least * high[at], most * high[at])


@njit(cache=True, nogil=True)
def _keep_undecided(scores: Any, goal: Any, low: Any, high: Any, margin: Any, decided: Any, kept: Any) -> Any:
    """Write the candidates that may be ahead at some points only; how many, and how many are ahead at all points."""
    always = np.int32(0)
    for at in range(len(scores)):  # apart from the next loop, so that the compiler takes many at a time
        lead = scores[at] - goal
        above = lead > high[at] + margin
        always = np.int32(always + above)
        decided[at] = above | (lead < low[at] - margin)
    left = 0
    for at in range(len(scores)):
        kept[left] = np.uint64(at)  # no branch: what is decided is written over
        left += not decided[at]
    return left, always


@njit(cache=True, nogil=True, error_model="numpy")
def _sort_by_lead(
    leads: Any, rises: Any, count: Any, step: Any, first: Any, size: Any, margin: Any, kinds: Any
) -> None:
    """Write of each candidate at how many alphas of a run, (first + 0, 1, ... size - 1) * step, it leads.

    0 to size: at so many from the first on. size + 1 + (0 to size): at all but so many from the first on. 2 size + 2:
    it is too near to a tie at one of them. Division is off by less than the margin says: the nearest alpha is tried.
    """
    least, most, inverse = np.float32(first), np.float32(size), np.float32(1.0) / step
    last, other, near = least + most - np.float32(1.0), np.int32(size + 1), np.int32(2 * size + 2)
    for at in range(count):
        lead, rise = leads[at], rises[at]
        ratio = lead / rise * inverse
        below = min(max(np.ceil(ratio) - least, np.float32(0.0)), most)
        above = min(max(np.floor(ratio) + np.float32(1.0) - least, np.float32(0.0)), most)
        nearest = min(max(np.rint(ratio), least), last) * step
        kind = np.int32(above) + other if rise < np.float32(0.0) else np.int32(below)
        kinds[at] = kind if abs(lead - nearest * rise) > margin else near


@njit(cache=True, nogil=True)
def _add_up(kinds: Any, count: Any, size: Any, tally: Any, counts: Any, start: Any) -> None:
    """Add to each point of a run how many candidates lead there, but for those that are near a tie.

    They are counted by kind in four places in turn, so that none waits for the one before it; and so that who looks
    for those near a tie need look at every fourth only.
    """
    tally[:] = 0
    fours = count // 4 * 4
    for at in range(0, fours, 4):
        tally[0, kinds[at]] += 1
        tally[1, kinds[at + 1]] += 1
        tally[2, kinds[at + 2]] += 1
        tally[3, kinds[at + 3]] += 1
    for at in range(fours, count):
        tally[at - fours, kinds[at]] += 1
    for kind in range(2 * size + 2):
        tally[0, kind] += tally[1, kind] + tally[2, kind] + tally[3, kind]
    leading = 0
    for kind in range(1, size + 1):
        leading += tally[0, kind]
    for point in range(size):
        leading += tally[0, size + 1 + point]
        counts[start + point] += leading
        leading -= tally[0, point + 1]


@njit(cache=True, nogil=True, fastmath=True)
def _exact_score(query: Any, candidate: Any) -> Any:
    """Inner product of two vectors on the grid of ``vectors``, exact in any order of summation."""
    score = 0.0
    for axis in range(len(query)):
        score += query[axis] * np.float64(candidate[axis])
    return score
