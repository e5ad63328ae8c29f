"""How much of the exact debiased top 10 an export keeps, measured on a sample of queries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nnn_core.consumers.engines.recipe import Recipe
from nnn_core.embedded.shards import EmbeddedShard, read_ids, read_shard
from nnn_core.evaluation.metrics import top_overlap, top_shares
from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.rankings import DEPTH, Ranking, rank_shard
from nnn_core.vectors import FloatMatrix

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


def sample_shard(shard: EmbeddedShard, size: int, seed: int) -> Sample:
    """The sample of one shard.

    Raises:
        CorruptArtifactError: its file is damaged.
    """
    ids = read_ids(shard).to_pylist()
    hashes = [hashlib.blake2b(f"{seed} {row_id}".encode(), digest_size=12).digest() for row_id in ids]
    chosen = sorted(range(len(ids)), key=lambda row: (hashes[row], ids[row]))[:size]
    vectors = read_shard(shard).vectors
    rows = ((hashes[row], ids[row], vectors[row].astype("<f4").tobytes()) for row in chosen)
    return Sample(size, tuple(sorted(rows)))


def merge_samples(samples: Iterable[Sample]) -> Sample:
    """The sample of all."""
    every = list(samples)
    size = max((sample.size for sample in every), default=0)
    return Sample(size, tuple(sorted({row for sample in every for row in sample.rows})[:size]))


def sampled_queries(sample: Sample) -> QuerySet:
    """The sampled rows as queries that nobody judges."""
    vectors = np.stack([np.frombuffer(data, "<f4") for _, _, data in sample.rows])
    ids = tuple(row_id for _, row_id, _ in sample.rows)
    return QuerySet(ids, vectors, ((),) * len(ids), np.zeros(0))


def rank_exported(recipe: Recipe, queries: FloatMatrix, stored: FloatMatrix, ids: list[str]) -> Ranking:
    """The first candidates by the engine's metric, of stored vectors as they were written.

    Args:
        recipe: what the engine is asked with, and its metric.
        queries: (queries, dim) float32 unit vectors.
        stored: (rows, dimensions) float32.
        ids: of the rows.
    """
    asked, wide = recipe.asked(queries), stored.astype(np.float64)
    squares = (wide**2).sum(axis=1)
    if recipe.metric == "l2":
        # |q - r|^2 = |q|^2 - (<2 q, r> - |r|^2): least where the difference is highest.
        return rank_shard(2.0 * asked, stored, ids, squares)  # type: ignore[arg-type]
    if recipe.metric == "cosine":
        stored = (wide / np.sqrt(squares)[:, None]).astype(np.float32)
    return rank_shard(asked, stored, ids, np.zeros(len(ids), np.float32))


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


def overlap_of(exact: Ranking, exported: Ranking, plain: Ranking | None = None) -> TopOverlap:
    """Compare rankings of the same queries."""
    shares = top_shares(exact.ids, exported.ids, DEPTH)
    changed = None if plain is None else 1.0 - top_overlap(exact.ids, plain.ids, DEPTH)
    depth = min(DEPTH, max(map(len, exact.rows), default=0))
    return TopOverlap(len(shares), depth, float(np.mean(shares)), min(shares), changed)
