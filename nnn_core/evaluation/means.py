"""The means of one embedded shard of candidates, in its own order, as every pass of an evaluation needs them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nnn_core import storage
from nnn_core.artifacts import checksum_of, from_tensors, keep_exactly, lost, to_tensors
from nnn_core.embedded.shards import EmbeddedShard, read_ids
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.table.reading import BiasTable, load_bias_table
from nnn_core.vectors import FloatMatrix


@dataclass(frozen=True)
class ShardMeans:
    """Where the means of a shard's candidates lie.

    Attributes:
        shard: embedded shard of the candidates.
        uri: safetensors file of the candidates' means, (rows, grid) float32.
        grid: (grid,) the k of each column of the means.
    """

    shard: EmbeddedShard
    uri: str
    grid: tuple[int, ...]

    @classmethod
    def store(cls, shard: EmbeddedShard, means: FloatMatrix, grid: tuple[int, ...], work: str) -> ShardMeans:
        """Store means (rows, grid) below ``work``, under a name that follows from the content."""
        arrays = {"means": np.ascontiguousarray(means, np.float32)}
        uri = storage.join(work, "evaluation", f"means-{checksum_of(arrays, '').hex()[:40]}.safetensors")
        keep_exactly(uri, to_tensors(arrays, uri))
        return cls(shard, uri, grid)

    @classmethod
    def look_up(cls, shard: EmbeddedShard, table: str, version: int, work: str) -> ShardMeans:
        """The means of a shard's candidates, from a published table; stored below ``work``.

        Raises:
            InputError: a candidate is not in the table.
        """
        loaded = _table(table, version)
        means = loaded.means_for(read_ids(shard))
        return cls.store(shard, means, loaded.manifest.settings.grid, work)

    def load(self) -> FloatMatrix:
        """The stored means, (rows, grid) float32.

        Raises:
            LostArtifactError: the file is gone or damaged.
        """
        try:
            means: FloatMatrix = from_tensors(storage.read_bytes(self.uri), self.uri)["means"]
        except (CorruptArtifactError, InputError) as error:
            raise lost(self.uri, str(error)) from error
        return means


@lru_cache(maxsize=1)
def _table(uri: str, version: int) -> BiasTable:
    return load_bias_table(uri, version)
