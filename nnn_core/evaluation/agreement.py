"""Agreement: whether a bank is of the queries' domain, which needs queries and no answers.

A bank corrects what it sees: candidates that lie near to all of its references. These should be the candidates
that lie near to all live queries. So the agreement is the correlation, over candidates, of

    x: the similarity to the mean vector of the bank  and  y: the mean similarity to the queries,

where a query does not count for the candidates that answer it. Banks of the same domain are near 1, others near 0.

The mean over a few queries varies by their choice, which lowers a correlation however well the bank fits. Two halves
of the queries tell by how much: what they have in common, cov(y1, y2), is the variance that is left of y with
endless queries, so that (Spearman, The Proof and Measurement of Association between Two Things, 1904)

    agreement = cov(x, y) / sqrt(var(x) cov(y1, y2)),   y = (y1 + y2) / 2.

Where less than half of the variance of y is common to the halves, there are too few queries to tell, or no hubs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nnn_core.vectors import FloatMatrix

#: (4, 4) sums over candidates of the products of 1, x, y1 and y2; those of parts add up.
Moments = npt.NDArray[np.float64]

#: Those of no candidates.
NO_MOMENTS: Moments = np.zeros((4, 4))

_LEAST_COMMON = 0.5


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
        (4, 4) float64.
    """
    wide, asked = candidates.astype(np.float64), queries.astype(np.float64)
    near = np.stack([wide @ asked[half::2].sum(axis=0) for half in (0, 1)])
    others = np.repeat([[len(asked[half::2])] for half in (0, 1)], len(wide), axis=1)
    rows: Mapping[str, int] = {name: row for row, name in enumerate(ids)}
    for query, names in enumerate(relevant):
        for row in (rows[name] for name in names if name in rows):
            near[query % 2, row] -= wide[row] @ asked[query]
            others[query % 2, row] -= 1
    known = (others > 0).all(axis=0)
    columns = np.stack([np.ones(known.sum()), (wide @ bank)[known], *(near[:, known] / others[:, known])])
    moments: Moments = columns @ columns.T
    return moments


def agreement_of(moments: Moments) -> float | None:
    """The agreement, -1 to 1, to four digits; None where the queries are too few to tell, or nothing varies."""
    rows = moments[0, 0]
    if rows < 2:
        return None
    covariance = moments[1:, 1:] - np.outer(moments[0, 1:], moments[0, 1:]) / rows
    # What does not vary leaves rounding errors, which must not pass for a correlation.
    if (np.diag(covariance) <= 1e-12 * np.diag(moments)[1:]).any():
        return None
    common, whole = covariance[1, 2], covariance[1:, 1:].mean()
    if common < _LEAST_COMMON * whole:
        return None
    found = covariance[0, 1:].mean() / np.sqrt(covariance[0, 0] * common)
    return round(float(np.clip(found, -1.0, 1.0)), 4)
