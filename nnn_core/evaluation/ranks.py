"""Exact ranks of relevant candidates under many biases at once, counted shard by shard.

The rank of a relevant candidate is one more than the number of candidates that are ahead of it, and
counts add up over shards. A candidate is ahead if its debiased score is higher, or if it is equal and
its id is lower. Scores are inner products of vectors on the grid of ``vectors`` and so exact in
float64; biases are float32, as in the table: what is counted is what a consumer's exact index returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnn_core.artifacts import checksum_of
from nnn_core.evaluation.points import Point
from nnn_core.vectors import FloatMatrix

Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def biases_at(means: FloatMatrix, grid: Sequence[int], points: Sequence[Point]) -> FloatMatrix:
    """The table's biases at each point.

    Args:
        means: (rows, len(grid)) float32 means of the candidates.
        grid: the k of each column of the means.
        points: values of k and alpha; every k is one of the grid.

    Returns:
        (points, rows) float32, rounded as the table rounds them.
    """
    columns = {k: means[:, at].astype(np.float64) for at, k in enumerate(grid)}
    return np.stack([(point.alpha * columns[point.k]).astype(np.float32) for point in points])


@dataclass(frozen=True)
class Targets:
    """Relevant candidates of the queries: all pairs in order of query and then of id, or those in one shard.

    Attributes:
        pairs: (found,) int64, ascending positions among all pairs of a query and a relevant candidate.
        scores: (found,) float64, exact score of each pair without the bias.
        means: (found, grid) float32, means of each pair's candidate.
    """

    pairs: Counts
    scores: Doubles
    means: FloatMatrix

    @classmethod
    def find(
        cls,
        queries: FloatMatrix,
        relevant: Sequence[Sequence[str]],
        candidates: FloatMatrix,
        ids: Sequence[str],
        means: FloatMatrix,
    ) -> Targets:
        """The relevant candidates that one shard holds.

        Args:
            queries: (queries, dim) float32 vectors of the queries, on the grid of ``vectors``.
            relevant: for each query the ids of its relevant candidates, each once, ascending.
            candidates: (rows, dim) float32 vectors of the shard's candidates, on the grid of ``vectors``.
            ids: (rows,) ids of the shard's candidates.
            means: (rows, grid) float32 means of the shard's candidates.
        """
        query, names = _pairs_of(relevant)
        position = {row_id: row for row, row_id in enumerate(ids)}
        rows = np.array([position.get(name, -1) for name in names], np.int64)
        pairs = np.flatnonzero(rows >= 0)
        left, right = (vectors.astype(np.float64) for vectors in (queries[query[pairs]], candidates[rows[pairs]]))
        return cls(pairs, np.einsum("pd,pd->p", left, right), means[rows[pairs]])

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Its attributes by name."""
        return {"pairs": self.pairs, "scores": self.scores, "means": self.means}

    @property
    def digest(self) -> str:
        """Digest of its attributes."""
        return checksum_of(self.arrays, "").hex()

    @classmethod
    def gather(cls, parts: Iterable[Targets]) -> Targets:
        """Those of all shards together, in order."""
        parts = sorted((part for part in parts if len(part.pairs)), key=lambda part: int(part.pairs[0]))
        if not parts:
            return cls(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 0), np.float32))
        order = np.argsort(np.concatenate([part.pairs for part in parts]), kind="stable")
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts])[order] for name in ("pairs", "scores", "means"))
        )


def _pairs_of(relevant: Sequence[Sequence[str]]) -> tuple[Counts, tuple[str, ...]]:
    """(query, id) of every pair of a query and a relevant candidate: (pairs,) int64 ascending, and their ids."""
    query = np.repeat(np.arange(len(relevant)), [len(names) for names in relevant])
    return query, tuple(name for names in relevant for name in names)
