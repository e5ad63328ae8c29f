"""Retrieval quality and hubness of a ranking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]


def first_relevant_ranks(ranking: Positions, relevant: Sequence[set[int]]) -> Positions:
    """Rank, from 1, of each query's first relevant candidate; 0 where none is in the ranking.

    Args:
        ranking: (queries, depth) candidate positions, best first.
        relevant: for each query the positions that answer it.
    """
    ranks = np.zeros(len(ranking), np.int64)
    for query, (row, answers) in enumerate(zip(ranking, relevant, strict=True)):
        hits = np.flatnonzero(np.isin(row, list(answers)))
        ranks[query] = hits[0] + 1 if len(hits) else 0
    return ranks


def recall_at(ranks: Positions, n: int) -> float:
    """Share of queries with a relevant candidate among the first n (recall@n, also called hit rate)."""
    return float(((ranks > 0) & (ranks <= n)).mean())


def mean_reciprocal_rank(ranks: Positions) -> float:
    """Mean of 1 / rank, 0 for queries without a hit."""
    return float(np.divide(1.0, ranks, where=ranks > 0, out=np.zeros(len(ranks))).mean())


def k_occurrence(ranking: Positions, candidates: int, n: int = 10) -> Positions:
    """N_n: how often each candidate is among the first n of a query: (candidates,) int64.

    Radovanovic et al., "Hubs in Space", JMLR 11 (2010).
    """
    return np.bincount(ranking[:, :n].ravel(), minlength=candidates).astype(np.int64)


def top_overlap(before: Iterable[Iterable[object]], after: Iterable[Iterable[object]], n: int = 10) -> float:
    """Mean of ``top_shares`` over queries."""
    return float(np.mean(top_shares(before, after, n)))


def top_shares(before: Iterable[Iterable[object]], after: Iterable[Iterable[object]], n: int = 10) -> list[float]:
    """For each query the share of the first n that two rankings have in common.

    Args:
        before: for each query its candidates (ids or positions), best first.
        after: the same queries'.
        n: a query with fewer candidates is held to what it has.
    """
    pairs = [({*islice(one, n)}, {*islice(other, n)}) for one, other in zip(before, after, strict=True)]
    return [len(one & other) / max(len(one), len(other), 1) for one, other in pairs]


def skewness(values: npt.NDArray[np.integer]) -> float:
    """Third standardised moment; the usual measure of hubness when taken of N_n. 0 without spread."""
    centred = values - values.mean()
    spread = np.sqrt((centred**2).mean())
    return float((centred**3).mean() / spread**3) if spread > 0 else 0.0


def gini(counts: npt.NDArray[np.integer]) -> float:
    """Gini index: 0 where all are equal, (n - 1) / n where one of n has everything; 0 for all zero.

    Half the mean absolute difference of two draws over their mean. Gini, "Variabilità e mutabilità" (1912).
    """
    ordered, total = np.sort(counts).astype(np.float64), float(counts.sum())
    weights = 2.0 * np.arange(1, len(ordered) + 1) - len(ordered) - 1.0
    return float(weights @ ordered) / (len(ordered) * total) if total > 0 else 0.0


def robin_hood(counts: npt.NDArray[np.integer]) -> float:
    """Share of the total that would have to move for all to be equal; 0 for all zero.

    Hoover, "The Measurement of Industrial Localization", Review of Economics and Statistics 18 (1936); of
    N_n in Feldbauer et al., "Fast Approximate Hubness Reduction for Large High-Dimensional Data", ICBK 2018.
    """
    total = float(counts.sum())
    return float(np.abs(counts - counts.mean()).sum()) / (2.0 * total) if total > 0 else 0.0


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
        relevant: for each query the positions that answer it.
        candidates: size of the index.
    """
    ranks = first_relevant_ranks(ranking, relevant)
    occurrence = k_occurrence(ranking, candidates)
    return {
        "recall@1": recall_at(ranks, 1),
        "recall@5": recall_at(ranks, 5),
        "recall@10": recall_at(ranks, 10),
        "mrr": mean_reciprocal_rank(ranks),
        "skewness@10": skewness(occurrence),
        "never_retrieved": float((occurrence == 0).mean()),
    }
