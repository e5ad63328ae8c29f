"""An export: embedded shards with their biases inside, as an engine imports them, and a manifest of the files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core import records, storage
from nnn_core.artifacts import keep_exactly, to_parquet
from nnn_core.consumers.engines.layouts import LAYOUTS, Rows, read_rows, write_rows
from nnn_core.consumers.engines.overlap import TopOverlap, overlap_of, rank_exported
from nnn_core.consumers.engines.recipe import BiasRange, Recipe
from nnn_core.consumers.engines.registry import find_engine
from nnn_core.digests import add_set_digests, sha256
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, check_alike, read_ids, read_shard
from nnn_core.encoders.fingerprints import check_dimension, check_encoder
from nnn_core.errors import DuplicateIdError, InputError, StorageError
from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.rankings import Ranking, Rankings, rank_twice
from nnn_core.inputs import rejects
from nnn_core.inputs.shards import natural_key
from nnn_core.table.manifest import Manifest, read_manifest
from nnn_core.table.parts import read_part
from nnn_core.table.reading import BiasTable
from nnn_core.vectors import FloatMatrix

_FORMAT = "nnn-export/1"

SAME, OTHER, PART = "those of the table", "others than those of the table", "some of the table"


@dataclass(frozen=True)
class WrittenFile:
    """One file of an export.

    Attributes:
        path: relative to the output.
        sha256: of its bytes.
        rows: candidates in it.
        bytes: its size.
    """

    path: str
    sha256: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Exported:
    """Files of an export, and how their candidates are ranked.

    Attributes:
        files: what was written.
        rankings: of the candidates in these files, as they should be.
        found: the first candidates by the engine's metric, of the vectors in the files.
    """

    files: tuple[WrittenFile, ...]
    rankings: Rankings
    found: Ranking

    def __or__(self, other: Exported) -> Exported:
        return Exported(self.files + other.files, self.rankings | other.rankings, self.found | other.found)

    @property
    def overlap(self) -> TopOverlap:
        """How much of the exact ranking the engine keeps."""
        return overlap_of(self.rankings.debiased, self.found, self.rankings.plain)


@dataclass(frozen=True)
class Embeddings:
    """The embeddings as a whole.

    Attributes:
        shards: all of them, in order of their source.
        rows: candidates.
        rejected: rows that could not be used.
        id_digest: order-free digest of the ids.
        vectors: whether they are those that the biases were computed from: ``SAME``, ``OTHER`` or ``PART``.
    """

    shards: tuple[EmbeddedShard, ...]
    rows: int
    rejected: int
    id_digest: str
    vectors: str


def recorded(recipe: Recipe | None) -> dict[str, Any] | None:
    """The recipe as the manifest of an export has it; None where the order is corrected afterwards."""
    return None if recipe is None else {**recipe.to_record(), "folder": find_engine(recipe.engine).folder}


@lru_cache(maxsize=1)
def load_biases(uri: str, version: int) -> BiasTable:
    """A version of the table without its means, which no export needs.

    Raises:
        InputError: no such table, version or file.
        CorruptArtifactError: a file or the manifest is damaged.
    """
    manifest = read_manifest(uri, version)
    table = pa.concat_tables([read_part(uri, part, ["id", "bias"]) for part in manifest.files])
    means = np.zeros((table.num_rows, 0), np.float32)
    return BiasTable(manifest, table.column("id"), table.column("bias").to_numpy(), means)


def bias_range(manifest: Manifest) -> BiasRange:
    """Lowest, mean and highest bias, from the manifest."""
    lowest, highest = (part for part in ([p.bias_min for p in manifest.files], [p.bias_max for p in manifest.files]))
    return BiasRange(min(lowest), manifest.bias_mean, max(highest))


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
        inputs: all of them.
        table: the biases.
        uri: of the table, for messages.
        encoder: fingerprint by part; None where all vectors came ready-made.
        max_reject_rate: allowed share of rejected rows.
        rejects_folder: where they are listed.

    Raises:
        RejectedRowsError: too many rows could not be used.
        InputError: no row is left, or the vectors are not of the table's encoder or dimension.
        DuplicateIdError: an id stands for two rows.
    """
    summary = rejects.merge(embedded.rejects for embedded in inputs)
    rejects.check_reject_rate(summary, max_reject_rate, "--embeddings", rejects_folder)
    shards = sorted((s for each in inputs for s in each.shards), key=lambda s: (natural_key(s.source), s.uri))
    if not shards:
        raise InputError("no row of --embeddings can be used, so there is nothing to export; look at the input.")
    check_alike(shards)
    check_dimension(table.manifest.dim, shards[0].dim, uri, repr(shards[0].source))
    if encoder is not None and not all(each.precomputed for each in inputs):
        check_encoder(table.manifest.settings.encoder, encoder, uri, "what --encoder names")
    rows, ids = sum(s.rows for s in shards), add_set_digests(s.id_digest for s in shards)
    if (rows, ids) != (table.manifest.rows, table.manifest.id_digest):
        _check_unique(shards, table)
    return Embeddings(tuple(shards), rows, summary.rejected, ids, _origin(shards, ids, table.manifest))


def _check_unique(shards: Iterable[EmbeddedShard], table: BiasTable) -> None:
    """No candidate may come twice, though not all need come.

    Raises:
        DuplicateIdError: naming one.
        InputError: a candidate is not in the table.
    """
    seen = np.zeros(len(table.ids), np.bool_)
    for shard in shards:
        ids = read_ids(shard).to_pylist()
        found = pc.index_in(pa.array(ids, pa.string()), value_set=table.ids)
        if found.null_count:
            table.bias_of(ids)
        rows = found.to_numpy()
        values, counts = np.unique(rows, return_counts=True)
        double = values[(counts > 1) | seen[values]]
        if len(double):
            raise DuplicateIdError(
                f"candidate id {table.ids[int(double[0])].as_py()!r} of {shard.source!r} occurs more than once among "
                "--embeddings, so an engine would keep one of them by chance; make ids unique."
            )
        seen[values] = True


def _origin(shards: Sequence[EmbeddedShard], ids: str, manifest: Manifest) -> str:
    if ids != manifest.id_digest:
        return PART
    return SAME if add_set_digests(s.vector_digest for s in shards) == manifest.candidates.digest else OTHER


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
    ranked = rank_twice(queries.vectors, block.vectors, ids, bias)
    names, stored = read_rows(engine, data, written.path)
    return Exported((written,), ranked, rank_exported(recipe, queries.vectors, stored, names))


def keep_file(output: str, stem: str, suffix: str, data: bytes, rows: int) -> WrittenFile:
    """Store a file under a name that follows from its content."""
    digest = sha256(data)
    path = f"{stem}-{digest[:16]}{suffix}"
    keep_exactly(storage.join(output, path), data)
    return WrittenFile(path, digest, rows, len(data))


def ids_to_bytes(ids: Sequence[str], bias: npt.NDArray[np.float32]) -> bytes:
    """Which id is at which position of an index file."""
    return to_parquet(pa.table({"id": pa.array(ids, pa.string()), "bias": pa.array(bias)}), floats=["bias"])


def read_block(shards: Sequence[EmbeddedShard], recipe: Recipe, table: BiasTable) -> tuple[list[str], Any, FloatMatrix]:
    """Ids, biases and stored vectors of all shards: they must fit into memory.

    Raises:
        InputError: a candidate is not in the table.
    """
    rows = sum(shard.rows for shard in shards)
    stored, bias = np.empty((rows, recipe.dimensions), np.float32), np.empty(rows, np.float32)
    ids: list[str] = []
    for shard in shards:
        block = read_shard(shard)
        names, first = block.ids.to_pylist(), len(ids)
        bias[first : first + shard.rows] = table.bias_of(names)
        stored[first : first + shard.rows] = recipe.stored(block.vectors, bias[first : first + shard.rows])
        ids += names
    return ids, bias, stored


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
        output: the folder.
        expected: what the export's record will say, as far as it is known.

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
