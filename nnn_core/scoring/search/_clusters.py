"""Clusters of references, in fewer dimensions: what the approximate search prunes with.

Everything that decides which references are looked at is computed in whole numbers, so that the
approximate table, too, depends on its inputs only and not on tiles, threads or the layout of
shards: projections of vectors on the grid are exact in float64, are rounded to integers of norm
below 2**12, and float32 holds every partial sum of a product of two such vectors. The clusters
themselves are trained once, by FAISS, and kept as a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nnn_core.artifacts import from_tensors, to_tensors
from nnn_core.errors import CorruptArtifactError
from nnn_core.vectors import FloatMatrix, to_grid

#: Dimensions in which references are clustered and lists are chosen.
CLUSTER_DIMS = 128

#: Share of a list's spread that is added to its centroid's product; measured on several corpora.
_REACH = 0.12

_BASIS_ROWS = 65_536
_TOP_CLUSTERS = 32
_NEAR_CLUSTERS = 3
_LLOYD_PASSES = 3
_TRAIN_ROWS_PER_LIST = 48
_ITERATIONS = 8
_SEED = 20241110
_SLAB_ROWS = 16_384


@dataclass(frozen=True)
class Clusters:
    """The references of one reference shard, in lists of similar ones.

    Attributes:
        basis: (dim, dim) float32 on the grid: directions of the references, the widest first.
        centre: (dim,) float64, the mean of a sample of the references, in the directions of ``basis``.
        centroids: (lists, at most CLUSTER_DIMS) float32 whole numbers, the centroid of each list.
        bonus: (lists,) float32 whole numbers, added to a candidate's product with the centroid: a wide
            list reaches further beyond its centroid than a narrow one.
        order: (distinct,) int32, positions of the references, list after list.
        starts: (lists + 1,) int64, the position in ``order`` at which each list begins, and the end of the last.
        longest: largest norm of a reference less the mean, by which references are divided before they are rounded to
            whole numbers; 1 if all references are equal.
    """

    basis: FloatMatrix
    centre: npt.NDArray[np.float64]
    centroids: FloatMatrix
    bonus: npt.NDArray[np.float32]
    order: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    longest: float

    @classmethod
    def train(cls, vectors: FloatMatrix) -> Clusters:
        """Cluster references (distinct, dim) on the grid."""
        lists = list_count(len(vectors))
        sample = vectors[:: -(-len(vectors) // _BASIS_ROWS)].astype(np.float64)
        mean = sample.mean(axis=0)
        _, directions = np.linalg.eigh((sample - mean).T @ (sample - mean))
        basis = to_grid(directions.T[::-1].copy())
        centre = basis.astype(np.float64) @ mean
        longest = max(float(np.linalg.norm(slab - mean, axis=1).max()) for slab in _slabs(vectors)) or 1.0
        empty = np.zeros((0, 0), np.float32)
        bare = cls(basis, centre, empty, empty, np.zeros(0, np.int32), np.zeros(1, np.int64), longest)
        reduced = np.concatenate([bare.reduce_references(slab, CLUSTER_DIMS) for slab in _slabs(vectors)])
        centroids, members = _train_lists(reduced, lists)
        order = np.argsort(members, kind="stable").astype(np.int32)
        counts = np.bincount(members, minlength=len(centroids))
        squares = ((reduced - centroids[members]) ** 2).sum(axis=1, dtype=np.float64)
        spreads = np.sqrt(np.bincount(members, squares, minlength=len(centroids)) / np.maximum(counts, 1))
        bonus = np.rint(_REACH * _scale(len(basis)) * spreads).astype(np.float32)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return replace(bare, centroids=centroids, bonus=bonus, order=order, starts=starts)

    @property
    def nbytes(self) -> int:
        """How many bytes of memory the clusters take."""
        return int(self.basis.nbytes + self.centroids.nbytes + self.order.nbytes + self.starts.nbytes)

    def reduce_references(self, vectors: FloatMatrix, dims: int) -> FloatMatrix:
        """References less their mean in the first ``dims`` directions, as whole numbers: (rows, dims) float32."""
        exact = vectors.astype(np.float64) @ self.basis[:dims].astype(np.float64).T
        return self._to_whole((exact - self.centre[:dims]) / self.longest)

    def reduce_candidates(self, vectors: FloatMatrix, dims: int) -> FloatMatrix:
        """Candidates in the first ``dims`` directions, as whole numbers: (rows, dims) float32. Their own mean stays."""
        return self._to_whole(vectors.astype(np.float64) @ self.basis[:dims].astype(np.float64).T)

    def _to_whole(self, vectors: npt.NDArray[np.float64]) -> FloatMatrix:
        """Round (rows, dims) of norm at most 1 to whole numbers of norm below 2**12."""
        return np.rint(vectors * _scale(len(self.basis))).astype(np.float32)

    def to_bytes(self, uri: str) -> bytes:
        """The clusters as a safetensors file that is to be stored under ``uri``."""
        arrays = {name: getattr(self, name) for name in ("basis", "centre", "centroids", "bonus", "order", "starts")}
        return to_tensors({**arrays, "longest": np.array([self.longest])}, uri)

    @classmethod
    def from_bytes(cls, data: bytes, uri: str) -> Clusters:
        """The clusters that ``to_bytes`` wrote.

        Raises:
            CorruptArtifactError: damaged.
        """
        try:
            arrays: dict[str, Any] = from_tensors(data, uri)
            return cls(**{**arrays, "longest": float(arrays["longest"][0])})
        except (KeyError, TypeError, IndexError) as error:
            raise CorruptArtifactError(
                f"{uri!r} holds no readable clusters: {error}. Delete it and run the same command again."
            ) from error


def list_count(rows: int) -> int:
    """Lists for so many references: a power of two near 16 times the square root, which balances the cost
    of choosing among lists with that of looking through them."""
    return 1 << round(math.log2(16.0 * math.sqrt(rows))) if rows > 1024 else max(1, rows // 32)


def _scale(dim: int) -> float:
    """What coordinates of vectors of norm 1 are multiplied by; rounding adds up to sqrt(dim) / 2 to the norm."""
    return 2.0**12 - 2.0 - 0.5 * math.sqrt(dim)


def _train_lists(reduced: FloatMatrix, lists: int) -> tuple[FloatMatrix, npt.NDArray[np.int64]]:
    """Centroids (lists, dims) of whole numbers and the list of each row.

    k-means within clusters of k-means, and then passes of Lloyd's algorithm over all lists in which a
    row only sees those of the clusters nearest to it: most of the quality of one k-means over
    everything, for a tenth of the work.
    """
    top = _kmeans(reduced, min(_TOP_CLUSTERS, lists))
    near = _nearest(reduced, top, min(_NEAR_CLUSTERS, len(top)))
    shares = np.bincount(near[:, 0], minlength=len(top)) * lists / len(reduced)
    inner = [
        _kmeans(reduced[near[:, 0] == number], max(1, round(shares[number]))) if shares[number] else top[:0]
        for number in range(len(top))
    ]
    centroids = np.concatenate(inner)
    ends = np.cumsum([len(part) for part in inner])
    for passes_left in reversed(range(_LLOYD_PASSES)):
        best, lowest = np.zeros(len(reduced), np.int64), np.full(len(reduced), -np.inf)
        for number, part in enumerate(inner):
            rows = np.flatnonzero((near == number).any(axis=1))
            own = centroids[ends[number] - len(part) : ends[number]]
            for some in _slabs(rows if len(part) else rows[:0]):
                similarity = _similarity(reduced[some], own)
                at = similarity.argmax(axis=1)
                score = np.take_along_axis(similarity, at[:, None], axis=1)[:, 0]
                better = score > lowest[some]
                best[some[better]] = at[better] + ends[number] - len(part)
                lowest[some[better]] = score[better]
        if passes_left:
            centroids = _means(reduced, best, centroids)
    return centroids, best


def _similarity(vectors: FloatMatrix, centroids: FloatMatrix) -> npt.NDArray[np.float64]:
    """(rows, centroids) a number that is highest for the nearest centroid: <v, c> - |c|^2 / 2, exactly."""
    similarity: npt.NDArray[np.float64] = (vectors @ centroids.T).astype(np.float64)
    similarity -= (centroids.astype(np.float64) ** 2).sum(axis=1) / 2.0
    return similarity


def _means(vectors: FloatMatrix, lists: npt.NDArray[np.int64], centroids: FloatMatrix) -> FloatMatrix:
    """The rounded mean of each list's vectors; an empty list keeps its centroid."""
    order = np.argsort(lists, kind="stable")
    counts = np.bincount(lists, minlength=len(centroids))
    filled = np.flatnonzero(counts)
    sums = np.add.reduceat(vectors[order], (np.cumsum(counts) - counts)[filled], axis=0, dtype=np.float64)
    means = centroids.copy()
    means[filled] = _round(sums / counts[filled][:, None])
    return means


def _kmeans(vectors: FloatMatrix, clusters: int) -> FloatMatrix:
    import faiss  # here, as exact searches do without it

    kmeans = faiss.Kmeans(
        vectors.shape[1],
        min(clusters, len(vectors)),
        niter=_ITERATIONS,
        seed=_SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=_TRAIN_ROWS_PER_LIST,
    )
    kmeans.train(vectors)
    return _round(np.asarray(kmeans.centroids, np.float64))


def _round(centroids: npt.NDArray[np.float64]) -> FloatMatrix:
    """Round centroids to whole numbers of norm below 2**12.

    Those that FAISS splits off for empty lists may lie outside of all vectors, and the mean of rounded
    vectors is rounded once more.
    """
    norms = np.linalg.norm(centroids, axis=1, keepdims=True)
    shrunk = centroids * np.minimum(1.0, _scale(centroids.shape[1]) / np.maximum(norms, 1.0))
    whole: FloatMatrix = np.rint(shrunk).astype(np.float32)
    return whole


def _nearest(vectors: FloatMatrix, centroids: FloatMatrix, count: int) -> npt.NDArray[np.int64]:
    """(rows, count) the nearest centroids of each vector, the nearest first."""
    similarities = (_similarity(slab, centroids) for slab in _slabs(vectors))
    return np.concatenate([np.argsort(-each, axis=1, kind="stable")[:, :count] for each in similarities])


def _slabs(rows: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """``rows`` in stretches, so that what is computed of all of them never lies in memory at once."""
    return (rows[first : first + _SLAB_ROWS] for first in range(0, len(rows), _SLAB_ROWS))
