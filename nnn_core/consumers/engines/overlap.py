"""How much of the exact debiased top 10 an export keeps, measured on a sample of queries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nnn_core.embedded.shards import EmbeddedShard, read_ids, read_shard
from nnn_core.evaluation.metrics import top_overlap, top_shares
from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.rankings import DEPTH, Ranking

#: Queries that an overlap is measured on, unless told otherwise.
SAMPLE_ROWS = 256


@dataclass(frozen=True)
class Sample:
    """The rows with the lowest hashes: the same ones however a corpus is cut into shards.

    Attributes:
        size: how many are wanted.
        rows: (hash, id, vector as bytes) ascending.
    """

    size: int
    rows: tuple[tuple[bytes, str, bytes], ...] = ()

    @classmethod
    def of_shard(cls, shard: EmbeddedShard, size: int, seed: int) -> Sample:
        """The sample of one shard.

        Raises:
            CorruptArtifactError: its file is damaged.
        """
        ids = read_ids(shard).to_pylist()
        hashes = [hashlib.blake2b(f"{seed} {row_id}".encode(), digest_size=12).digest() for row_id in ids]
        chosen = sorted(range(len(ids)), key=lambda row: (hashes[row], ids[row]))[:size]
        vectors = read_shard(shard).vectors
        rows = ((hashes[row], ids[row], vectors[row].astype("<f4").tobytes()) for row in chosen)
        return cls(size, tuple(sorted(rows)))

    @classmethod
    def merge(cls, samples: Iterable[Sample]) -> Sample:
        """The sample of all shards, from those of each."""
        every = list(samples)
        size = max((sample.size for sample in every), default=0)
        return cls(size, tuple(sorted({row for sample in every for row in sample.rows})[:size]))

    def to_queries(self) -> QuerySet:
        """The sampled rows as queries that nobody judges."""
        vectors = np.stack([np.frombuffer(data, "<f4") for _, _, data in self.rows])
        ids = tuple(row_id for _, row_id, _ in self.rows)
        return QuerySet(ids, vectors, ((),) * len(ids), np.zeros(0))


@dataclass(frozen=True)
class TopOverlap:
    """What the first ten of two rankings have in common.

    Attributes:
        queries: how many were asked.
        depth: how many candidates of each are compared.
        mean: share in common, over queries.
        lowest: that of the worst query.
        changed: share of the plain top that the bias replaces, None if nobody looked: how much there was to lose.
    """

    queries: int
    depth: int
    mean: float
    lowest: float
    changed: float | None = None

    @classmethod
    def of(cls, exact: Ranking, exported: Ranking, plain: Ranking | None = None) -> TopOverlap:
        """Compare rankings of the same queries."""
        shares = top_shares(exact.ids, exported.ids, DEPTH)
        changed = None if plain is None else 1.0 - top_overlap(exact.ids, plain.ids, DEPTH)
        depth = min(DEPTH, max(map(len, exact.rows), default=0))
        return cls(len(shares), depth, float(np.mean(shares)), min(shares), changed)
