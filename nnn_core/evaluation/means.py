"""The means of one embedded shard of candidates, in its own order, as every pass of an evaluation needs them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnn_core import storage
from nnn_core.artifacts import from_tensors, keep_exactly, to_tensors
from nnn_core.digests import sha256
from nnn_core.embedded.shards import EmbeddedShard
from nnn_core.vectors import FloatMatrix


@dataclass(frozen=True)
class ShardMeans:
    """Where the means of a shard's candidates lie.

    Attributes:
        shard: the candidates.
        uri: file of the means (rows, grid) float32.
        grid: the k of each column.
    """

    shard: EmbeddedShard
    uri: str
    grid: tuple[int, ...]


def store_means(shard: EmbeddedShard, means: FloatMatrix, grid: tuple[int, ...], work: str) -> ShardMeans:
    """Store means (rows, grid) below ``work``, under a name that follows from the content.

    Raises:
        CorruptArtifactError: a damaged file lies under the name.
    """
    data = to_tensors({"means": np.ascontiguousarray(means, np.float32)})
    uri = storage.join(work, "evaluation", f"means-{sha256(data)[:40]}.safetensors")
    keep_exactly(uri, data)
    return ShardMeans(shard, uri, grid)


def load_means(stored: ShardMeans) -> FloatMatrix:
    """Read them back: (rows, grid) float32.

    Raises:
        CorruptArtifactError: the file is damaged.
    """
    means: FloatMatrix = from_tensors(storage.read_bytes(stored.uri), stored.uri)["means"]
    return means
