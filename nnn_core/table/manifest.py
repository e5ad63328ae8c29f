"""Versions of the table: a manifest is created exclusively, and that is the commit.

    <table>/versions/000042/part-00000-<sha256>.parquet    data, immutable
    <table>/versions/000042/_hubs-<sha256>.parquet         candidates near too many queries, see ``hubs``
    <table>/versions/000042.json                           manifest: names the files of version 42

A version exists when its manifest does. Data files without a manifest are what a killed job
left; no reader sees them, and the names carry the content's digest, so that a later job that
wants the same version number cannot confuse them with its own.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from nnn_core import records, storage
from nnn_core.digests import add_set_digests, sha256
from nnn_core.embedded.side import Side
from nnn_core.errors import ConflictError, CorruptArtifactError, InputError
from nnn_core.scoring.topk import BiasError
from nnn_core.table.gate import Gate
from nnn_core.table.hubs import HubList
from nnn_core.table.parts import BiasSettings, TablePart

_FORMAT = "nnn-bias-table/1"

#: As ``manifest_uri`` writes it: six digits, and more only where they are needed.
_MANIFEST_NAME = re.compile(r"([0-9]{6}|[1-9][0-9]{6,17})\.json\Z")


@dataclass(frozen=True)
class SearchReport:
    """How the scores behind a table were found.

    Attributes:
        methods: the searches that ran on any worker, sorted; all but ``approximate`` give the same scores.
        tolerance: mean absolute error of a mean that was allowed; None if only exact searches were asked for.
        error: measured error of means, on candidates outside the choice; None if only exact searches were asked for.
    """

    methods: tuple[str, ...]
    tolerance: float | None = None
    error: BiasError | None = None


@dataclass(frozen=True)
class Manifest:
    """One version of the table.

    Attributes:
        version: number of the version, from 1.
        settings: k, alpha and grid of the biases, and what they are valid for.
        dim: dimension of the vectors that were compared.
        candidates: lineage of the candidates: row counts and digests.
        references: lineage of the bank: row counts and digests.
        search: how the scores behind the table were found.
        files: table parts of the version, in ascending order of ids.
        gates: what was checked before the version was published; empty where nothing was (``nnn table reweight``).
        evaluation: what the bias does to held-out queries, see ``evaluation.summary``; None without such queries.
        hubs: list of the candidates that are near too many queries; None in a version of an earlier release.
    """

    version: int
    settings: BiasSettings
    dim: int
    candidates: Side
    references: Side
    search: SearchReport
    files: tuple[TablePart, ...]
    gates: tuple[Gate, ...] = ()
    evaluation: dict[str, Any] | None = None
    hubs: HubList | None = None

    @property
    def published(self) -> list[TablePart | HubList]:
        """All files that the version needs: the table parts, and the list of hubs if it has one."""
        return [*self.files, *([self.hubs] if self.hubs else [])]

    @property
    def paths(self) -> list[str]:
        """Paths of all files that the version needs, relative to the table's URI."""
        return [file.path for file in self.published]

    @property
    def rows(self) -> int:
        """Candidates in the table."""
        return sum(part.rows for part in self.files)

    @property
    def id_digest(self) -> str:
        """Order-free digest of all ids."""
        return add_set_digests(part.id_digest for part in self.files)

    @property
    def bias_mean(self) -> float:
        """Mean bias."""
        return math.fsum(part.bias_sum for part in self.files) / self.rows

    def says_the_same(self, other: Manifest) -> bool:
        """Whether another version differs at most in its number, and in what was checked before it."""
        return replace(self, version=other.version, gates=other.gates, evaluation=other.evaluation) == other

    def to_json(self) -> bytes:
        """The manifest's bytes: the same for the same content."""
        record = {"format": _FORMAT, "rows": self.rows, "id_digest": self.id_digest, **asdict(self)}
        record["statistics"] = {
            "bias_min": min(part.bias_min for part in self.files),
            "bias_max": max(part.bias_max for part in self.files),
            "bias_mean": self.bias_mean,
        }
        return records.to_page({**record, "checksum": _checksum(record)})

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Manifest:
        """Read a manifest back.

        Raises:
            CorruptArtifactError: damaged, or of a format that this program does not know.
        """
        try:
            record = json.loads(data)
            # There is one way to write a manifest, so a changed byte is noticed even where its meaning stays the same.
            as_written = records.to_page(record) == data
            checksum = record.pop("checksum")
            if record["format"] != _FORMAT:
                raise CorruptArtifactError(
                    f"{uri!r} has format {record['format']!r}, and this release reads {_FORMAT!r}. Use the "
                    "release that published it."
                )
            if _checksum(record) != checksum:
                raise ValueError("its checksum does not match its content")
            if not as_written:
                raise ValueError("its content is the same, but not its bytes")
            return records.build(cls, record)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CorruptArtifactError(
                f"{uri!r} is not a readable manifest: {error}. Read an older version. To publish again, move "
                "this file out of its folder. The previous version is then the current one."
            ) from error


def _checksum(record: dict[str, Any]) -> str:
    return sha256(records.to_json(record, separators=(",", ":"), ensure_ascii=False))


def manifest_uri(table_uri: str, version: int) -> str:
    """Where the manifest of a version lies."""
    return storage.join(table_uri, "versions", f"{version:06d}.json")


def list_versions(table_uri: str) -> list[int]:
    """Committed version numbers, ascending; empty when there is no table yet.

    Raises:
        ConfigError: the URI names no place.
    """
    storage.check_place(table_uri)
    matches = (_MANIFEST_NAME.match(name) for name in storage.list_names(storage.join(table_uri, "versions")))
    return sorted(int(match.group(1)) for match in matches if match)


def _foreign_manifests(table_uri: str) -> list[str]:
    """Names beside the manifests that look like one of a version and are none, so that readers pass them over."""
    names = storage.list_names(storage.join(table_uri, "versions"))
    return [name for name in names if name.endswith(".json") and not _MANIFEST_NAME.match(name)]


def choose_version(table_uri: str, version: int | None = None) -> int:
    """``version`` if it is committed, by default the current (newest) one.

    Raises:
        InputError: no such table or version.
    """
    versions = list_versions(table_uri)
    if not versions:
        raise InputError(f"{table_uri!r} has no bias table (no versions/*.json). Run nnn refresh, or check the URI.")
    wanted = versions[-1] if version is None else version
    if wanted not in versions:
        raise InputError(
            f"{table_uri!r} has no version {wanted}. It has versions {versions[0]} to {versions[-1]} "
            f"({len(versions)} in all)."
        )
    return wanted


def read_manifest(table_uri: str, version: int | None = None) -> Manifest:
    """The manifest of ``version``, by default of the current (newest) one.

    Raises:
        InputError: no such table or version.
        CorruptArtifactError: the manifest is damaged.
    """
    wanted = choose_version(table_uri, version)
    uri = manifest_uri(table_uri, wanted)
    manifest = Manifest.from_json(storage.read_bytes(uri), uri)
    if manifest.version != wanted:
        raise CorruptArtifactError(
            f"{uri!r} is the manifest of version {manifest.version} under the name of version {wanted}, so it "
            "was copied or renamed. Move it out of its folder."
        )
    return manifest


def current_manifest(table_uri: str) -> Manifest | None:
    """The current version's manifest, None when nothing was published yet."""
    return read_manifest(table_uri) if list_versions(table_uri) else None


def commit_version(table_uri: str, manifest: Manifest) -> Manifest:
    """Publish ``manifest`` under its number, or find that the current version already says the same.

    Its files must have come from ``TablePart.write``, which looks at the bytes before it names a file again:
    where one of the current version is damaged or gone, the manifests differ and a new version repairs it.

    Returns:
        The manifest that stands: ``manifest``, or the current one if it says the same (``Manifest.says_the_same``).

    Raises:
        ConflictError: another publisher took the number.
        StorageError: the table cannot be written.
    """
    current = current_manifest(table_uri)
    if current is not None and current.says_the_same(manifest):
        return current
    data = manifest.to_json()
    uri = manifest_uri(table_uri, manifest.version)
    versions = storage.parent(uri)
    parts = {storage.parent(storage.join(table_uri, path)) for path in manifest.paths}
    storage.keep_names(*sorted(parts), versions, table_uri)
    # A number whose version has expired is free as a name; what was published after it makes it taken.
    late = current is not None and current.version > manifest.version and not storage.exists(uri)
    if late or (not storage.create(uri, data) and storage.read_bytes(uri) != data):
        raise ConflictError(
            f"version {manifest.version} of {table_uri!r} was published by another job while this one ran, so "
            "this one published nothing. Run the same command again to publish after it. Finished work is kept."
        )
    storage.keep_names(versions)
    return manifest


def _table_mark(table_uri: str) -> tuple[str, bytes]:
    """Name and content of the mark that a refresh leaves in the table's folder; no reader needs it."""
    return storage.join(table_uri, "nnn-bias-table.json"), records.to_json({"format": _FORMAT}) + b"\n"


def prepare_table(table_uri: str) -> None:
    """Leave a mark in the table's folder, so that a folder that cannot be written fails before the work.

    Raises:
        StorageError: the folder cannot be written.
    """
    storage.create(*_table_mark(table_uri))
