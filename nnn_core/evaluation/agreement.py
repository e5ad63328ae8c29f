"""Agreement: whether a bank is of the queries' domain, which needs queries and no answers.

A bank corrects what it sees: candidates that lie near to all of its references. These should be the candidates
that lie near to all live queries. So the agreement is the correlation, over candidates, of

    the similarity to the mean vector of the bank  and  the mean similarity to the queries,

where a query does not count for the candidates that answer it. Related banks are near 1, unrelated ones near 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nnn_core.vectors import FloatMatrix

#: Count of candidates, and sums of x, y, x^2, y^2 and xy over them; those of parts add up.
Moments = npt.NDArray[np.float64]


def moments_of(
    candidates: FloatMatrix,
    ids: Sequence[str],
    bank: npt.NDArray[np.float64],
    queries: FloatMatrix,
    relevant: Sequence[Sequence[str]],
) -> Moments:
    """What one shard of candidates adds.

    Args:
        candidates: (rows, dim) float32 vectors.
        ids: (rows,) ids of the candidates.
        bank: (dim,) mean vector of the bank.
        queries: (queries, dim) float32 vectors.
        relevant: for each query the ids of the candidates that answer it; empty if nobody knows.

    Returns:
        (6,) float64.
    """
    wide, asked = candidates.astype(np.float64), queries.astype(np.float64)
    near_bank, near_queries = wide @ bank, wide @ asked.sum(axis=0)
    others = np.full(len(wide), float(len(asked)))
    rows: Mapping[str, int] = {name: row for row, name in enumerate(ids)}
    for query, names in enumerate(relevant):
        for row in (rows[name] for name in names if name in rows):
            near_queries[row] -= wide[row] @ asked[query]
            others[row] -= 1.0
    known = others > 0.0
    x, y = near_bank[known], near_queries[known] / others[known]
    return np.array([len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y])


def agreement_of(moments: Moments) -> float | None:
    """The correlation, -1 to 1, to four digits; None where one side does not vary."""
    rows, x, y, xx, yy, xy = moments.tolist()
    spread = (rows * xx - x * x) * (rows * yy - y * y)
    # Sums of rows that do not vary leave rounding errors, which must not pass for a correlation.
    if rows < 2 or spread <= 1e-20 * (rows * xx * rows * yy):
        return None
    return round(float((rows * xy - x * y) / np.sqrt(spread)), 4)
