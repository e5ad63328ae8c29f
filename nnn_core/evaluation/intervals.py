"""Paired bootstrap over the candidates that answer queries: how sure a difference between two rankings is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.evaluation.ranks import Doubles

#: (queries,) number of each query's group, 0, 1, ...
Groups = npt.NDArray[np.int64]

_RESAMPLES = 2000
_SEED = 20_241_031
_RESAMPLES_AT_ONCE = 64


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval.

    Attributes:
        value: mean over all queries.
        low: 2.5th percentile of the means over resampled queries.
        high: 97.5th percentile of the means over resampled queries.
    """

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0.0 or self.high < 0.0

    @classmethod
    def of_means(cls, values: npt.NDArray[np.floating], groups: Groups | None = None) -> list[Interval]:
        """The interval of each series' mean, from values (series, queries); groups as of ``_resampled_means``."""
        low, high = np.quantile(_resampled_means(values, groups), (0.025, 0.975), axis=0)
        means = values.mean(axis=1)
        return [cls(*map(float, each)) for each in zip(means, low, high, strict=True)]


def _resampled_means(values: npt.NDArray[np.floating], groups: Groups | None = None) -> Doubles:
    """Means over resampled groups of queries: (``_RESAMPLES``, series) from values (series, queries).

    Queries with one answer rise and fall together, so they are drawn together. All series see the same resamples
    (paired), and every call the same seed: the same queries give the same intervals. Efron and Tibshirani, An
    Introduction to the Bootstrap, chapters 13 and 8.

    Args:
        values: (series, queries) figures.
        groups: (queries,) int64 number of each query's group, 0, 1, ...; None if every query is one of its own.
    """
    groups = np.arange(values.shape[1]) if groups is None else groups
    sizes = np.bincount(groups)
    sums = np.stack([np.bincount(groups, series, len(sizes)) for series in values], axis=1)
    rng = np.random.default_rng(_SEED)
    means = []
    for first in range(0, _RESAMPLES, _RESAMPLES_AT_ONCE):
        picks = rng.integers(0, len(sizes), (min(_RESAMPLES_AT_ONCE, _RESAMPLES - first), len(sizes)))
        weights = np.stack([np.bincount(pick, minlength=len(sizes)) for pick in picks])
        means.append(weights @ sums / (weights @ sizes)[:, None])
    return np.concatenate(means)


def _groups_of(answers: Sequence[str]) -> Groups:
    """(queries,) the group of each query, by the id of the candidate that answers it."""
    return np.unique(np.array(answers), return_inverse=True)[1]


def _standard_error(values: Doubles, groups: Groups) -> float:
    """Standard error of the mean of values (queries,) whose groups (queries,) are independent, not the queries.

    Cameron and Miller, A Practitioner's Guide to Cluster-Robust Inference, J. Human Resources 50 (2015), section II.
    """
    sums = np.bincount(groups, values - values.mean())
    return float(np.sqrt((sums**2).sum()) / len(values))
