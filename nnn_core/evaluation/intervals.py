"""Paired bootstrap: how sure a difference between two rankings of the same queries is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

RESAMPLES = 2000
_SEED = 20_241_031
_RESAMPLES_AT_ONCE = 64


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval.

    Attributes:
        value: of all queries.
        low: 2.5th percentile over resamples.
        high: 97.5th percentile.
    """

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0.0 or self.high < 0.0


def bootstrap_means(values: npt.NDArray[np.floating], resamples: int = RESAMPLES) -> Doubles:
    """Means over resampled queries: (resamples, series) from values (series, queries).

    All series see the same resamples (paired), and every call the same seed: the same queries give
    the same intervals. Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
    """
    series, queries = values.shape
    rng = np.random.default_rng(_SEED)
    means = np.empty((resamples, series))
    for rows in _slices(resamples):
        picks = rng.integers(0, queries, (rows.stop - rows.start, queries))
        weights = np.stack([np.bincount(pick, minlength=queries) for pick in picks])
        means[rows] = weights @ values.T / queries
    return means


def _slices(count: int) -> Iterator[slice]:
    for first in range(0, count, _RESAMPLES_AT_ONCE):
        yield slice(first, min(count, first + _RESAMPLES_AT_ONCE))


def intervals(values: npt.NDArray[np.floating], resamples: int = RESAMPLES) -> list[Interval]:
    """The interval of each series' mean, from values (series, queries)."""
    low, high = np.quantile(bootstrap_means(values, resamples), (0.025, 0.975), axis=0)
    means = values.mean(axis=1)
    return [Interval(*map(float, each)) for each in zip(means, low, high, strict=True)]
