"""How evenly an attribute's values share the first places, before and after a correction.

What is measured here is measured on these queries and this attribute; nothing is promised for others, and an
even share is a fact about rankings, not a proof of fairness. Per query and cut n, of the first n candidates:

- ``bias@n`` of two values a and b: (n_a - n_b) / (n_a + n_b), 0 if neither occurs; and its absolute value, so
  that queries that lean to opposite sides do not cancel. Hall et al., "VisoGender", NeurIPS 2023, as in Wang et
  al., "Are Gender-Neutral Queries Really Gender-Neutral?", EMNLP 2021. Of an attribute with more values every
  pair is measured: 0 is then parity, which it is not of one value against all others.
- ``max_skew@n``: the largest ln(observed share / desired share) of a value; a value that does not occur has
  skew -inf and is never the largest (VisoGender's code takes 1 / n for its share). Geyik et al., "Fairness-Aware
  Ranking in Search & Recommendation Systems with Application to LinkedIn Talent Search", KDD 2019.
- ``ndkl@n``: the sum over i = 1 ... n of KL(shares in the first i || desired shares) / log2(i + 1), over that of
  1 / log2(i + 1). Geyik et al. 2019.
- ``average_precision@n``: the sum of the precisions at relevant candidates, over the lesser of n and their
  number; and ``recall@n``: the share of a query's relevant candidates that is found.

A candidate without a value takes its place in the first n, but shares are among those with one; where there is
none, bias and skew and the prefix's KL are 0. Ties do not arise:
rankings are ordered, equal scores by id. Whether a query ranks all candidates or those of its group only is up to
whoever makes the ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnn_core.evaluation.ranks import Counts, Doubles


@dataclass(frozen=True)
class Attribute:
    """One value of each candidate, or none.

    Attributes:
        values: values of the attribute that occur, in order.
        codes: (candidates,) int64, index of each candidate's value in ``values``; -1 for none.
        shares: (values,) float64 share of each value among the candidates of the index that have one.
    """

    values: tuple[str, ...]
    codes: Counts
    shares: Doubles


@dataclass(frozen=True)
class Shares:
    """How often each value occurs in every prefix of every ranking.

    Attributes:
        values: values of the attribute, in the order of the last axis of ``counts``.
        counts: (queries, depth, values) int64, how often each value occurs up to each depth.
    """

    values: tuple[str, ...]
    counts: Counts

    @classmethod
    def of(cls, ranking: Counts, attribute: Attribute) -> Shares:
        """Of ``ranking`` (queries, depth): candidate positions, best first, -1 where there are no more."""
        codes = np.where(ranking >= 0, attribute.codes[ranking], -1)
        met = codes[:, :, None] == np.arange(len(attribute.values))
        return cls(attribute.values, np.cumsum(met, axis=1, dtype=np.int64))

    def bias(self, cut: int, one: str, other: str) -> Doubles:
        """(queries,) in [-1, 1]; above 0 where ``one`` is more frequent."""
        a, b = (self.counts[:, cut - 1, self.values.index(value)] for value in (one, other))
        return np.asarray((a - b) / np.maximum(a + b, 1), np.float64)

    def max_skew(self, cut: int, desired: Doubles) -> Doubles:
        """(queries,) against the ``desired`` share of each value, (values,)."""
        counts = self.counts[:, cut - 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            skews = np.log(counts / counts.sum(axis=1, keepdims=True) / desired)
        highest = np.where(counts > 0, skews, -np.inf).max(axis=1)
        return np.where(np.isneginf(highest), 0.0, highest)

    def ndkl(self, cut: int, desired: Doubles) -> Doubles:
        """(queries,) at least 0, against the ``desired`` share of each value, (values,)."""
        counts = self.counts[:, :cut]
        observed = counts / np.maximum(counts.sum(axis=2, keepdims=True), 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(counts > 0, observed * np.log(observed / desired), 0.0)
        weights = 1.0 / np.log2(np.arange(cut) + 2.0)
        return np.asarray(terms.sum(axis=2) @ weights / weights.sum(), np.float64)


def precision_and_recall(ranking: Counts, relevant: Sequence[set[int]], cut: int) -> tuple[Doubles, Doubles]:
    """(queries,) average precision and recall of each query, which has a relevant candidate, in the first ``cut``."""
    sizes = np.array([len(each) for each in relevant])
    hits = np.stack([np.isin(row, list(each)) for row, each in zip(ranking[:, :cut], relevant, strict=True)])
    precisions = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (hits * precisions).sum(axis=1) / np.minimum(sizes, cut), hits.sum(axis=1) / sizes
