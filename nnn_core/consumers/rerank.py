"""Correcting the order of what an engine found with plain vectors, and how much it must find for that."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core import storage
from nnn_core.artifacts import from_parquet, to_parquet
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.evaluation.metrics import Z_ALARM, robust_z
from nnn_core.evaluation.rankings import Ranking
from nnn_core.vectors import GRID, FloatMatrix

_TILE_ROWS = 8_192

#: Highest inner product of vectors that are unit length but for rounding.
_HIGHEST_SCORE = 1.001


@dataclass(frozen=True)
class Reranker:
    """Biases to look up, and how they are applied.

    Attributes:
        ids: (rows,) candidate ids, an Arrow column.
        bias: (rows,) float32, the bias of each candidate.
        hub: (rows,) bool, whether each candidate is a hub.
        gated: whether the bias is applied only where the plain top 1 is a hub, as the gates of QB-Norm
            (Bogolin et al., CVPR 2022) and DB-Norm (Wang et al., arXiv 2310.11612) do.
    """

    ids: pa.ChunkedArray
    bias: npt.NDArray[np.float32]
    hub: npt.NDArray[np.bool_]
    gated: bool = False

    @classmethod
    def of(
        cls, ids: pa.ChunkedArray, bias: npt.NDArray[np.float32], gated: bool = False, deviations: float = Z_ALARM
    ) -> Reranker:
        """From the columns of a table.

        Args:
            ids: (rows,) candidate ids, such as ``BiasTable.ids``.
            bias: (rows,) float32 biases of the candidates, such as ``BiasTable.bias``.
            gated: whether only queries whose plain top 1 is a hub are corrected.
            deviations: a hub's bias lies more than so many robust standard deviations above the median.
        """
        return cls(ids, bias, robust_z(bias) > deviations, gated)

    @classmethod
    def load(cls, uris: Iterable[str], gated: bool = False) -> Reranker:
        """The re-ranker of the files that ``nnn export --engine rerank`` wrote.

        Raises:
            InputError: a file cannot be read, or none was named.
            CorruptArtifactError: a file is not one of them.
        """
        tables = []
        for uri in uris:
            try:
                tables.append(from_parquet(storage.read_bytes(uri), ["id", "bias", "hub"]))
            except (pa.ArrowException, OSError, UnicodeError) as error:
                raise CorruptArtifactError(f"{uri!r} is not a file of biases: {error}. Export again.") from error
        if not tables:
            raise InputError("Reranker.load: no file was named; take those of export.json.")
        table = pa.concat_tables(tables)
        return cls(table.column("id"), table.column("bias").to_numpy(), table.column("hub").to_numpy(), gated)

    def to_bytes(self, rows: slice) -> bytes:
        """A file of some rows, with the columns ``id``, ``bias`` and ``hub``, for ``load``."""
        ids, bias, hub = self.ids[rows].combine_chunks(), pa.array(self.bias[rows], pa.float32()), self.hub[rows]
        return to_parquet(pa.table({"id": ids, "bias": bias, "hub": pa.array(hub)}))

    def rerank(
        self, ids: Sequence[str], scores: Sequence[float], depth: int | None = None, weight: float = 1.0
    ) -> list[tuple[str, float]]:
        """The corrected order of one query's hits.

        Args:
            ids: ids of the hits that the engine found with plain vectors, in any order.
            scores: inner product (= cosine) of each hit with the query, in the order of ``ids``, higher is better.
            depth: how many hits to return; None for all.
            weight: what biases are multiplied by: 1 for those of the table, 0 for the plain order.

        Returns:
            (id, debiased score), best first, equal ones in order of id.

        Raises:
            InputError: an id is not in the table, the two differ in length, or a score is none of unit vectors.
        """
        if len(ids) != len(scores):
            raise InputError(f"rerank: {len(ids)} ids and {len(scores)} scores; one score an id is needed.")
        if not len(ids):
            return []
        rows = self._rows(ids)
        plain = np.asarray(scores, np.float64)
        if not (np.abs(plain) <= _HIGHEST_SCORE).all():
            raise InputError(
                f"rerank: scores reach from {plain.min():g} to {plain.max():g}, but inner products of unit vectors lie "
                "between -1 and 1, and biases belong to these. Normalise the vectors, or turn distances into cosines."
            )
        bias = weight * self.bias[rows].astype(np.float64)
        if self.gated and not self.hub[rows[int(plain.argmax())]]:
            bias = np.zeros_like(bias)
        order = sorted(zip((plain - bias).tolist(), ids, strict=True), key=lambda hit: (-hit[0], hit[1]))
        return [(row_id, score) for score, row_id in order[:depth]]

    def _rows(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        found = pc.index_in(pa.array(ids, pa.string()), value_set=self.ids)
        if found.null_count:
            missing = next(row_id for row_id, row in zip(ids, found, strict=True) if not row.is_valid)
            raise InputError(
                f"rerank: {found.null_count} of {len(ids)} ids have no bias (first: {missing!r}), so they cannot be "
                "ranked among the others; refresh the table with them, or take them out of the index."
            )
        rows: npt.NDArray[np.int64] = found.to_numpy().astype(np.int64)
        return rows


def plain_scores(exact: Ranking, bias: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float64]]:
    """The plain scores of the first candidates of each query, from their debiased ones.

    Inner products of grid vectors are multiples of 2**-50, so rounding to these undoes the subtraction exactly.

    Args:
        exact: the debiased ranking of each query, from an exact search.
        bias: for each query the float32 biases of its ranked candidates, in order of rank.
    """
    step = GRID**2
    rows = zip(exact.rows, bias, strict=True)
    return [np.rint((np.array([s for s, _ in row]) + b.astype(np.float64)) * step) / step for row, b in rows]


def count_at_least(
    queries: FloatMatrix, candidates: FloatMatrix, scores: Sequence[npt.NDArray[np.float64]]
) -> list[npt.NDArray[np.int64]]:
    """How many candidates of a shard score at least as high as each of some scores: their worst plain rank there.

    Args:
        queries: (queries, dim) float32 on the grid of ``vectors``.
        candidates: (rows, dim) float32 on the grid of ``vectors``.
        scores: for each query the float64 plain scores that candidates are counted against.
    """
    counts = [np.zeros(len(row), np.int64) for row in scores]
    wide = queries.astype(np.float64)
    for first in range(0, len(candidates), _TILE_ROWS):
        products = wide @ candidates[first : first + _TILE_ROWS].astype(np.float64).T
        for query, row in enumerate(scores):
            ordered = np.sort(products[query])
            counts[query] += len(ordered) - np.searchsorted(ordered, row, side="left")
    return counts


@dataclass(frozen=True)
class _Depths:
    """How much a plain search must return for its corrected top 10 to be the exact one.

    Attributes:
        queries: how many queries were measured.
        target: share of the exact top 10 that is wanted, on average over queries.
        needed: least depth K of a plain search at which the average share reaches the target.
        complete: least depth K of a plain search that keeps the exact top 10 of every query.
        overlap: (K, share of the exact top 10 kept) at a few depths K, ascending.
    """

    queries: int
    target: float
    needed: int
    complete: int
    overlap: tuple[tuple[int, float], ...]


def needed_depth(ranks: Sequence[npt.NDArray[np.int64]], target: float, candidates: int) -> _Depths:
    """Read off K.

    Args:
        ranks: for each query the plain ranks, from 1, of its exact top 10.
        target: share of the exact top 10 that is wanted, above 0 and at most 1.
        candidates: how many candidates the index holds.
    """
    # Of every query the k-th best costs its rank; the mean over queries of the share is a sum over all these ranks.
    weights = np.concatenate([np.full(len(row), 1.0 / (len(row) * len(ranks))) for row in ranks])
    costs = np.concatenate(list(ranks))
    order = np.argsort(costs, kind="stable")
    kept = np.cumsum(weights[order])
    enough = int(np.searchsorted(kept, target - 1e-9))
    ladder = [k for power in range(1, 10) for k in (10**power, 2 * 10**power, 5 * 10**power) if k < candidates]
    shares = [(k, float(weights[costs <= k].sum())) for k in [*ladder, candidates]]
    shown = next((place for place, (_, share) in enumerate(shares) if share >= 1.0 - 1e-9), len(shares) - 1)
    needed = int(costs[order][min(enough, len(costs) - 1)])
    return _Depths(len(ranks), target, needed, int(costs.max()), tuple(shares[: shown + 1]))


def check_target(target: float) -> None:
    """Refuse a share that is none.

    Raises:
        InputError: not above 0 and at most 1.
    """
    if not (math.isfinite(target) and 0.0 < target <= 1.0):
        raise InputError(f"--target-overlap {target} must lie above 0 and be at most 1.")
