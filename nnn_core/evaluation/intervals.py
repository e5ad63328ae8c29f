"""Paired bootstrap: how sure a difference between two rankings of the same queries is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

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

    @staticmethod
    def resampled_means(values: npt.NDArray[np.floating]) -> Doubles:
        """Means over resampled queries: (``_RESAMPLES``, series) from values (series, queries).

        All series see the same resamples (paired), and every call the same seed: the same queries give
        the same intervals. Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
        """
        queries = values.shape[1]
        rng = np.random.default_rng(_SEED)
        means = []
        for first in range(0, _RESAMPLES, _RESAMPLES_AT_ONCE):
            picks = rng.integers(0, queries, (min(_RESAMPLES_AT_ONCE, _RESAMPLES - first), queries))
            weights = np.stack([np.bincount(pick, minlength=queries) for pick in picks])
            means.append(weights @ values.T / queries)
        return np.concatenate(means)

    @classmethod
    def of_means(cls, values: npt.NDArray[np.floating]) -> list[Interval]:
        """The interval of each series' mean, from values (series, queries)."""
        low, high = np.quantile(cls.resampled_means(values), (0.025, 0.975), axis=0)
        means = values.mean(axis=1)
        return [cls(*map(float, each)) for each in zip(means, low, high, strict=True)]
