"""The definitions, written as plainly as possible and sharing no code with what they check."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

GRID = 2**25


def exact_scores(candidates: npt.NDArray[np.float32], references: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Inner products (candidates, references) of grid vectors, in whole numbers, rounded once to float32."""
    whole = [(vectors.astype(np.float64) * GRID).astype(np.int64) for vectors in (candidates, references)]
    for vectors, numbers in zip((candidates, references), whole, strict=True):
        assert np.array_equal(numbers / GRID, vectors), "the oracle is exact for grid vectors only"
    products = np.stack([(whole[1] * row).sum(axis=1) for row in whole[0]]) if len(whole[0]) else np.zeros((0, 0))
    return (products / float(GRID) ** 2).astype(np.float32)


def own_pairs(
    ids: Sequence[str], pair_ids: Sequence[str], references: int, pairs: Sequence[str] | None
) -> npt.NDArray[np.bool_]:
    """Whether each reference belongs to each candidate (candidates, references); none does without ``pairs``."""
    if pairs is None:
        return np.zeros((len(ids), references), bool)
    names = zip(ids, pair_ids, strict=True)
    return np.array([[pair != "" and pair in name for pair in pairs] for name in names])


def integer_products(left: npt.NDArray[np.int8], right: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]:
    """Inner products (m, n) of int8 rows (m, dim) and (n, dim); whole numbers below 2**53 are exact in float64."""
    return (left.astype(np.float64) @ right.astype(np.float64).T).astype(np.int32)


def on_grid(vectors: npt.NDArray[np.float32]) -> bool:
    """Whether every coordinate is a multiple of 2**-25 and no row is longer than 1 (within 1e-5)."""
    wide = vectors.astype(np.float64) * GRID
    squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
    return bool(np.all(wide == np.rint(wide)) and np.all(squares <= 1.0 + 2e-5))


def highest(scores: npt.NDArray[np.float32], k: int, own: npt.NDArray[np.bool_] | None = None) -> list[list[float]]:
    """The k highest scores of each row, highest first, fewer where a row has fewer that are not its own."""
    own = np.zeros(scores.shape, bool) if own is None else own
    return [sorted(row[~left_out].tolist(), reverse=True)[:k] for row, left_out in zip(scores, own, strict=True)]


def padded(rows: Sequence[Sequence[float]]) -> npt.NDArray[np.float32]:
    """Ragged rows as a float32 matrix as wide as the longest, padded with -inf."""
    width = max((len(row) for row in rows), default=0)
    full = [[*row, *[-np.inf] * (width - len(row))] for row in rows]
    return np.array(full, np.float32).reshape(len(rows), width)


def unit(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Rows of length 1 in float64; of usable rows only."""
    wide = vectors.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def assert_same_bits(actual: npt.NDArray[np.generic], expected: npt.NDArray[np.generic]) -> None:
    """Same shape, same type, and the same bytes: zeros of another sign differ."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    if actual.tobytes() != expected.tobytes():
        np.testing.assert_array_equal(actual, expected)
        raise AssertionError("equal numbers, but not the same bits: zeros differ in sign")
