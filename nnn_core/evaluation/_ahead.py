"""The inner loops of ``_counting.count_ahead``: float32 dismisses what is clear, float64 decides the rest.

With d, by how much a candidate's score without bias is above a target's, and e, by how much its mean over k is, the
candidate leads at (k, alpha) by d - alpha e. That is linear in alpha, so the lowest and the highest lead over all
points follow from the lowest and the highest e over all k; most candidates are ahead of a target nowhere or everywhere.

Compiled by numba on first use and kept on disk. None of the loops needs Python's lock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def count_tile(
    scores: Any, means: Any, alphas: Any, starts: Any, query: Any, plain: Any, own: Any, wanted: Any, margin: Any,
    queries: Any, candidates: Any, order: Any, before: Any, counts: Any,
) -> None:  # fmt: skip
    """Add, for each target and point, the number of candidates of a tile that are ahead.

    Args:
        scores: (queries, n) float32 scores without bias of n candidates.
        means: (columns, n) float32 means of the candidates.
        alphas: (points,) float64 weights, those of the first column's points first.
        starts: (columns + 1,) int64, where the points of each column start, and where the last end.
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
    n = scores.shape[1]
    low, high = np.empty(n, np.float32), np.empty(n, np.float32)
    leads, steps, near = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    decided, exact = np.empty(n, np.bool_), np.empty(n)
    kept = np.empty(n + 1, np.uint64)  # without a sign: what could be negative is looked at before each use
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
        for column in range(len(means)):
            for at in range(left):
                steps[at] = means[column, kept[at]] - own[target, column]
            first, last = starts[column], starts[column + 1]
            _count_leads(leads, steps, left, weights, first, last, margin, counts[target], near)
            for at in range(left):
                if near[at] <= margin:
                    row = kept[at]
                    if np.isnan(exact[at]):
                        exact[at] = _exact_score(asked, candidates[row])
                    for point in range(first, last):
                        lead = leads[at] - weights[point] * steps[at]
                        if abs(lead) <= margin:
                            bias = np.float32(alphas[point] * np.float64(means[column, row]))
                            score, goal_here = exact[at] - np.float64(bias), wanted[target, point]
                            earlier = (score == goal_here) & (order[row] < before[target])
                            counts[target, point] += (score > goal_here) | earlier


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


@njit(cache=True, nogil=True)
def _count_leads(
    leads: Any, steps: Any, count: Any, alphas: Any, first: Any, last: Any, margin: Any, counts: Any, near: Any
) -> None:
    """Add, for each alpha from first to last, how many lead by more than the margin; write how near each is to a tie.

    All alphas at once, because numba counts references to each array at every call.
    """
    near[:count] = np.float32(np.inf)
    fours = first + (last - first) // 4 * 4
    for point in range(first, fours, 4):
        # Four alphas at once, so that leads and steps are read a quarter as often.
        alpha, beta, gamma, delta = alphas[point], alphas[point + 1], alphas[point + 2], alphas[point + 3]
        above_a = above_b = above_c = above_d = np.int32(0)
        for at in range(count):
            lead, step = leads[at], steps[at]
            a, b, c, d = lead - alpha * step, lead - beta * step, lead - gamma * step, lead - delta * step
            above_a = np.int32(above_a + (a > margin))
            above_b = np.int32(above_b + (b > margin))
            above_c = np.int32(above_c + (c > margin))
            above_d = np.int32(above_d + (d > margin))
            near[at] = min(near[at], min(min(abs(a), abs(b)), min(abs(c), abs(d))))
        counts[point] += above_a
        counts[point + 1] += above_b
        counts[point + 2] += above_c
        counts[point + 3] += above_d
    for point in range(fours, last):
        alpha, above = alphas[point], np.int32(0)
        for at in range(count):
            lead = leads[at] - alpha * steps[at]
            above = np.int32(above + (lead > margin))
            near[at] = min(near[at], abs(lead))
        counts[point] += above


@njit(cache=True, nogil=True, fastmath=True)
def _exact_score(query: Any, candidate: Any) -> Any:
    """Inner product of two vectors on the grid of ``vectors``, exact in any order of summation."""
    score = 0.0
    for axis in range(len(query)):
        score += query[axis] * np.float64(candidate[axis])
    return score
