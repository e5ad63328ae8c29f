"""The FAISS index of an export: built of all candidates, searched for the queries, and held against a plain one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from nnn_core.artifacts import to_parquet
from nnn_core.consumers.along import Along
from nnn_core.consumers.engines._faiss_file import (
    Tuned,
    build_index,
    check_size,
    search_ids,
    set_like,
    to_bytes,
    tune,
)
from nnn_core.consumers.engines.overlap import TopOverlap
from nnn_core.consumers.engines.recipe import Recipe
from nnn_core.consumers.export import Embeddings
from nnn_core.consumers.export_files import Exported, _keep_file
from nnn_core.embedded.shards import read_shard
from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.rankings import DEPTH, Ranking, Rankings
from nnn_core.table.reading import BiasTable
from nnn_core.vectors import FloatMatrix

#: Bytes of vectors that an index is built of, unless told otherwise; building and writing hold about twice as much.
MOST_INDEX_BYTES = 8 << 30


@dataclass(frozen=True)
class IndexFile:
    """How a FAISS index is built of all candidates, whose vectors must fit into memory.

    Attributes:
        factory: FAISS's factory string of the index, such as ``Flat`` or ``HNSW32``.
        most_bytes: most bytes of vectors that the index may be built of.
        threads: how many threads build the index.
        target: mean overlap with the exact top 10 that the index is to look far enough for, above 0 and at most 1.
        look: ``nprobe`` or ``efSearch`` of the index; None for the least that reaches ``target``.
        along: what travels along with the vectors.
    """

    factory: str
    most_bytes: int
    threads: int
    target: float = 0.99
    look: int | None = None
    along: Along = field(default_factory=Along)

    def export(
        self,
        embeddings: Embeddings,
        recipe: Recipe,
        table: BiasTable,
        queries: QuerySet,
        rankings: Rankings,
        output: str,
    ) -> Exported:
        """Write the index and the ids of its positions, and search it for the queries.

        Raises:
            ConfigError: the vectors take more than ``most_bytes``, or FAISS cannot build such an index.
            InputError: a candidate is not in the table.
            CorruptArtifactError: another file lies under the name of one of these.
        """
        check_size(embeddings.rows, recipe, self.most_bytes)
        stored, bias = np.empty((embeddings.rows, recipe.dimensions), np.float32), np.empty(embeddings.rows, np.float32)
        ids: list[str] = []
        payload: list[pa.Table] = []
        for shard in embeddings.shards:
            block, rows = read_shard(shard), slice(len(ids), len(ids) + shard.rows)
            names = block.ids.to_pylist()
            bias[rows] = table.bias_of(names)
            stored[rows] = recipe.stored(block.vectors, bias[rows])
            if recipe.payload:
                payload.append(self.along.read(shard, names)[0])
            ids += names
        data, found, tuned = self._build(recipe, stored, ids, queries, rankings)
        columns = {"id": pa.array(ids, pa.string()), "bias": pa.array(bias)}
        if payload:
            further = pa.concat_tables(payload, promote_options="permissive").combine_chunks()
            columns |= dict(zip(further.column_names, further.columns, strict=True))
        positions = to_parquet(pa.table(columns))
        files = (
            _keep_file(output, f"{recipe.folder}/index", ".faiss", data, len(ids)),
            _keep_file(output, f"{recipe.folder}/ids", ".parquet", positions, len(ids)),
        )
        if self.factory == "Flat":  # exact, whatever the vectors
            return Exported(files, rankings, found)
        del data  # before another index is built
        tuned = self._with_plain(tuned, embeddings, recipe, stored, ids, queries, rankings)
        return Exported(files, rankings, found, tuned)

    def _build(
        self, recipe: Recipe, stored: FloatMatrix, ids: list[str], queries: QuerySet, rankings: Rankings
    ) -> tuple[bytes, Ranking, Tuned]:
        """The bytes of the index, what it finds, and how far it looks for that."""
        index = build_index(self.factory, recipe, stored, self.threads)

        def found() -> Ranking:
            return _ranking(search_ids(index, recipe, queries.vectors, ids, DEPTH))

        tuned = tune(index, lambda: TopOverlap.of(rankings.debiased, found()).mean, self.target, self.look)
        return to_bytes(index), found(), tuned

    def _with_plain(
        self,
        tuned: Tuned,
        embeddings: Embeddings,
        recipe: Recipe,
        buffer: FloatMatrix,
        ids: list[str],
        queries: QuerySet,
        rankings: Rankings,
    ) -> Tuned:
        """Also what an index of the plain vectors would find: what is lost there, the bias is not to blame for.

        Args:
            tuned: how far the index looks.
            embeddings: the vectors.
            recipe: recipe whose metric and number of dimensions the plain index has.
            buffer: (rows, dimensions) float32, which is overwritten.
            ids: ids of the rows.
            queries: the queries that are asked.
            rankings: the exact rankings.
        """
        buffer[:] = 0.0
        first = 0
        for shard in embeddings.shards:
            vectors = read_shard(shard).vectors
            buffer[first : first + shard.rows, : vectors.shape[1]] = vectors
            first += shard.rows
        index = build_index(self.factory, recipe, buffer, self.threads)
        set_like(index, tuned)
        asked = np.zeros((len(queries.vectors), recipe.dimensions), np.float32)
        asked[:, : queries.vectors.shape[1]] = queries.vectors
        scores, places = index.search(asked, min(DEPTH, len(ids)))
        rows = (
            [(float(score), ids[place]) for score, place in zip(*each, strict=True) if place >= 0]
            for each in zip(scores, places.tolist(), strict=True)
        )
        return replace(tuned, plain=TopOverlap.of(rankings.plain, _ranking(rows)).mean)


def _ranking(found: Iterable[Iterable[tuple[float, str]]]) -> Ranking:
    return Ranking(tuple(tuple(row) for row in found))
