"""Figures by which rankings are compared, and outliers among values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from nnn_core.evaluation._hubness import skewness

Positions = npt.NDArray[np.int64]


def _first_relevant_ranks(ranking: Positions, relevant: Sequence[set[int]]) -> Positions:
    """Rank, from 1, of each query's first relevant candidate; 0 where none is in the ranking.

    Args:
        ranking: (queries, depth) candidate positions, best first.
        relevant: for each query the positions of the candidates that answer it.
    """
    hits = np.stack([np.isin(row, list(answers)) for row, answers in zip(ranking, relevant, strict=True)])
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)


def top_overlap(before: Iterable[Iterable[object]], after: Iterable[Iterable[object]], n: int = 10) -> float:
    """Mean of ``top_shares`` over queries."""
    return float(np.mean(top_shares(before, after, n)))


def top_shares(before: Iterable[Iterable[object]], after: Iterable[Iterable[object]], n: int = 10) -> list[float]:
    """For each query the share of the first n that two rankings have in common.

    Args:
        before: for each query its candidates in one ranking (ids or positions), best first.
        after: for each query its candidates in a second ranking (ids or positions), best first.
        n: how many first candidates are compared; a query with fewer is held to what it has.
    """
    pairs = [({*islice(one, n)}, {*islice(other, n)}) for one, other in zip(before, after, strict=True)]
    return [len(one & other) / max(len(one), len(other), 1) for one, other in pairs]


#: Beyond which a modified z-score is taken for an outlier (Iglewicz and Hoaglin).
Z_ALARM = 3.5


def robust_z(values: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
    """Distance of each value from the median in robust standard deviations, for alarms above ``Z_ALARM``.

    (x - median) / (1.4826 MAD), MAD the median absolute deviation from the median. Where more than half of the
    values are equal MAD is 0, and 1.2533 times the mean absolute deviation stands in for it; where all are
    equal, 0 is returned. Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993). Empty stays empty.
    """
    if len(values) == 0:
        return np.zeros(0)
    deviations = values.astype(np.float64) - np.median(values)
    scale = 1.4826 * np.median(np.abs(deviations))
    if scale == 0.0:
        scale = 1.2533 * np.abs(deviations).mean()
    return np.asarray(deviations / scale if scale > 0.0 else deviations, np.float64)


def summarise_ranking(ranking: Positions, relevant: Sequence[set[int]], candidates: int) -> dict[str, float]:
    """The figures by which two rankings of the same queries are compared.

    Args:
        ranking: (queries, depth >= 10) candidate positions, best first.
        relevant: for each query the positions of the candidates that answer it.
        candidates: number of candidates in the index.
    """
    ranks, first = _first_relevant_ranks(ranking, relevant), ranking[:, :10]
    found, occurrence = ranks > 0, np.bincount(first.ravel(), minlength=candidates)
    return {
        **{f"recall@{n}": float((found & (ranks <= n)).mean()) for n in (1, 5, 10)},
        "skewness@10": skewness(occurrence),
        "never_retrieved": float((occurrence == 0).mean()),
    }
