"""The files of an export: embedded shards with their biases, as an engine imports them, and the ranking they give."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from nnn_core import storage
from nnn_core.artifacts import keep_exactly
from nnn_core.consumers._steps import Counts, Step
from nnn_core.consumers.along import Along
from nnn_core.consumers.engines._faiss_file import Tuned
from nnn_core.consumers.engines._layouts import LAYOUTS, read_rows, write_removal, write_rows, write_update
from nnn_core.consumers.engines._rows import Rows
from nnn_core.consumers.engines.overlap import TopOverlap
from nnn_core.consumers.engines.recipe import Recipe
from nnn_core.consumers.engines.registry import find_engine
from nnn_core.consumers.held import FORMAT, held_biases
from nnn_core.consumers.update import Update
from nnn_core.digests import sha256
from nnn_core.embedded.shards import EmbeddedShard, read_shard
from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.rankings import Ranking, Rankings
from nnn_core.table.manifest import Manifest
from nnn_core.table.reading import BiasTable
from nnn_core.vectors import FloatMatrix

#: Folder of files that set the bias beside vectors which stay.
UPDATES = "update"


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
        counts: what becomes of the candidates in an index that is updated.
    """

    files: tuple[WrittenFile, ...]
    rankings: Rankings
    found: Ranking
    tuned: Tuned | None = None
    counts: Counts = field(default_factory=Counts)

    def __or__(self, other: Exported) -> Exported:
        files, counts = self.files + other.files, self.counts + other.counts
        return Exported(files, self.rankings | other.rankings, self.found | other.found, counts=counts)

    @property
    def overlap(self) -> TopOverlap:
        """How much of the exact ranking the engine keeps."""
        return TopOverlap.of(self.rankings.debiased, self.found, self.rankings.plain)


def _keep_file(output: str, stem: str, suffix: str, data: bytes | memoryview, rows: int) -> WrittenFile:
    """Store a file under a name that follows from its content.

    Raises:
        CorruptArtifactError: another file lies under the name.
    """
    digest = sha256(data)
    path = f"{stem}-{digest[:16]}{suffix}"
    keep_exactly(storage.join(output, path), data)
    return WrittenFile(path, digest, rows, len(data))


@dataclass(frozen=True)
class FileExport:
    """How embedded shards become the files of an engine.

    Attributes:
        recipe: how vectors and queries are augmented.
        output: URI of the folder of the export.
        along: what travels along with the vectors.
        update: the version that the index holds already; None for an index that is made anew.
    """

    recipe: Recipe
    output: str
    along: Along = field(default_factory=Along)
    update: Update | None = None

    def export(self, shard: EmbeddedShard, table: BiasTable, queries: QuerySet) -> Exported:
        """Write one shard, read it back, and rank what the index then holds.

        Raises:
            InputError: a candidate is not in the table, or the engine cannot hold its id or what travels along.
            CorruptArtifactError: another file lies under the name of this one.
            StorageError: the output cannot be written.
        """
        recipe, engine, block = self.recipe, find_engine(self.recipe.engine), read_shard(shard)
        suffix = LAYOUTS[engine.layout].suffix
        ids = block.ids.to_pylist()
        bias = table.bias_of(ids)
        every = np.ones(len(ids), bool)
        step = Step(every, ~every, bias, Counts())
        if self.update:
            step = self.update.step(ids, bias, held_biases(self.update))
        stored, files = recipe.stored(block.vectors, step.bias), []
        # A moved bias is inside the vector, so the vector is written anew, or beside it.
        whole = step.added if recipe.form == "attribute" else step.added | step.moved
        rows = Rows(ids, stored, bias, *self.along.read(shard, ids))
        if whole.any():
            data = write_rows(engine, rows.take(whole), _footer(table.manifest, recipe), recipe.engine_names)
            files.append(_keep_file(self.output, f"{recipe.folder}/part", suffix, data, int(whole.sum())))
            stored[whole] = read_rows(engine, data, files[-1].path, recipe.engine_names)[1]
        if (left := step.moved & ~whole).any():
            data = write_update(engine, rows.take(left), recipe.engine_names)
            files.append(_keep_file(self.output, f"{UPDATES}/part", suffix, data, int(left.sum())))
        ranked = Rankings.of(queries.vectors, block.vectors, ids, bias)
        found = self._found(queries, block.vectors, stored, ids, step)
        return Exported(tuple(files), ranked, found, counts=step.counts)

    def _found(
        self, queries: QuerySet, vectors: FloatMatrix, stored: FloatMatrix, ids: list[str], step: Step
    ) -> Ranking:
        if self.update and self.recipe.form == "attribute":  # corrected as far as the attribute is right
            return Ranking.of(queries.vectors, vectors, ids, step.bias)
        return self.recipe.rank(queries.vectors, stored, ids)

    def remove(self, now: BiasTable) -> tuple[list[WrittenFile], dict[str, Any]]:
        """The file of candidates that the index holds and the table has no more, and what to say of the update."""
        if self.update is None:
            return [], {}
        gone = self.update.removed(held_biases(self.update), now)
        files = []
        if gone:
            engine = find_engine(self.recipe.engine)
            data, suffix = write_removal(engine, gone, self.recipe.engine_names, self.along.uuids is not None)
            files.append(_keep_file(self.output, f"{engine.delete_folder}/part", suffix, data, len(gone)))
        return files, {**asdict(self.update), "removed": len(gone)}


def _footer(manifest: Manifest, recipe: Recipe) -> dict[str, Any]:
    """What a stray Parquet file of an export says of itself."""
    return {
        "format": FORMAT,
        **{name: getattr(recipe, name) for name in ("engine", "metric", "form", "bias_shift", "max_abs_bias")},
        "version": manifest.version,
        "id_digest": manifest.id_digest,
        "encoder": manifest.settings.encoder,
    }
