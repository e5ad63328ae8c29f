"""The centroid of a side's vectors: exact sums, kept beside the embedded shards that they are of.

The centroid tells one modality from the other and one model from another (Liang et al., "Mind the gap",
NeurIPS 2022), and the inner product of two centroids is the mean similarity of all pairs.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool

import numpy as np
import numpy.typing as npt

from nnn_core import storage
from nnn_core.artifacts import keep_tensors
from nnn_core.digests import name_of
from nnn_core.embedded.shards import EmbeddedShard, read_shard
from nnn_core.vectors import GRID, FloatMatrix

_BLOCK_ROWS = 4096

#: Kept sums that are read at the same time; those of vectors that have to be read are taken one after the other.
_READERS = 16
_COMPUTING = threading.Lock()


@dataclass(frozen=True)
class VectorSum:
    """Sum of vectors on the grid, in whole numbers, so that it does not depend on cuts; ``a | b`` adds up.

    Attributes:
        rows: how many vectors were added up, at most 2**37.
        total: (dim,) int64, sums of coordinates times 2**25; (0,) where no vector was added.
    """

    rows: int
    total: npt.NDArray[np.int64]

    @classmethod
    def of(cls, vectors: FloatMatrix) -> VectorSum:
        """The sum of (rows, dim) float32 on the grid of ``vectors``."""
        total = np.zeros(vectors.shape[1], np.int64)
        for first in range(0, len(vectors), _BLOCK_ROWS):
            block = vectors[first : first + _BLOCK_ROWS].astype(np.float64)
            total += (block.sum(axis=0) * GRID).astype(np.int64)
        return cls(len(vectors), total)

    def __or__(self, other: VectorSum) -> VectorSum:
        if not self.rows or not other.rows:
            return self if self.rows else other
        return VectorSum(self.rows + other.rows, self.total + other.total)

    @classmethod
    def of_shard(cls, shard: EmbeddedShard, work: str, vectors: FloatMatrix | None = None) -> tuple[VectorSum, bool]:
        """The sum of an embedded shard's vectors, and whether it had to be computed.

        Args:
            shard: the embedded shard whose vectors are added up.
            work: URI of the folder of artefacts, where sums are kept.
            vectors: the shard's vectors, where they are in memory; None to read them if the sum is not kept yet.

        Raises:
            CorruptArtifactError: the shard, or the sum that was kept of it, is damaged.
        """
        uri = storage.join(work, "sums", f"{name_of('vector sum', shard=shard.digest)}.safetensors")

        def compute() -> dict[str, npt.NDArray[np.int64]]:
            if vectors is not None:
                return {"total": cls.of(vectors).total}
            with _COMPUTING:
                return {"total": cls.of(read_shard(shard).vectors).total}

        arrays, computed = keep_tensors(uri, compute)
        return cls(shard.rows, arrays["total"]), computed

    @classmethod
    def of_shards(cls, shards: Sequence[EmbeddedShard], work: str) -> list[tuple[VectorSum, bool]]:
        """``of_shard`` of each, several at a time."""
        with ThreadPool(_READERS) as pool:
            return pool.map(lambda shard: cls.of_shard(shard, work), shards, chunksize=1)

    @property
    def centroid(self) -> str:
        """The mean vector as base64 of little-endian float32, short enough for a manifest; see ``to_centroid``."""
        mean = self.total / (max(1, self.rows) * GRID)
        return base64.b64encode(mean.astype("<f4").tobytes()).decode()


_NOTHING = VectorSum(0, np.zeros(0, np.int64))


@dataclass(frozen=True)
class SideSums:
    """The sums of both sides.

    Attributes:
        candidates: sum of the candidates' vectors.
        references: sum of the vectors of the bank's reference queries.
    """

    candidates: VectorSum = _NOTHING
    references: VectorSum = _NOTHING


def to_centroid(text: str) -> npt.NDArray[np.float64] | None:
    """The vector of ``VectorSum.centroid``; None of an empty text, where an earlier release kept none."""
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64) if text else None
