"""Search the candidates of a version where they lie, without an index: what live queries find, before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from nnn_core import storage
from nnn_core.artifacts import from_parquet
from nnn_core.digests import sha256
from nnn_core.embedded.embedding import unit_rows
from nnn_core.embedded.shards import EmbeddedShard, VectorBlock, read_shard
from nnn_core.errors import ConfigError, InputError
from nnn_core.evaluation.rankings import Ranking, Rankings
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.readers import Columns, holds_vectors, read_rows
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.table.manifest import Manifest
from nnn_core.table.reading import BiasTable
from nnn_core.vectors import FloatMatrix


@dataclass(frozen=True)
class Vectors:
    """Where the candidates' vectors lie: in the refresh's folder of artefacts, or in files of ready-made ones.

    Attributes:
        work: URI of that folder; None to read the files.
        files: URIs or globs of files of vectors, as ``--embeddings`` names them; None without any.
        columns: names of their columns.

    Raises:
        ConfigError: neither is named.
    """

    work: str | None
    files: str | None
    columns: Columns = field(default_factory=Columns)

    def __post_init__(self) -> None:
        if self.work is None and self.files is None:
            raise ConfigError(
                "nnn search needs the candidates' vectors. Name the refresh's folder with --work, or files of "
                "vectors with --embeddings."
            )

    def read(self, manifest: Manifest) -> Iterator[VectorBlock]:
        """The vectors of a version's candidates at unit length, block by block.

        Raises:
            InputError: a file holds no vectors.
            CorruptArtifactError: an embedded shard is damaged or gone.
        """
        if self.work is not None:
            return _embedded(manifest, self.work)
        return _ready_made(manifest, self.files or "", self.columns)

    def describe(self) -> str:
        """The flag and its value, for messages."""
        return f"--embeddings {self.files!r}" if self.work is None else f"--work {self.work!r}"


def search_version(table: BiasTable, vectors: Vectors, queries: FloatMatrix) -> Rankings:
    """The first ten candidates of each query, exactly, by score and by score less bias.

    Reads the vectors of all candidates, block by block.

    Args:
        table: the version to search.
        vectors: where the candidates' vectors lie.
        queries: (queries, dim) float32 unit vectors on the grid of ``vectors``, from the table's encoder.

    Raises:
        InputError: the vectors are not those of the version's candidates.
        CorruptArtifactError: an embedded shard is damaged or gone.
    """
    nothing, rows = Ranking(tuple(() for _ in queries)), 0
    found = Rankings(nothing, nothing)
    for block in vectors.read(table.manifest):
        if block.vectors.shape[1] != queries.shape[1]:
            raise InputError(
                f"{vectors.describe()} has vectors of {block.vectors.shape[1]} dimensions, and --encoder gives "
                f"queries {queries.shape[1]}. Name the encoder that made the vectors."
            )
        found |= Rankings.of(queries, block.vectors, block.ids.to_pylist(), table.bias_of(block.ids))
        rows += len(block.vectors)
    if rows != table.manifest.rows:
        raise InputError(
            f"{vectors.describe()} has the vectors of {rows:,} of the {table.manifest.rows:,} candidates of "
            f"version {table.manifest.version}. Name the --work or --candidates of the refresh, or run the "
            "refresh again."
        )
    return found


def _embedded(manifest: Manifest, work: str) -> Iterator[VectorBlock]:
    """As far as the version's candidates are recorded, shard by shard."""
    for needs in Needs.find(manifest, work)[-1:]:
        wanted = set(needs.candidates)
        bank = {name: digest for name, digest, *_ in needs.bank}
        for name in needs.embedded:
            uri = storage.join(work, "embedded", name)
            if name not in bank:
                data = storage.read_bytes(uri)
                if sha256(data) in wanted:
                    yield VectorBlock.of(from_parquet(data))
            elif bank[name] in wanted:
                yield read_shard(EmbeddedShard(uri, bank[name], 0, manifest.dim, "", "", (), 0, name))


def _ready_made(manifest: Manifest, files: str, columns: Columns) -> Iterator[VectorBlock]:
    """Batch by batch, without rows that no refresh can use."""
    modality = manifest.settings.candidate_modality
    for name in list_shards(files, "--embeddings"):
        shard = describe_shard(name)
        if not holds_vectors(shard, modality, columns):
            raise InputError(f"{name.uri!r} holds no vectors. Name the folder of the embedded rows with --work.")
        for batch in read_rows(shard, modality, columns):
            rows, unit = unit_rows(batch)
            if rows.ids:
                names = pa.array(rows.ids, pa.string())
                yield VectorBlock(names, names, unit)
