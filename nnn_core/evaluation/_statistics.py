"""Cheap statistics of the similarities between each candidate and a whole bank.

``BankMoments`` gives the mean and the standard deviation of a candidate's similarities to all of a
bank, at the price of dim**2 a candidate instead of dim a pair. Z-norm standardises scores by them
(Auckenthaler et al., "Score normalization for text-independent speaker verification systems", 2000).

The log-sum-exp log(sum over references q' of exp(beta * <q', r>)) at inverse temperature beta is the
normaliser of the Inverted Softmax (Smith et al., "Offline bilingual word vectors, orthogonal
transformations and the inverted softmax", ICLR 2017) and of QB-Norm (Bogolin et al., "Cross Modal
Retrieval with Querybank Normalisation", CVPR 2022). ``log_sum_exp`` bounds it from a top-k,
``exact_log_sum_exp`` scores every pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from nnn_core.scoring.topk import TopK
from nnn_core.vectors import GRID, FloatMatrix, on_grid

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_Function = TypeVar("_Function", bound=Callable[..., Any])

#: Most rows of a bank: each adds at most 2**26 to an int64 sum.
MAX_ROWS = 2**36

_BANK_ROWS = 2048
_CANDIDATE_ROWS = 1024
_REFERENCE_ROWS = 4096
_TERMS = 1 << 19
_LANES = 64
_CHUNK = 32


@dataclass(frozen=True)
class BankMoments:
    """Exact sums of a bank's vectors and of their outer products.

    A coordinate on the grid is a whole number c = 2**25 x, cut into halves c = 2**13 h + l with |h| and
    |l| at most 2**12, whose products float64 adds without rounding in whatever order or library.
    ``a | b`` holds the moments of both banks. Sums of whole numbers make it associative and commutative
    to the bit, and the same for every cut of a bank.

    Attributes:
        rows: vectors in the bank, at most ``MAX_ROWS``.
        first: (dim,) int64, the sum of c.
        second: (3, dim, dim) int64, the sums of hh', hl' + lh' and ll'. That of cc', which is 2**26, 2**13
            and 1 times these, would not fit into int64.
    """

    rows: int
    first: Integers
    second: Integers

    def __post_init__(self) -> None:
        whole = self.first.dtype == self.second.dtype == np.int64
        if not whole or self.first.ndim != 1 or self.second.shape != (3, *self.first.shape * 2):
            raise ValueError(f"BankMoments: {self.first.shape} and {self.second.shape} disagree, or are not int64")
        if not 0 <= self.rows <= MAX_ROWS:
            raise ValueError(f"BankMoments: {self.rows} rows; int64 sums hold 0 to {MAX_ROWS}")

    @classmethod
    def empty(cls, dim: int) -> BankMoments:
        """The identity of the merge: no vectors of ``dim`` coordinates."""
        return cls(0, np.zeros(dim, np.int64), np.zeros((3, dim, dim), np.int64))

    @classmethod
    def of(cls, vectors: FloatMatrix) -> BankMoments:
        """The moments of ``vectors``, (rows, dim) float32. Raises ValueError if one is not a grid vector."""
        moments = cls.empty(vectors.shape[1])
        for start in range(0, len(vectors), _BANK_ROWS):
            block = vectors[start : start + _BANK_ROWS]
            if not on_grid(block):
                raise ValueError(f"vectors {start} to {start + len(block) - 1} are not all unit vectors on the grid")
            coordinates = block.astype(np.float64) * GRID
            high = np.rint(coordinates / 2**13)
            low = coordinates - 2**13 * high
            # (h + l)(h + l)' gives both mixed products, and A'A costs BLAS half of A'B. A sum of a block
            # is at most 2048 * 2**26, far below the 2**53 up to which float64 counts.
            both, highs, lows = (half.T @ half for half in (high + low, high, low))
            moments.first[:] += coordinates.sum(axis=0).astype(np.int64)
            moments.second[:] += np.stack([highs, both - highs - lows, lows]).astype(np.int64)
        return cls(len(vectors), moments.first, moments.second)

    def __or__(self, other: BankMoments) -> BankMoments:
        if len(self.first) != len(other.first):
            raise ValueError(f"BankMoments of dim {len(self.first)} cannot be merged with dim {len(other.first)}")
        return BankMoments(self.rows + other.rows, self.first + other.first, self.second + other.second)

    def to_arrays(self) -> dict[str, Integers]:
        """The value as int64 arrays, by the names of its attributes; ``rows`` has no dimension."""
        return {"rows": np.array(self.rows, np.int64), "first": self.first, "second": self.second}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Integers]) -> BankMoments:
        """What ``to_arrays`` made. Raises KeyError for a missing name, ValueError for a wrong shape or type."""
        return cls(int(arrays["rows"]), arrays["first"], arrays["second"])

    @cached_property
    def mean(self) -> Floats:
        """(dim,) float64, the mean vector, each coordinate rounded once. Raises ValueError for an empty bank."""
        # Python divides whole numbers of any size with one rounding.
        quotients = self.first.astype(object) / (self._some_rows() * int(GRID))
        return np.asarray(quotients, np.float64)

    @cached_property
    def covariance(self) -> Floats:
        """(dim, dim) float64, each entry rounded once. Raises ValueError for an empty bank.

        Mean product less product of means nearly cancels when vectors are alike, and rows * sum(cc') -
        sum(c) sum(c)' has 82 bits for 65,536 rows; so Python's whole numbers subtract it exactly. Equal
        vectors have covariance 0, not almost 0.
        """
        rows, sums = self._some_rows(), self.first.astype(object)
        covariance = np.empty(self.second.shape[1:])
        for i in range(len(sums)):
            high, mixed, low = self.second[:, i, i:].astype(object)
            products = 2**26 * high + 2**13 * mixed + low
            covariance[i, i:] = (rows * products - sums[i] * sums[i:]) / (rows * int(GRID)) ** 2
            covariance[i:, i] = covariance[i, i:]
        return covariance

    def similarities(self, vectors: FloatMatrix) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Mean and population standard deviation of each candidate's similarities to all of the bank.

        x . mean and sqrt(max(x' C x, 0)) with the covariance C, which is centred before it meets x so that
        nothing cancels here. float64 sums run in one order, so the bits depend on candidate and bank
        alone: not on BLAS, threads or tiles. x' C x is off by at most about 2 dim 2**-53 times the bank's
        total variance, which shows only in deviations below 1e-6.

        Args:
            vectors: (rows, dim) float32 unit vectors. A row that is not finite spoils only itself.

        Returns:
            ``(mean, std)``, (rows,) float32 each. Raises ValueError if the bank is empty or of another dim.
        """
        dim = len(self.first)
        if vectors.shape[1] != dim:
            raise ValueError(f"candidates of dim {vectors.shape[1]} cannot be compared with a bank of dim {dim}")
        width = -(-dim // 4) * 4
        mean, form = np.zeros(width), np.zeros((width, width))
        mean[:dim] = self.mean
        # x' C x needs one triangle of a symmetric C, twice what is beside its diagonal.
        form[:dim, :dim] = np.tril(self.covariance) + np.tril(self.covariance, -1)
        means, squares = _forms(np.ascontiguousarray(vectors, np.float32), mean, form)
        return means.astype(np.float32), np.sqrt(np.maximum(squares, 0.0)).astype(np.float32)

    def _some_rows(self) -> int:
        if self.rows == 0:
            raise ValueError("an empty bank has neither mean nor covariance")
        return self.rows


def _compiled(function: _Function) -> _Function:
    """``function`` as machine code, cached unless neither the package's folder nor the user's can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]


@_compiled
def _forms(vectors: FloatMatrix, mean: Floats, form: Floats) -> Floats:
    """x . mean and x' form x of each row: (2, rows). ``form`` is lower triangular, its width a multiple of 4.

    A lane of the processor's vectors is a candidate, and each candidate's sums run through ascending
    coordinates. Without fastmath the compiler may neither reorder nor fuse them.
    """
    rows, dim = vectors.shape
    width = len(form)
    forms = np.zeros((2, rows))
    tile, images = np.zeros((width, _LANES)), np.empty((width, _LANES))
    for first in range(0, rows, _LANES):
        count = min(_LANES, rows - first)
        for lane in range(count):
            for i in range(dim):
                tile[i, lane] = vectors[first + lane, i]
        images[:] = 0.0
        # In chunks of coordinates that stay in the innermost cache; sums outlive a chunk, so the order holds.
        for start in range(0, width, _CHUNK):
            for j in range(start, width):
                image = images[j]
                for i in range(start, min(start + _CHUNK, width), 4):
                    a, b, c, d = form[j, i], form[j, i + 1], form[j, i + 2], form[j, i + 3]
                    x, y, z, w = tile[i], tile[i + 1], tile[i + 2], tile[i + 3]
                    for lane in range(_LANES):
                        image[lane] = (((image[lane] + a * x[lane]) + b * y[lane]) + c * z[lane]) + d * w[lane]
        for i in range(width):
            for lane in range(count):
                forms[0, first + lane] += mean[i] * tile[i, lane]
                forms[1, first + lane] += images[i, lane] * tile[i, lane]
    return forms


@dataclass(frozen=True)
class ExactLogSumExp:
    """log(sum of exp(beta * score)) of all scores seen, exact but for the rounding of float64.

    ``a | b`` is the value over the scores of both: commutative and with ``empty`` as its identity to the
    bit, associative within rounding. NumPy's exp and log may differ by a last bit between processors.

    Attributes:
        inverse_temperatures: each beta, positive and finite.
        values: (rows, betas) float64; -inf where nothing was seen.
    """

    inverse_temperatures: tuple[float, ...]
    values: Floats

    def __post_init__(self) -> None:
        if not all(0.0 < beta < np.inf for beta in self.inverse_temperatures):
            raise ValueError(f"inverse temperatures must be positive and finite, not {self.inverse_temperatures}")

    @classmethod
    def empty(cls, rows: int, inverse_temperatures: Sequence[float]) -> ExactLogSumExp:
        """The identity of the merge: nothing seen. Raises ValueError for a beta out of range."""
        betas = tuple(map(float, inverse_temperatures))
        return cls(betas, np.full((rows, len(betas)), -np.inf))

    @classmethod
    def of(cls, scores: npt.NDArray[np.floating], inverse_temperatures: Sequence[float]) -> ExactLogSumExp:
        """The value over ``scores`` (rows, any), -inf where a score does not count. Raises as ``empty`` does."""
        total = cls.empty(len(scores), inverse_temperatures)
        step = max(1, _TERMS // max(1, scores.shape[1]))
        for first in range(0, len(scores) if scores.shape[1] else 0, step):
            block = scores[first : first + step].astype(np.float64)
            highest = block.max(axis=1)
            highest[np.isneginf(highest)] = 0.0
            for column, beta in enumerate(total.inverse_temperatures):
                # Of the maximum exp is 1: no overflow, whatever beta. Added one by one, because padding
                # would change how NumPy's sum groups a row's terms.
                sums = np.cumsum(np.exp(beta * (block - highest[:, None])), axis=1)[:, -1]
                with np.errstate(divide="ignore"):
                    total.values[first : first + step, column] = beta * highest + np.log(sums)
        return total

    def __or__(self, other: ExactLogSumExp) -> ExactLogSumExp:
        if self.inverse_temperatures != other.inverse_temperatures or self.values.shape != other.values.shape:
            raise ValueError("ExactLogSumExp of other rows or inverse temperatures cannot be merged")
        return ExactLogSumExp(self.inverse_temperatures, np.logaddexp(self.values, other.values))


def exact_log_sum_exp(
    candidates: FloatMatrix, references: FloatMatrix, inverse_temperatures: Sequence[float]
) -> ExactLogSumExp:
    """The log-sum-exp of each candidate over all references, in tiles of bounded memory.

    float64 scores of grid vectors have no rounding (``vectors``), so ``values`` are within 1e-10 of the
    truth at beta <= 100, and do not depend on how candidates are cut. Parts of a bank merge with ``|``.

    Args:
        candidates: (rows, dim) float32, on the grid.
        references: (references, dim) float32, likewise.
        inverse_temperatures: each beta, positive and finite; ValueError for another.
    """
    total = ExactLogSumExp.empty(len(candidates), inverse_temperatures)
    for first in range(0, len(candidates), _CANDIDATE_ROWS):
        tile = candidates[first : first + _CANDIDATE_ROWS].astype(np.float64)
        part = ExactLogSumExp.empty(len(tile), inverse_temperatures)
        for start in range(0, len(references), _REFERENCE_ROWS):
            scores = tile @ references[start : start + _REFERENCE_ROWS].astype(np.float64).T
            part |= ExactLogSumExp.of(scores, inverse_temperatures)
        total.values[first : first + len(tile)] = part.values
    return total


@dataclass(frozen=True)
class LogSumExp:
    """Bounds of a log-sum-exp: ``lower`` and ``upper``, (rows, betas) float64."""

    lower: Floats
    upper: Floats


def log_sum_exp(top: TopK, inverse_temperatures: Sequence[float]) -> LogSumExp:
    """Bounds of each candidate's log-sum-exp over all it has seen, from the scores that were kept.

    ``lower`` is that of the kept scores alone. No other score is above the lowest of them, so ``upper`` =
    log(exp(lower) + (seen - kept) * exp(beta * lowest)); the two are equal where all were kept, and -inf
    where none was seen. A TopK's scores are rounded to float32, so unrounded ones may pass a bound by
    beta * 2**-25. Raises ValueError for a beta that is not positive and finite.
    """
    scores = np.where(top.valid, top.scores, -np.inf)
    lower = ExactLogSumExp.of(scores, inverse_temperatures).values
    if scores.shape[1] == 0:
        return LogSumExp(lower, lower)
    with np.errstate(divide="ignore"):
        others = np.log((top.seen - top.valid.sum(axis=1)).astype(np.float64))
    # A padded row ends in -inf, but has no others either.
    rest = others[:, None] + np.multiply.outer(scores[:, -1], np.asarray(inverse_temperatures, np.float64))
    return LogSumExp(lower, np.logaddexp(lower, rest))
