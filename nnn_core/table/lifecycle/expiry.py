"""Expiry: old versions go, and with them the files that no version names any more.

What may go is decided so that no job and no reader misses it:

- The newest ``keep`` versions stay. So does every version that was replaced less than ``older_than`` ago: what counts
  is how long it has not been the current one, as readers of it may still be at work.
- Manifests go first. Then pins and manifests are looked up anew (see ``pins``), and only then go the data
  files that none of them names, so no reader ever sees a version whose files are gone.
- Files that are half written and old are what killed jobs left on a file system without unnamed files.
- Data files that no manifest names are what killed jobs left, or what a running job has not committed yet. A running
  job writes under a number beyond the newest, so only files under numbers that are taken can go; a job that still
  wants one of those meets a conflict. Even so they have to be older than ``older_than``.
- A refresh names files of the version that was current when it began. That version stays: either it is still the newest
  one, or the refresh meets a conflict.
- Files that a Delta log names (``registration``) stay until it names others, and so does a version that an Iceberg
  table shows (``iceberg``).
"""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from nnn_core import storage
from nnn_core.errors import ConfigError, CorruptArtifactError, InputError
from nnn_core.table.lifecycle._age import MIN_AGE, size_of, written_before
from nnn_core.table.lifecycle._delta_log import delta_files
from nnn_core.table.lifecycle._pins import find_pins
from nnn_core.table.lifecycle.iceberg import _iceberg_versions
from nnn_core.table.manifest import list_versions, manifest_uri, read_manifest

_FOLDER = re.compile(r"\d{6,}\Z")
_DATA_FILE = re.compile(r"(part-\d+|_hubs)-[0-9a-f]{16}\.parquet\Z")


@dataclass(frozen=True)
class Expiry:
    """What expiry would remove, or has removed.

    Attributes:
        kept: numbers of the versions that stay, ascending.
        versions: numbers of the versions that go, ascending.
        files: paths of the data files and half-written files that go, relative to the table's URI.
        bytes: total size of the files that go, in bytes.
        pins: URIs of old pins that killed jobs left, ascending.
    """

    kept: tuple[int, ...]
    versions: tuple[int, ...]
    files: tuple[str, ...]
    bytes: int
    pins: tuple[str, ...] = ()

    @classmethod
    def plan(cls, uri: str, keep: int, older_than: float, now: float | None = None) -> Expiry:
        """What could be removed from a table; nothing is.

        Args:
            uri: URI of the table's folder.
            keep: how many of the newest versions stay in any case.
            older_than: least seconds since what goes was replaced (versions) or written (files without a version).
            now: seconds since 1970; None for the time of this machine.

        Raises:
            ConfigError: ``keep`` or ``older_than`` is too small.
            InputError: there is no table.
            CorruptArtifactError: the manifest of a version that stays is damaged, so it is not known what it needs.
        """
        if keep < 1:
            raise ConfigError(f"--keep {keep} would leave no version. Keep at least 1.")
        if not older_than >= MIN_AGE:
            raise ConfigError(
                f"an age of {older_than:g} seconds is too short: running jobs and readers could lose their "
                "files. Give --older-than 1h or more."
            )
        cutoff = (time.time() if now is None else now) - older_than
        newest = read_manifest(uri).version
        versions = list_versions(uri)
        pins = find_pins(uri)
        stale = {pin for pin in pins if written_before(pin, cutoff)}
        needed = {version for pin, version in pins.items() if pin not in stale} | _iceberg_versions(uri)
        replaced = dict(itertools.pairwise(versions))
        expired = tuple(
            version
            for version in versions[:-keep]
            if version not in needed and written_before(manifest_uri(uri, replaced[version]), cutoff)
        )
        kept = tuple(version for version in versions if version not in expired)
        files = tuple(_files_to_sweep(uri, newest, _named(uri, kept) | delta_files(uri), cutoff))
        return cls(
            kept, expired, tuple(path for path, _ in files), sum(size for _, size in files), tuple(sorted(stale))
        )


def expire(uri: str, keep: int, older_than: float, now: float | None = None) -> Expiry:
    """Remove what ``Expiry.plan`` finds, but for files that were named again meanwhile.

    It may be killed at any moment and run again, and several may run at once.

    Returns:
        What was removed.

    Raises:
        ConfigError, InputError, CorruptArtifactError: as ``Expiry.plan``; nothing was removed.
        StorageError: something may not be removed; the rest is for the next run.
    """
    plan = Expiry.plan(uri, keep, older_than, now)
    lost: dict[int, set[str]] = {}
    for version in plan.versions:
        # A damaged manifest is in nobody's way.
        with contextlib.suppress(CorruptArtifactError, InputError):
            lost[version] = _named(uri, [version])
    for version in plan.versions:
        storage.remove(manifest_uri(uri, version))
    # Before the manifests: see ``pins``.
    pinned = set(find_pins(uri).values()) | _iceberg_versions(uri)
    named = _named(uri, list_versions(uri)) | delta_files(uri)
    named = named.union(*(lost[version] for version in pinned & lost.keys()))
    for pin in plan.pins:
        storage.remove(pin)
    sizes = {path: size_of(storage.join(uri, path)) for path in plan.files if path not in named}
    for path in sizes:
        storage.remove(storage.join(uri, path))
    return replace(plan, files=tuple(sizes), bytes=sum(sizes.values()))


def _named(uri: str, versions: Iterable[int]) -> set[str]:
    """Paths of the files that some versions need."""
    return {path for version in versions for path in read_manifest(uri, version).paths}


def _files_to_sweep(uri: str, newest: int, named: set[str], cutoff: float) -> Iterator[tuple[str, int]]:
    """(path, size) of old files that are half written, and of old data files that nobody names, under taken numbers."""
    numbers = [name for name in storage.list_names(storage.join(uri, "versions")) if _FOLDER.match(name)]
    for folder, taken in [("versions", False), *((f"versions/{number}", int(number) <= newest) for number in numbers)]:
        for name in storage.list_names(storage.join(uri, folder)):
            path = f"{folder}/{name}"
            unnamed = taken and _DATA_FILE.match(name) and path not in named
            if (unnamed or storage.is_half_written(name)) and written_before(storage.join(uri, path), cutoff):
                yield path, size_of(storage.join(uri, path))
