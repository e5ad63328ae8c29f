"""The plain top 1 of every query, merged over shards, and what QB-Norm's gate makes of it.

Dynamic Inverted Softmax: the activation set holds every candidate that is the plain top 1 of a query of the
bank. A query whose own plain top 1 is in the set is ranked by Inverted Softmax, any other by plain scores.
Bogolin et al., "Cross Modal Retrieval with Querybank Normalisation", CVPR 2022, whose default
setting is this top 1. Unlike a column it needs, for each live query, a plain search before it is known by which
scores to rank.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.vectors import FloatMatrix

Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_TILE_CANDIDATES = 4096
_TILE_QUERIES = 512


@dataclass(frozen=True)
class Leaders:
    """The best candidate of each query among those seen; of equal ones that with the lowest id.

    ``a | b`` is that among both, whatever the order.

    Attributes:
        scores: (queries,) float64, exact; -inf where nothing was seen.
        ids: of the candidates.
    """

    scores: Doubles
    ids: tuple[str, ...]

    @classmethod
    def empty(cls, queries: int) -> Leaders:
        """Nothing seen yet."""
        return cls(np.full(queries, -np.inf), ("",) * queries)

    @classmethod
    def of(cls, queries: FloatMatrix, candidates: FloatMatrix, ids: Sequence[str]) -> Leaders:
        """Among one shard.

        Args:
            queries: (queries, dim) float32 on the grid.
            candidates: (rows, dim) float32 on the grid.
            ids: of the candidates.
        """
        by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
        best, rows = np.full(len(queries), -np.inf), np.zeros(len(queries), np.int64)
        for first in range(0, len(ids), _TILE_CANDIDATES):
            tile = by_id[first : first + _TILE_CANDIDATES]
            block = candidates[tile].astype(np.float64).T
            for start in range(0, len(queries), _TILE_QUERIES):
                some = slice(start, start + _TILE_QUERIES)
                scores = queries[some].astype(np.float64) @ block
                at = scores.argmax(axis=1)  # the first, so the lowest id
                highest = scores[np.arange(len(at)), at]
                rows[some] = np.where(highest > best[some], tile[at], rows[some])
                best[some] = np.maximum(best[some], highest)
        return cls(best, tuple(ids[row] for row in rows.tolist()) if len(ids) else ("",) * len(queries))

    def __or__(self, other: Leaders) -> Leaders:
        if len(self.ids) != len(other.ids):
            raise ValueError(f"Leaders of {len(self.ids)} queries cannot be merged with those of {len(other.ids)}")
        theirs = [
            score > ours or (score == ours and name < own)
            for ours, own, score, name in zip(self.scores, self.ids, other.scores, other.ids, strict=True)
        ]
        ids = tuple(b if take else a for take, a, b in zip(theirs, self.ids, other.ids, strict=True))
        return Leaders(np.maximum(self.scores, other.scores), ids)

    @property
    def activated(self) -> frozenset[str]:
        """The activation set, if these are the leaders of the bank's queries."""
        return frozenset(self.ids) - {""}

    def among(self, activated: Set[str]) -> npt.NDArray[np.bool_]:
        """(queries,) whether each query's leader is one of ``activated``."""
        return np.array([name in activated for name in self.ids], bool)


def gated_ranks(plain: Counts, corrected: Counts, gated: npt.NDArray[np.bool_], query: Counts) -> Counts:
    """Ranks of each pair under a gated correction.

    Args:
        plain: (pairs,) by plain scores.
        corrected: (settings, pairs) by corrected ones.
        gated: (queries,) whether a query is ranked by the correction.
        query: (pairs,) of each pair.

    Returns:
        (settings, pairs).
    """
    return np.where(gated[query], corrected, plain)
