"""What a refresh ended in, kept so that the same one need not run again while all that it depends on is the same.

It depends on its settings, on the bytes of its input, and on the version of the table on top of which it runs. The
record of a run names all of these; it counts where the digests of the input are those that the job itself saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from nnn_core import __version__, records, storage
from nnn_core.artifacts import from_sealed, lost, to_sealed
from nnn_core.digests import name_of, sha256
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.inputs.listing import describe_shard, list_shards, list_uris
from nnn_core.inputs.shards import InputShard
from nnn_core.table.manifest import Manifest, current_manifest

#: Folder of the records.
_FOLDER = "standing"


@dataclass(frozen=True)
class Outcome:
    """How a run ended that a later one may stand on.

    Attributes:
        artefacts: how many artefacts each stage came to, by its name.
        figures: what else was found, by name, see ``pipelines.stages.metrics``.
        report: the content of the run's report, as JSON.
    """

    artefacts: dict[str, int]
    figures: dict[str, int]
    report: str


@dataclass(frozen=True)
class SideInput:
    """What names the input of one side, and how it is read.

    Attributes:
        flag: the flag that named the files, such as ``--candidates``.
        pattern: a URI with globs and brace ranges.
        request: how rows are read and embedded.
    """

    flag: str
    pattern: str
    request: EmbeddingRequest


@dataclass(frozen=True)
class Standing:
    """A refresh before it runs, or after.

    Attributes:
        settings: all that was asked for, as plain values, of what has a part in the table, its report or its warnings.
        sides: the candidates, the bank and, if there are any, the validation queries.
        tables: patterns of further files that are read whole, each with the flag that named it.
        table: URI of the table.
        work: URI of the folder of artefacts.
        threads: files that are hashed at the same time.
    """

    settings: Mapping[str, Any]
    sides: Sequence[SideInput]
    tables: Sequence[tuple[str, str]]
    table: str
    work: str
    threads: int

    def find(self) -> tuple[Manifest, Outcome] | None:
        """The version that stands, and how the run ended that found it to; None where something may have changed.

        All bytes of the version are looked at: a run mends what is damaged, so it must not be left out then.

        Raises:
            InputError: input that cannot be read.
            CorruptArtifactError: the current version's manifest is damaged.
        """
        manifest = current_manifest(self.table)
        if manifest is None:
            return None
        folder, stem = storage.join(self.work, _FOLDER), self._stem(manifest)
        names = [name for name in storage.list_names(folder) if name.startswith(stem)]
        name = f"{stem}-{self._input_name()[0]}.json" if names else ""
        if name not in names or not self._is_whole(manifest):
            return None
        uri = storage.join(folder, name)
        try:
            return manifest, records.build(Outcome, from_sealed(storage.read_bytes(uri), uri))
        except (CorruptArtifactError, InputError, ValueError) as error:
            lost(uri, str(error))
            return None

    def keep(self, manifest: Manifest, outcome: Outcome, queries: Sequence[str]) -> None:
        """Record how a run ended, if its input is still what the job saw.

        Args:
            manifest: the version that stands after it.
            outcome: how it ended.
            queries: ``queries`` before the job began, of which no manifest tells.
        """
        name, seen = self._input_name()
        if seen == [*map(list, (manifest.candidates.inputs, manifest.references.inputs)), queries]:
            uri = storage.join(self.work, _FOLDER, f"{self._stem(manifest)}-{name}.json")
            storage.create(uri, to_sealed(outcome, uri))

    def queries(self) -> list[str]:
        """Digests of the files of validation queries, and of further files."""
        return self._digests(self._described(self.sides[2:]), self._tables())

    def _stem(self, manifest: Manifest) -> str:
        version = sha256(manifest.to_json())
        return name_of("standing", settings=self.settings, version=version, program=__version__)

    def _input_name(self) -> tuple[str, list[list[str]]]:
        """A name of all input; and the digests of the candidates' files, of the bank's, and of all others, sorted."""
        described, tables = self._described(self.sides), self._tables()
        names = [
            [(shard.uri, side.request.plan(shard).name) for shard in shards]
            for side, shards in zip(self.sides, described, strict=True)
        ]
        digests = [*(self._digests([shards], ()) for shards in described[:2]), self._digests(described[2:], tables)]
        return name_of("input", sides=names, tables=tables), digests

    def _described(self, sides: Sequence[SideInput]) -> list[list[InputShard]]:
        with ThreadPoolExecutor(self.threads) as pool:
            return [list(pool.map(describe_shard, list_shards(side.pattern, side.flag))) for side in sides]

    def _tables(self) -> list[tuple[str, str]]:
        """(URI, digest) of each further file."""
        uris = [uri for flag, pattern in self.tables for uri in list_uris(pattern, flag)]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(zip(uris, pool.map(storage.content_digest, uris), strict=True))

    @staticmethod
    def _digests(sides: Sequence[Sequence[InputShard]], tables: Sequence[tuple[str, str]]) -> list[str]:
        return sorted([*(shard.digest for shards in sides for shard in shards), *(digest for _, digest in tables)])

    def _is_whole(self, manifest: Manifest) -> bool:
        with ThreadPoolExecutor(self.threads) as pool:
            return all(pool.map(lambda file: file.is_whole(self.table), manifest.published))
