"""How evenly an attribute's values share the first places, before and after a correction, by ``_shares``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnn_core.evaluation._shares import Attribute, Shares, precision_and_recall
from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.ranks import Counts, Doubles

#: Each n of the measures.
CUTS = (5, 6, 10)


@dataclass(frozen=True)
class Figure:
    """A measure before and after, averaged over queries, with 95 % intervals of a paired bootstrap over them.

    Attributes:
        name: name of the measure, such as ``bias@6``.
        values: the two values of the attribute that a bias compares; none for other measures.
        before: mean of the measure over queries, without correction.
        after: mean of the measure over queries, by corrected scores.
        change: mean over queries of the measure after less before the correction.
    """

    name: str
    values: tuple[str, ...]
    before: Interval
    after: Interval
    change: Interval


def _figures(
    ranking: Counts, relevant: Sequence[set[int]], attribute: Attribute, cuts: Sequence[int]
) -> dict[tuple[str, tuple[str, ...]], Doubles]:
    """Every measure of every query: (name, values compared) to (queries,) float64."""
    shares = Shares.of(ranking, attribute)
    found: dict[tuple[str, tuple[str, ...]], Doubles] = {}
    for cut in cuts:
        for values in itertools.combinations(attribute.values, 2):
            found[f"bias@{cut}", values] = shares.bias(cut, *values)
            found[f"absolute_bias@{cut}", values] = np.abs(found[f"bias@{cut}", values])
        found[f"max_skew@{cut}", ()] = shares.max_skew(cut, attribute.shares)
        found[f"ndkl@{cut}", ()] = shares.ndkl(cut, attribute.shares)
        precision, recall = precision_and_recall(ranking, relevant, cut)
        found[f"average_precision@{cut}", ()], found[f"recall@{cut}", ()] = precision, recall
    return found


def _compare_fairness(
    before: Counts, after: Counts, relevant: Sequence[set[int]], attribute: Attribute, cuts: Sequence[int] = CUTS
) -> list[Figure]:
    """Every measure before and after a correction, averaged over queries; a query weighs the same whatever its group.

    Args:
        before: (queries, depth) int64 candidate positions by plain scores, best first, -1 after the last.
        after: (queries, depth) int64 candidate positions by corrected scores, best first, -1 after the last.
        relevant: for each query the positions of the candidates that answer it, at least one.
        attribute: the attribute's value of each candidate, and the shares of the values.
        cuts: each n of the measures, at most depth.
    """
    old, new = (_figures(ranking, relevant, attribute, cuts) for ranking in (before, after))
    return [Figure(*key, *Interval.of_means(np.stack([old[key], new[key], new[key] - old[key]]))) for key in old]
