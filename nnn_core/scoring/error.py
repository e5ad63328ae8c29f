"""How wrong a search's means are: absolute errors and rank correlation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class BiasError:
    """How far approximate means are from exact ones: of each figure the worst over the k of the grid.

    Attributes:
        candidates: how many candidates were measured.
        mean: mean of the absolute error.
        p99: 99th percentile of the absolute error.
        max: largest of the absolute errors.
        rank_correlation: Spearman's, between approximate and exact means.
    """

    candidates: int
    mean: float
    p99: float
    max: float
    rank_correlation: float

    @classmethod
    def between(cls, exact: npt.NDArray[np.float32], approximate: npt.NDArray[np.float32]) -> BiasError:
        """The error of means (candidates, grid) that are approximate."""
        truth, means = exact.astype(np.float64), approximate.astype(np.float64)
        errors = np.abs(truth - means)
        return cls(
            candidates=len(errors),
            mean=float(errors.mean(axis=0).max()),
            p99=float(np.quantile(errors, 0.99, axis=0).max()),
            max=float(errors.max()),
            rank_correlation=min(_rank_correlation(truth[:, at], means[:, at]) for at in range(truth.shape[1])),
        )


def _rank_correlation(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two series; equal values take the mean of their ranks. 1 without spread."""
    ranks = [_mean_ranks(values) for values in (one, other)]
    centred = [values - values.mean() for values in ranks]
    spread = np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum())
    return float((centred[0] * centred[1]).sum() / spread) if spread > 0 else 1.0


def _mean_ranks(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: npt.NDArray[np.float64] = (ends - (counts - 1) / 2.0)[inverse]
    return ranks
