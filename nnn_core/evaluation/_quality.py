"""Retrieval quality of each query, from the ranks of its relevant candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnn_core.evaluation.ranks import Counts, Doubles

CUTS = (1, 5, 10)
_DEPTH = 10


@dataclass(frozen=True)
class Quality:
    """Figures of each query at each point; averages over queries are what is reported.

    Attributes:
        figures: name to (points, queries) float64: ``recall@n`` (1 if a relevant candidate is among the first n),
            ``mrr`` (1 / rank of the first) and ``ndcg@10``.
        first: (points, queries) int64, rank from 1 of each query's first relevant candidate.
    """

    figures: dict[str, Doubles]
    first: Counts


def measure(ranks: Counts, query: Counts, grades: Doubles) -> Quality:
    """Figures of each query.

    Args:
        ranks: (points, pairs) int64 from 1, of every relevant candidate of every query.
        query: (pairs,) int64 ascending, number of each pair's query: 0, 1, ... without a gap.
        grades: (pairs,) float64 above 0, how relevant each pair's candidate is; all 1 if nobody graded.
    """
    starts = np.flatnonzero(np.diff(query, prepend=-1))
    first = np.minimum.reduceat(ranks, starts, axis=1)
    figures = {f"recall@{cut}": (first <= cut).astype(np.float64) for cut in CUTS}
    figures["mrr"] = 1.0 / first
    figures[f"ndcg@{_DEPTH}"] = _ndcg(ranks, query, grades, starts)
    return Quality(figures, first)


def _ndcg(ranks: Counts, query: Counts, grades: Doubles, starts: Counts) -> Doubles:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen, ACM TOIS 20, 2002), gain 2^grade - 1."""
    gains = np.exp2(grades) - 1.0
    discounted = np.where(ranks <= _DEPTH, gains / np.log2(ranks + 1.0), 0.0)
    ideal = np.lexsort((-gains, query))  # each query's relevant candidates, the best first
    place = np.arange(len(query)) - np.repeat(starts, np.diff(np.append(starts, len(query))))
    best = np.where(place < _DEPTH, gains[ideal] / np.log2(place + 2.0), 0.0)
    return np.asarray(np.add.reduceat(discounted, starts, axis=1) / np.add.reduceat(best, starts))
