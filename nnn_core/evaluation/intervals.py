"""Paired bootstrap over the candidates that answer queries: how sure a difference between two rankings is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.evaluation._resampling import Groups, resampled_means


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
        """The interval of each series' mean, from values (series, queries); groups as of ``resampled_means``."""
        low, high = np.quantile(resampled_means(values, groups), (0.025, 0.975), axis=0)
        means = values.mean(axis=1)
        return [cls(*map(float, each)) for each in zip(means, low, high, strict=True)]
