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
none, bias and skew and the prefix's KL are 0, and ``Shares.without`` counts such queries. Ties do not arise:
rankings are ordered, equal scores by id. Whether a query ranks all candidates or those of its group only is up to
whoever makes the ranking.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.errors import ConfigError, InputError
from nnn_core.evaluation.intervals import Interval, intervals

Doubles = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

CUTS = (5, 6, 10)


@dataclass(frozen=True)
class Attribute:
    """One value of each candidate, or none.

    Attributes:
        values: that occur, in order.
        codes: (candidates,) int64 index into ``values``; -1 for none.
    """

    values: tuple[str, ...]
    codes: Positions

    @classmethod
    def of(cls, names: Sequence[str | None]) -> Attribute:
        """From each candidate's value. Raises InputError if fewer than two values occur."""
        values = tuple(sorted({name for name in names if name}))
        if len(values) < 2:
            raise InputError(f"the attribute has values {values}, so there is nothing to compare; two are needed")
        code = {name: at for at, name in enumerate(values)}
        return cls(values, np.array([code[name] if name else -1 for name in names], np.int64))

    @property
    def shares(self) -> Doubles:
        """(values,) share of each value among the candidates that have one."""
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))
        return np.asarray(counts / counts.sum(), np.float64)


@dataclass(frozen=True)
class Shares:
    """How often each value occurs in every prefix of every ranking.

    Attributes:
        values: of the attribute.
        counts: (queries, depth, values) int64, in the first i + 1.
    """

    values: tuple[str, ...]
    counts: Positions

    @classmethod
    def of(cls, ranking: Positions, attribute: Attribute) -> Shares:
        """Of ``ranking`` (queries, depth): candidate positions, best first, -1 where there are no more."""
        codes = np.where(ranking >= 0, attribute.codes[ranking], -1)
        met = codes[:, :, None] == np.arange(len(attribute.values))
        return cls(attribute.values, np.cumsum(met, axis=1, dtype=np.int64))

    def bias(self, cut: int, one: str, other: str) -> Doubles:
        """(queries,) in [-1, 1]; above 0 where ``one`` is more frequent."""
        a, b = (self.counts[:, cut - 1, self.values.index(value)] for value in (one, other))
        return np.asarray((a - b) / np.maximum(a + b, 1), np.float64)

    def max_skew(self, cut: int, desired: Doubles) -> Doubles:
        """(queries,) against ``desired``, (values,) or (queries, values)."""
        counts = self.counts[:, cut - 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            skews = np.log(counts / counts.sum(axis=1, keepdims=True) / desired)
        highest = np.where(counts > 0, skews, -np.inf).max(axis=1)
        return np.where(np.isneginf(highest), 0.0, highest)

    def ndkl(self, cut: int, desired: Doubles) -> Doubles:
        """(queries,) at least 0, against ``desired``, (values,) or (queries, values)."""
        counts = self.counts[:, :cut]
        observed = counts / np.maximum(counts.sum(axis=2, keepdims=True), 1)
        wanted = desired[:, None, :] if desired.ndim == 2 else desired
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(counts > 0, observed * np.log(observed / wanted), 0.0)
        weights = 1.0 / np.log2(np.arange(cut) + 2.0)
        return np.asarray(terms.sum(axis=2) @ weights / weights.sum(), np.float64)

    def without(self, cut: int) -> int:
        """Queries of which no candidate in the first ``cut`` has a value."""
        return int((self.counts[:, cut - 1].sum(axis=1) == 0).sum())


def precision_and_recall(ranking: Positions, relevant: Sequence[set[int]], cut: int) -> tuple[Doubles, Doubles]:
    """(queries,) average precision and recall of each query in the first ``cut``.

    Raises InputError for a query without relevant candidates, which has neither.
    """
    sizes = np.array([len(each) for each in relevant])
    if not sizes.all():
        raise InputError(f"{(sizes == 0).sum()} queries have no relevant candidate, so they have no recall; leave them")
    hits = np.stack([np.isin(row, list(each)) for row, each in zip(ranking[:, :cut], relevant, strict=True)])
    precisions = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (hits * precisions).sum(axis=1) / np.minimum(sizes, cut), hits.sum(axis=1) / sizes


@dataclass(frozen=True)
class Figure:
    """A measure before and after, averaged over queries, with 95 % intervals of a paired bootstrap over them.

    Attributes:
        name: such as ``bias@6``.
        values: the two values that a bias compares; none for other measures.
        before: the mean.
        after: likewise.
        change: after less before.
        without: queries without any value in the first n, before and after.
    """

    name: str
    values: tuple[str, ...]
    before: Interval
    after: Interval
    change: Interval
    without: tuple[int, int]


Key = tuple[str, tuple[str, ...]]


def query_figures(
    ranking: Positions,
    relevant: Sequence[set[int]],
    attribute: Attribute,
    cuts: Sequence[int] = CUTS,
    pair: tuple[str, str] | None = None,
    desired: Doubles | None = None,
) -> dict[Key, Doubles]:
    """Every measure of every query; see ``compare_fairness`` for the arguments.

    Returns:
        (name, values compared) to (queries,) float64, for averages over whatever groups of queries.
    """
    _check(ranking, attribute, cuts, pair)
    shares = Shares.of(ranking, attribute)
    pairs = [pair] if pair else list(itertools.combinations(attribute.values, 2))
    wanted = _desired(attribute, desired, shares)
    found: dict[Key, Doubles] = {}
    for cut in cuts:
        for values in pairs:
            found[f"bias@{cut}", values] = shares.bias(cut, *values)
            found[f"absolute_bias@{cut}", values] = np.abs(found[f"bias@{cut}", values])
        found[f"max_skew@{cut}", ()] = shares.max_skew(cut, wanted)
        found[f"ndkl@{cut}", ()] = shares.ndkl(cut, wanted)
        precision, recall = precision_and_recall(ranking, relevant, cut)
        found[f"average_precision@{cut}", ()], found[f"recall@{cut}", ()] = precision, recall
    return found


def _check(ranking: Positions, attribute: Attribute, cuts: Sequence[int], pair: tuple[str, str] | None) -> None:
    if not cuts or min(cuts) < 1 or max(cuts) > ranking.shape[1]:
        raise ConfigError(f"cuts {tuple(cuts)} do not fit rankings of {ranking.shape[1]} places; rank deeper")
    if pair and (len(set(pair)) != 2 or not set(pair) <= set(attribute.values)):
        raise ConfigError(f"{pair} are not two of the values {attribute.values}, so they cannot be compared")


def _desired(attribute: Attribute, desired: Doubles | None, shares: Shares) -> Doubles:
    wanted = attribute.shares if desired is None else np.asarray(desired, np.float64)
    sizes = {(len(attribute.values),), (len(shares.counts), len(attribute.values))}
    if wanted.shape not in sizes or (wanted < 0).any() or not np.allclose(wanted.sum(axis=-1), 1.0):
        raise ConfigError(f"desired shares {wanted.shape} must be at least 0 and add up to 1 over {attribute.values}")
    if ((shares.counts[:, -1] > 0) & (wanted == 0)).any():
        raise InputError("a value is retrieved whose desired share is 0, so its skew is infinite; give it a share")
    return wanted


def compare_fairness(
    before: Positions,
    after: Positions,
    relevant: Sequence[set[int]],
    attribute: Attribute,
    cuts: Sequence[int] = CUTS,
    pair: tuple[str, str] | None = None,
    desired: Doubles | None = None,
) -> list[Figure]:
    """Every measure before and after a correction, averaged over queries.

    A query weighs the same whatever its group; use ``query_figures`` for averages of groups.

    Args:
        before: (queries, depth) candidate positions, best first, -1 where there are no more.
        after: of the same queries, by corrected scores.
        relevant: for each query the positions that answer it.
        attribute: of the candidates.
        cuts: each n, at most depth.
        pair: two values that are compared; all pairs if None.
        desired: (values,) or (queries, values) desired share of each value; None for that among the candidates.

    Raises:
        ConfigError: cuts, pair or desired shares that do not fit.
        InputError: a query without relevant candidates, or a value that is retrieved although its desired
            share is 0.
    """
    sides = [query_figures(ranking, relevant, attribute, cuts, pair, desired) for ranking in (before, after)]
    shares = [Shares.of(ranking, attribute) for ranking in (before, after)]
    lacking = {f"@{cut}": (shares[0].without(cut), shares[1].without(cut)) for cut in cuts}
    figures = []
    for name, values in sides[0]:
        old, new = (side[name, values] for side in sides)
        first, second, change = intervals(np.stack([old, new, new - old]))
        figures.append(Figure(name, values, first, second, change, lacking[name[name.index("@") :]]))
    return figures
