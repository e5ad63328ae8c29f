"""The k highest scores of each row, a value with an identity and a merge; and how far approximate means are off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.vectors import FloatMatrix

#: Rows that are summed up in one go, since float64 sums take twice the memory of the scores.
_SUMMED_ROWS = 4096


@dataclass(frozen=True)
class TopK:
    """The k highest scores that each candidate has seen so far.

    ``a | b`` is the top-k over both sets of references. It is associative and commutative to the
    bit, because the k highest of a multiset of numbers do not depend on the order of looking.

    Attributes:
        k: how many scores of each candidate to keep, at most.
        seen: (rows,) int64, how many references each candidate has been scored against.
        scores: (rows, min(k, max(seen))) float32, descending. A row that has seen fewer than the
            width is padded with -inf, which ``valid`` masks out of every sum.
    """

    k: int
    seen: npt.NDArray[np.int64]
    scores: FloatMatrix

    def __post_init__(self) -> None:
        rows, width = self.scores.shape
        if self.seen.shape != (rows,) or width != min(self.k, int(self.seen.max(initial=0))):
            raise ValueError(f"TopK: k={self.k}, seen {self.seen.shape}, scores {self.scores.shape} disagree")

    @classmethod
    def empty(cls, k: int, rows: int) -> TopK:
        """The identity of the merge: nothing seen yet."""
        return cls(k, np.zeros(rows, np.int64), np.zeros((rows, 0), np.float32))

    @classmethod
    def of(cls, scores: FloatMatrix, k: int, seen: npt.NDArray[np.int64]) -> TopK:
        """The k highest of ``scores`` (rows, any) float32, whose missing entries are -inf.

        Args:
            scores: (rows, any) float32 scores of each row, in any order; -inf for missing ones.
            k: how many scores of each row to keep, at most.
            seen: (rows,) int64, how many references ``scores`` speaks for; at least as many as are given.
        """
        width = min(k, int(seen.max(initial=0)))
        return cls(k, seen, _descending(scores, width))

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """(rows, width): which entries of ``scores`` are scores and not padding."""
        mask: npt.NDArray[np.bool_] = np.arange(self.scores.shape[1]) < self.seen[:, None]
        return mask

    def __or__(self, other: TopK) -> TopK:
        if self.k != other.k or len(self.seen) != len(other.seen):
            raise ValueError(
                f"TopK of k={self.k}, {len(self.seen)} rows cannot be merged with k={other.k}, {len(other.seen)} rows"
            )
        both = np.concatenate([self.scores, other.scores], axis=1)
        return TopK.of(both, self.k, self.seen + other.seen)

    def means(self, grid: tuple[int, ...]) -> FloatMatrix:
        """Mean of the k highest scores for every k of the grid: (rows, len(grid)) float32.

        A candidate that has seen fewer than k references gets the mean of those it has seen, and 0
        where it has seen none; ``parts.resolve_k`` keeps such columns out of tables.
        Sums run in float64 from the highest score down, so the bits depend on the scores alone.
        """
        means, valid = np.empty((len(self.scores), len(grid)), np.float32), self.valid
        for first in range(0, len(means), _SUMMED_ROWS):
            some = slice(first, first + _SUMMED_ROWS)
            means[some] = _means(self.scores[some], valid[some], self.seen[some], grid)
        return means


def _means(
    scores: FloatMatrix, valid: npt.NDArray[np.bool_], seen: npt.NDArray[np.int64], grid: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    rows, width = scores.shape
    sums = np.zeros((rows, width + 1))
    np.cumsum(np.where(valid, scores, 0.0), axis=1, dtype=np.float64, out=sums[:, 1:])
    return np.stack([sums[:, min(k, width)] / np.maximum(np.minimum(k, seen), 1) for k in grid], axis=1)


def _descending(scores: FloatMatrix, width: int) -> FloatMatrix:
    """The ``width`` highest entries of each row, highest first: (rows, width) float32."""
    if width == 0:
        return np.zeros((len(scores), 0), np.float32)
    if width < scores.shape[1]:
        scores = np.partition(scores, scores.shape[1] - width, axis=1)[:, -width:]
    # Adding 0 makes -0 and 0 one number to the bit; they compare equal, so a sort may swap them.
    return np.ascontiguousarray(np.sort(scores, axis=1)[:, ::-1]) + np.float32(0.0)


def grid_of(k_max: int, k: int | None = None) -> tuple[int, ...]:
    """The values of k whose means are kept: 1, 2, 4, ... up to and including k_max, and k."""
    powers = {1 << power for power in range(k_max.bit_length()) if 1 << power <= k_max}
    return tuple(sorted(powers | {k_max} | ({k} if k is not None else set())))


@dataclass(frozen=True)
class BiasError:
    """How far approximate means are from exact ones: of each figure the worst over the k of the grid.

    Attributes:
        candidates: how many candidates were measured.
        mean: mean absolute error of the approximate means, at the worst k of the grid.
        p99: 99th percentile of the absolute error of the approximate means, at the worst k of the grid.
        max: largest absolute error of an approximate mean, over all k of the grid.
        rank_correlation: Spearman's rank correlation of approximate and exact means, at the worst k of the grid.
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
