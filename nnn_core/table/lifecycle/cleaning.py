"""Cleaning the work folder: artefacts that no version of a table needs any more.

Every refresh leaves a record of what its version was made of, named by the version's lineage, so a version
that was reweighted or rolled back finds it too. What no record of a retained version names, and is old, can go:
it is a saving of work, never a loss, as whatever is asked for again is computed again.

Tables may share a work folder, in which each of them is noted; it is cleaned for all of them together.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnn_core import records, storage
from nnn_core.artifacts import from_sealed, keep_exactly, to_sealed
from nnn_core.digests import name_of, sha256
from nnn_core.embedded.shards import contents_path
from nnn_core.errors import ConfigError, StorageError
from nnn_core.scoring.looks import looks_path
from nnn_core.scoring.merged import merged_path
from nnn_core.scoring.partials import EXACT, partial_name
from nnn_core.table.lifecycle._age import MIN_AGE, size_of, written_before
from nnn_core.table.lifecycle.leases import _at_work
from nnn_core.table.manifest import Manifest, _table_mark, current_manifest, list_versions, read_manifest

#: Folder of the records of what versions were made of.
_NEEDS = "needs"

#: Folder of the addresses of the tables whose refreshes worked here.
_TABLES = "tables"

#: What artefacts are called. The next refresh compares with canaries, which are small and the versions' own; they
#: and what somebody else put there stay.
_OWN = {
    "embedded": re.compile(r"[0-9a-f]{40}(\.json|(-[0-9]{5})?-[0-9a-f]{16}\.parquet)\Z"),
    "contents": re.compile(r"[0-9a-f]{40}\.safetensors\Z"),
    "partials": re.compile(r"[0-9a-f]{40}\.parquet\Z"),
    "looks": re.compile(r"[0-9a-f]{40}-[0-9]+\.parquet\Z"),
    "merged": re.compile(r"[0-9a-f]{40}\.safetensors\Z"),
    "evaluation": re.compile(r"(?!canaries-)[a-z_]+-[0-9a-f]{40}\.(safetensors|parquet|json)\Z"),
    "runs": re.compile(r"run(-[0-9a-f]{16})?\.(json|begun)\Z"),
    "leases": re.compile(r"run-[0-9a-f]{16}-[0-9]{6}\.json\Z"),
    "standing": re.compile(r"[0-9a-f]{40}-[0-9a-f]{40}\.json\Z"),
}


@dataclass(frozen=True)
class Needs:
    """What a version was made of.

    Attributes:
        embedded: names of the files of both sides' embedded shards.
        candidates: digests of the candidates' embedded shards.
        references: digests of the bank's reference shards.
        searches: how a reference shard was searched, by its digest, see ``partials.Partial.of``; exact if not named.
        k_max: how many scores of each candidate counted.
        exclude_own_pairs: whether a candidate's own references were left out.
        bank: (name of the file, digest, rows, ``vector_digest``) of each embedded shard of the bank; empty in the
            record of an earlier release.
        reference_shard_rows: rows of a reference shard that followed from the bank; None where they were asked for.
        kept: how many scores partials kept of each candidate; empty if all of ``k_max``.
        grid: values of k that the version has means of.
    """

    embedded: tuple[str, ...]
    candidates: tuple[str, ...]
    references: tuple[str, ...]
    searches: dict[str, str]
    k_max: int
    exclude_own_pairs: bool
    bank: tuple[tuple[str, str, int, str], ...] = ()
    reference_shard_rows: int | None = None
    kept: tuple[int, ...] = ()
    grid: tuple[int, ...] = ()

    @classmethod
    def find(cls, manifest: Manifest, work: str, names: Sequence[str] | None = None) -> list[Needs]:
        """The records of a version in a work folder, none or more, of which the last says most.

        Args:
            manifest: manifest of the version.
            work: URI of the folder of artefacts.
            names: of all records there; None to list them.

        Raises:
            CorruptArtifactError: a record is damaged.
        """
        folder, lineage = storage.join(work, _NEEDS), _lineage(manifest)
        every = storage.list_names(folder) if names is None else names
        uris = [storage.join(folder, name) for name in every if name.startswith(lineage)]
        found = [records.build(cls, from_sealed(storage.read_bytes(uri), uri)) for uri in sorted(uris)]
        return sorted(found, key=lambda needs: len(needs.bank))

    @classmethod
    def of_current(cls, table: str, work: str) -> Needs | None:
        """What the current version was made of; None without a version, or where it left no record here."""
        manifest = current_manifest(table)
        found = cls.find(manifest, work) if manifest else []
        return found[-1] if found else None

    def files(self) -> Iterator[str]:
        """Paths below the work folder."""
        for name in self.embedded:
            yield f"embedded/{name}"
            stem = name.partition("-")[0]
            yield f"embedded/{stem}.json"
            yield contents_path(stem)
        searches = [self.searches.get(reference, EXACT) for reference in self.references]
        how = (self.k_max, self.exclude_own_pairs)
        for candidates in self.candidates:
            yield merged_path(candidates, self.references, searches, self.grid, *how)
            for reference, search in zip(self.references, searches, strict=True):
                for kept in self.kept or (self.k_max,):
                    partial = partial_name(candidates, reference, kept, self.exclude_own_pairs, search)
                    yield f"partials/{partial}"
                    yield looks_path(partial, self.k_max)

    def store(self, manifest: Manifest, work: str, table: str) -> None:
        """Record in a work folder what a version was made of, and whose it is.

        Args:
            manifest: manifest of the version, whose lineage names the record.
            work: URI of the folder of artefacts.
            table: URI of the table.
        """
        place = storage.normal(table)
        note = storage.join(work, _TABLES, f"{name_of('table', uri=place)}.json")
        keep_exactly(note, to_sealed(place, note))
        own = sha256(records.to_json(self))[:16]
        uri = storage.join(work, _NEEDS, f"{_lineage(manifest)}-{own}.json")
        keep_exactly(uri, to_sealed(self, uri))


def _lineage(manifest: Manifest) -> str:
    sides = [(side.digest, side.inputs) for side in (manifest.candidates, manifest.references)]
    return name_of("lineage", sides=sides, encoder=manifest.settings.encoder)


@dataclass(frozen=True)
class _Cleaning:
    """What can go from a work folder, or went.

    Attributes:
        files: paths of the files that go, below the work folder.
        bytes: total size of the files that go, in bytes.
        kept: how many files retained versions need.
        young: how many files no version needs, and are too young to go.
        unknown: (table's URI, version) of each version without a record, so that what it alone needs was not kept.
    """

    files: tuple[str, ...]
    bytes: int
    kept: int
    young: int
    unknown: tuple[tuple[str, int], ...]


def clean(tables: Sequence[str], work: str, older_than: float, remove: bool) -> _Cleaning:
    """Find what can go, and remove it if that is asked for.

    Args:
        tables: URIs of all tables that use the folder; all their versions are retained, so ``expire`` them first.
        work: URI of the folder of artefacts.
        older_than: least seconds since a file that goes was written: longer than any refresh takes.
        remove: whether to remove what is found; completion marks go first, so that no file is missed that a mark names.

    Raises:
        ConfigError: ``older_than`` is too small, a refresh is at work, a table that uses the folder was not named, or
            one that was named does not use it; nothing was removed.
        CorruptArtifactError: a record of what is needed is damaged; nothing was removed.
        InputError: there is no such table, so nothing says what is needed; nothing was removed.
        StorageError: something may not be removed.
    """
    if not older_than >= MIN_AGE:
        raise ConfigError(
            f"an age of {older_than:g} seconds is too short: files of running jobs could be removed. Give "
            "--older-than 1h or more."
        )
    storage.check_place(work)
    if leases := _at_work(work, time.time()):
        raise ConfigError(
            f"a refresh is running with {work!r} ({', '.join(map(repr, leases))}), so nothing was removed. Run "
            f"the same command again when it is done. A killed job counts as done after {MIN_AGE / 60:.0f} "
            "minutes."
        )
    _check_all_named(tables, work)
    cutoff = time.time() - older_than
    names = storage.list_names(storage.join(work, _NEEDS))
    needed, unknown = set[str](), list[tuple[str, int]]()
    for table in tables:
        read_manifest(table)
        versions = list_versions(table)
        made_of = {version: Needs.find(read_manifest(table, version), work, names) for version in versions}
        needed.update(path for found in made_of.values() for needs in found for path in needs.files())
        without = [version for version, found in made_of.items() if not found]
        if without == versions:
            raise ConfigError(
                f"no version of {table!r} left a record under --work {work!r}, so all of it would be removed. "
                "Name the --work folder of its refreshes."
            )
        unknown += ((table, version) for version in without)
    folders = storage.list_names(work)
    there = [f"{folder}/{name}" for folder in folders for name in storage.list_names(storage.join(work, folder))]
    spare = [path for path in there if path not in needed and _may_go(path)]
    gone = [path for path in spare if written_before(storage.join(work, path), cutoff)]
    size = sum(size_of(storage.join(work, path)) for path in gone)
    done = _Cleaning(tuple(gone), size, len(needed.intersection(there)), len(spare) - len(gone), tuple(unknown))
    if remove:
        for path in sorted(gone, key=lambda path: (not path.endswith(".json"), path)):
            storage.remove(storage.join(work, path))
    return done


def _may_go(path: str) -> bool:
    """Whether a file is called as artefacts are, or as one that was being written."""
    folder, _, name = path.partition("/")
    return bool(folder in _OWN and _OWN[folder].match(name)) or storage.is_half_written(name)


def _check_all_named(tables: Sequence[str], work: str) -> None:
    """A table that is not named, or cannot be reached, would lose its artefacts."""
    folder = storage.join(work, _TABLES)
    marks = [storage.join(folder, name) for name in storage.list_names(folder)]
    noted = {str(from_sealed(storage.read_bytes(mark), mark)): mark for mark in marks}
    named = {storage.normal(table) for table in tables}
    left_out, away = [], []
    for table in noted:
        try:
            versions = list_versions(table)
            # A refresh leaves a mark in the folder of its table before it does anything: without one nobody was there.
            there = versions or storage.exists(_table_mark(table)[0])
        except StorageError:  # a bucket that is gone, say
            versions, there = [], False
        if not there:
            away.append(table)
        elif versions and table not in named:
            left_out.append(table)
    if away:
        raise ConfigError(
            f"{away[0]!r} also uses --work {work!r}, but no table is there now. It may be out of reach, so "
            f"nothing was removed. If the table is gone for good, delete {noted[away[0]]!r}."
        )
    if left_out:
        raise ConfigError(
            f"--work {work!r} is also used by {', '.join(map(repr, left_out))}, whose artefacts would be "
            "removed. Nothing was removed. Name all tables, each with --table."
        )
