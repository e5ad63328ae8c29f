"""The inner loop of ``rankings``: which candidates may be among the first of a query, by scores in float32.

Compiled by numba on first use and kept on disk. It does not need Python's lock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

#: Candidates of which the highest score is compared first. Few blocks hold one that counts.
_BLOCK = 16


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def select_first(products: Any, bias: Any, depth: Any, slack: Any) -> Any:
    """(query, row) of all scores that are at most ``slack`` below the last of a query's first.

    Args:
        products: (queries, rows) float32 inner products.
        bias: (rows,) float32, what is taken off each candidate's products.
        depth: how many candidates are first.
        slack: float32, by how much two scores may be off together, at most.

    Returns:
        Two int64 arrays, one pair an entry, in order of query and row.
    """
    n = products.shape[1]
    best = np.empty(depth, np.float32)
    query, rows, found = np.empty(n + 64, np.int64), np.empty(n + 64, np.int64), 0
    for number in range(len(products)):
        row = products[number]
        best[:] = -np.inf
        for first in range(0, n, _BLOCK):
            if _highest(row, bias, first) > best[0]:
                for at in range(first, min(first + _BLOCK, n)):
                    score = row[at] - bias[at]
                    if score > best[0]:  # the lowest of the best gives way
                        place = 0
                        while place + 1 < depth and best[place + 1] < score:
                            best[place] = best[place + 1]
                            place += 1
                        best[place] = score
        if found + n > len(rows):
            query, rows = np.append(query, np.empty_like(query)), np.append(rows, np.empty_like(rows))
        least = best[0] - slack
        for first in range(0, n, _BLOCK):
            if _highest(row, bias, first) >= least:
                for at in range(first, min(first + _BLOCK, n)):
                    if row[at] - bias[at] >= least:
                        query[found], rows[found] = number, at
                        found += 1
    return query[:found], rows[:found]


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz"}, inline="always")
def _highest(row: Any, bias: Any, first: Any) -> Any:
    """The highest score of a block; of the last one, which may be short, that it has to be looked at."""
    if first + _BLOCK > len(row):
        return np.float32(np.inf)
    highest = np.float32(-np.inf)
    for at in range(first, first + _BLOCK):
        highest = max(highest, row[at] - bias[at])
    return highest
