"""An export: embedded shards with their biases inside, as an engine imports them, and a manifest of the files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from nnn_core import records, storage
from nnn_core.artifacts import keep_exactly, to_parquet
from nnn_core.consumers.engines._faiss_file import (
    Tuned,
    build_index,
    check_size,
    search_ids,
    set_like,
    to_bytes,
    tune,
)
from nnn_core.consumers.engines._layouts import LAYOUTS, Rows, read_rows, write_rows
from nnn_core.consumers.engines.overlap import TopOverlap
from nnn_core.consumers.engines.recipe import Recipe
from nnn_core.consumers.engines.registry import find_engine
from nnn_core.consumers.rerank import Reranker
from nnn_core.digests import add_set_digests, sha256
from nnn_core.embedded.corpus import embedded_shards
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, check_alike, read_ids, read_shard
from nnn_core.encoders.fingerprints import check_dimension, check_encoder
from nnn_core.errors import DuplicateIdError, InputError, StorageError
from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.rankings import DEPTH, Ranking, Rankings
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.scoring.bank import in_order
from nnn_core.table.manifest import Manifest, read_manifest
from nnn_core.table.reading import BiasTable
from nnn_core.vectors import FloatMatrix

_FORMAT = "nnn-export/1"

#: Bytes of vectors that an index is built of, unless told otherwise; building and writing hold about twice as much.
MOST_INDEX_BYTES = 8 << 30

_ROWS_PER_BIAS_FILE = 1 << 20

SAME, OTHER, PART = "those of the table", "others than those of the table", "some of the table"


@dataclass(frozen=True)
class WrittenFile:
    """One file of an export.

    Attributes:
        path: path of the file, relative to the folder of the export.
        sha256: SHA-256 of the file's bytes, in hex.
        rows: how many candidates the file holds.
        bytes: size of the file, in bytes.
    """

    path: str
    sha256: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Exported:
    """Files of an export, and how their candidates are ranked.

    Attributes:
        files: every file that was written, with its digest and size.
        rankings: exact plain and debiased rankings of the candidates in the files.
        found: first candidates of each query as the engine ranks the vectors in the files.
        tuned: how far a FAISS index looks, and what an index of plain vectors finds; None of other engines.
    """

    files: tuple[WrittenFile, ...]
    rankings: Rankings
    found: Ranking
    tuned: Tuned | None = None

    def __or__(self, other: Exported) -> Exported:
        return Exported(self.files + other.files, self.rankings | other.rankings, self.found | other.found)

    @property
    def overlap(self) -> TopOverlap:
        """How much of the exact ranking the engine keeps."""
        return TopOverlap.of(self.rankings.debiased, self.found, self.rankings.plain)


@dataclass(frozen=True)
class Embeddings:
    """The embeddings as a whole.

    Attributes:
        shards: all embedded shards to export, in order of their source.
        rows: how many candidates all embedded shards hold.
        rejected: how many rows of the input could not be used.
        id_digest: order-free digest of the candidate ids.
        vectors: whether the biases were computed from these very vectors: ``SAME``, ``OTHER`` or ``PART``.
        off_length: how many ready-made vectors were not unit length as read.
    """

    shards: tuple[EmbeddedShard, ...]
    rows: int
    rejected: int
    id_digest: str
    vectors: str
    off_length: int = 0


@lru_cache(maxsize=1)
def load_biases(uri: str, version: int) -> BiasTable:
    """A version of the table without its means, which no export needs.

    Raises:
        InputError: no such table, version or file.
        CorruptArtifactError: a file or the manifest is damaged.
    """
    manifest = read_manifest(uri, version)
    table = pa.concat_tables([part.read(uri, ["id", "bias"]) for part in manifest.files])
    means = np.zeros((table.num_rows, 0), np.float32)
    return BiasTable(manifest, table.column("id"), table.column("bias").to_numpy(), means)


def gather_embeddings(
    inputs: Sequence[EmbeddedInput],
    table: BiasTable,
    uri: str,
    encoder: dict[str, str] | None,
    max_reject_rate: float,
    rejects_folder: str,
) -> Embeddings:
    """Check the embeddings together, before anything is written.

    Args:
        inputs: what every input shard of the embeddings became.
        table: the version of the table whose biases are exported.
        uri: URI of the table, for messages.
        encoder: the encoder's fingerprint by part; None where all vectors came ready-made.
        max_reject_rate: allowed share of rejected rows, 0 to 1.
        rejects_folder: URI of the folder where rejects are listed, for messages.

    Raises:
        RejectedRowsError: too many rows could not be used.
        InputError: no row is left, or the vectors are not of the table's encoder or dimension.
        DuplicateIdError: an id stands for two rows.
    """
    summary = RejectSummary.merged(embedded.rejects for embedded in inputs)
    summary.check_rate(max_reject_rate, "--embeddings", rejects_folder)
    shards = in_order(embedded_shards(inputs))
    if not shards:
        raise InputError("no row of --embeddings can be used, so there is nothing to export; look at the input.")
    check_alike(shards)
    check_dimension(table.manifest.dim, shards[0].dim, uri, repr(shards[0].source))
    if encoder is not None and not all(each.precomputed for each in inputs):
        check_encoder(table.manifest.settings.encoder, encoder, uri, "what --encoder names")
    rows, ids = sum(s.rows for s in shards), add_set_digests(s.id_digest for s in shards)
    if (rows, ids) != (table.manifest.rows, table.manifest.id_digest):
        _check_unique(shards, table)
    origin = PART
    if ids == table.manifest.id_digest:
        same = add_set_digests(s.vector_digest for s in shards) == table.manifest.candidates.digest
        origin = SAME if same else OTHER
    off_length = sum(each.off_length or 0 for each in inputs)
    return Embeddings(tuple(shards), rows, summary.rejected, ids, origin, off_length)


def _check_unique(shards: Iterable[EmbeddedShard], table: BiasTable) -> None:
    """No candidate may come twice, though not all need come.

    Raises:
        DuplicateIdError: naming one.
        InputError: a candidate is not in the table.
    """
    seen = np.zeros(len(table.ids), np.int32)
    for shard in shards:
        rows = table.rows_of(read_ids(shard).to_pylist())
        np.add.at(seen, rows, 1)
        double = rows[seen[rows] > 1]
        if len(double):
            row_id = table.ids[int(double.min())].as_py()
            raise DuplicateIdError(
                f"candidate id {row_id!r} of {shard.source!r} occurs more than once among "
                "--embeddings, so an engine would keep one of them by chance; make ids unique."
            )


def export_shard(shard: EmbeddedShard, recipe: Recipe, table: BiasTable, queries: QuerySet, output: str) -> Exported:
    """Write one shard as the engine's file, read it back, and rank what it holds.

    Raises:
        InputError: a candidate is not in the table, or the engine cannot hold its id.
        CorruptArtifactError: another file lies under the name of this one.
        StorageError: the output cannot be written.
    """
    engine, block = find_engine(recipe.engine), read_shard(shard)
    ids = block.ids.to_pylist()
    bias = table.bias_of(ids)
    data = write_rows(engine, Rows(ids, recipe.stored(block.vectors, bias), bias), _footer(table.manifest, recipe))
    written = keep_file(output, f"{engine.folder}/part", LAYOUTS[engine.layout].suffix, data, len(ids))
    ranked = Rankings.of(queries.vectors, block.vectors, ids, bias)
    names, stored = read_rows(engine, data, written.path)
    return Exported((written,), ranked, recipe.rank(queries.vectors, stored, names))


def keep_file(output: str, stem: str, suffix: str, data: bytes | memoryview, rows: int) -> WrittenFile:
    """Store a file under a name that follows from its content.

    Raises:
        CorruptArtifactError: another file lies under the name.
    """
    digest = sha256(data)
    path = f"{stem}-{digest[:16]}{suffix}"
    keep_exactly(storage.join(output, path), data)
    return WrittenFile(path, digest, rows, len(data))


@dataclass(frozen=True)
class IndexFile:
    """How a FAISS index is built of all candidates, whose vectors must fit into memory.

    Attributes:
        factory: FAISS's factory string of the index, such as ``Flat`` or ``HNSW32``.
        most_bytes: most bytes of vectors that the index may be built of.
        threads: how many threads build the index.
        target: mean overlap with the exact top 10 that the index is to look far enough for, above 0 and at most 1.
        look: ``nprobe`` or ``efSearch`` of the index; None for the least that reaches ``target``.
    """

    factory: str
    most_bytes: int
    threads: int
    target: float = 0.99
    look: int | None = None

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
        for shard in embeddings.shards:
            block, rows = read_shard(shard), slice(len(ids), len(ids) + shard.rows)
            names = block.ids.to_pylist()
            bias[rows] = table.bias_of(names)
            stored[rows] = recipe.stored(block.vectors, bias[rows])
            ids += names
        data, found, tuned = self._build(recipe, stored, ids, queries, rankings)
        folder = find_engine(recipe.engine).folder
        positions = to_parquet(pa.table({"id": pa.array(ids, pa.string()), "bias": pa.array(bias)}))
        files = (
            keep_file(output, f"{folder}/index", ".faiss", data, len(ids)),
            keep_file(output, f"{folder}/ids", ".parquet", positions, len(ids)),
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


def export_biases(table: BiasTable, deviations: float, output: str) -> tuple[list[WrittenFile], int]:
    """Write the biases to look up, for ``Reranker.load``.

    Args:
        table: the version of the table whose biases are written.
        deviations: robust standard deviations above the median from which a bias makes a hub.
        output: URI of the folder of the export.

    Returns:
        The files, and how many candidates are hubs.
    """
    biases = Reranker.of(table.ids, table.bias, deviations=deviations)
    files = []
    for first in range(0, len(table.bias), _ROWS_PER_BIAS_FILE):
        last = min(first + _ROWS_PER_BIAS_FILE, len(table.bias))
        data = biases.to_bytes(slice(first, last))
        files.append(keep_file(output, "biases/part", ".parquet", data, last - first))
    return files, int(np.count_nonzero(biases.hub))


def _footer(manifest: Manifest, recipe: Recipe) -> dict[str, Any]:
    """What a stray Parquet file of an export says of itself."""
    return {
        "format": _FORMAT,
        **{name: getattr(recipe, name) for name in ("engine", "metric", "form", "bias_shift", "max_abs_bias")},
        "version": manifest.version,
        "id_digest": manifest.id_digest,
        "encoder": manifest.settings.encoder,
    }


def export_record(
    table: BiasTable,
    uri: str,
    embeddings: Embeddings,
    files: Sequence[WrittenFile],
    overlap: TopOverlap | None,
    queries: dict[str, Any],
    details: dict[str, Any],
) -> dict[str, Any]:
    """The content of ``export.json``: the same for the same export; it holds no time."""
    manifest = table.manifest
    return {
        "format": _FORMAT,
        "table": {
            "uri": uri,
            "version": manifest.version,
            "rows": manifest.rows,
            "id_digest": manifest.id_digest,
            "k": manifest.settings.k,
            "alpha": manifest.settings.alpha,
        },
        "encoder": manifest.settings.encoder,
        "rows": embeddings.rows,
        "rejected": embeddings.rejected,
        "id_digest": embeddings.id_digest,
        "embeddings": embeddings.vectors,
        "off_length": embeddings.off_length,
        "files": [asdict(each) for each in sorted(files, key=lambda each: each.path)],
        "queries": queries,
        "overlap": asdict(overlap) if overlap else None,
        **details,
    }


def manifest_uri(output: str) -> str:
    """Where the manifest of an export lies; the export is complete once it is there."""
    return storage.join(output, "export.json")


def check_output(output: str, expected: dict[str, Any]) -> None:
    """Refuse, before the work, an output that holds a finished export of something else.

    Args:
        output: URI of the folder of the export.
        expected: what the export's record will say, by name, as far as it is known.

    Raises:
        StorageError: it holds another export, or cannot be written exclusively.
    """
    storage.check_exclusive(output)
    uri = manifest_uri(output)
    if not storage.exists(uri):
        return
    try:
        record = json.loads(storage.read_bytes(uri))
        differing = [name for name, value in expected.items() if record.get(name) != json.loads(json.dumps(value))]
    except (ValueError, AttributeError) as error:
        raise StorageError(f"{uri!r} is not the manifest of an export ({error}); name a new --output.") from error
    if differing:
        raise StorageError(
            f"{uri!r} is there already, of another export (its {', '.join(differing)} differ), and was left as it is; "
            "name a new --output."
        )


def commit_export(output: str, folders: Iterable[str], record: dict[str, Any]) -> str:
    """Write the manifest, last of all.

    Raises:
        StorageError: the folder holds files of something else, or another export's manifest.
    """
    known = {each["path"] for each in record["files"]}
    for folder in folders:
        stray = [name for name in storage.list_names(storage.join(output, folder)) if f"{folder}/{name}" not in known]
        if stray:
            raise StorageError(
                f"{storage.join(output, folder)!r} holds {len(stray)} files that this export did not write (first: "
                f"{stray[0]!r}), which an engine would import too. Delete them if nobody needs them, or name a new "
                "--output, and run the same command again."
            )
    data = records.to_page(record)
    uri = manifest_uri(output)
    if not storage.create(uri, data) and storage.read_bytes(uri) != data:
        raise StorageError(f"{uri!r} is there already, of another export, and was left as it is; name a new --output.")
    return uri
