"""Pins: a job says that it is about to name the files of an old version again, so that expiry leaves them.

    <table>/versions/000003.pin-<token>

Whoever rolls back (or registers a version elsewhere) creates a pin, then looks whether the manifest of the old
version is still there, then commits. Expiry removes the manifest, then looks for pins, then for manifests, and
only then removes files. So either expiry sees the pin (or the new manifest), or the rollback sees that the old
version is gone. This needs no lock, only a store whose listings show what was written before them, as local disks,
S3, Cloud Storage and Azure do.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator

from nnn_core import storage
from nnn_core.errors import ConflictError, CorruptArtifactError, InputError, StorageError
from nnn_core.table.manifest import Manifest, list_versions, read_manifest

_PIN = re.compile(r"(\d{6,})\.pin-[0-9a-f]{16}\Z")


@contextlib.contextmanager
def pinned(table_uri: str, version: int) -> Iterator[None]:
    """Keep the files of ``version`` from being removed until the end of the block.

    When a store's answer is lost, or the process is killed, it is not known whether a manifest that names them was
    created. The pin then stays, and lapses with its age.

    Raises:
        StorageError: the table cannot be written.
    """
    uri = storage.join(table_uri, "versions", f"{version:06d}.pin-{secrets.token_hex(8)}")
    storage.create(uri, b"The files of this version are about to be named again.\n")
    try:
        yield
    except (ConflictError, CorruptArtifactError, InputError):
        _unpin(uri)
        raise
    _unpin(uri)


@contextlib.contextmanager
def held_version(table_uri: str, version: int | None) -> Iterator[Manifest]:
    """A version to register somewhere, pinned until the end of the block.

    Args:
        table_uri: URI of the table's folder.
        version: number of the version; None for the current (newest) one.

    Raises:
        InputError: no such table or version, or expiry removed it meanwhile.
        StorageError: the table cannot be written.
    """
    storage.check_exclusive(table_uri)
    manifest = read_manifest(table_uri, version)
    with pinned(table_uri, manifest.version):
        if manifest.version not in list_versions(table_uri):
            raise InputError(
                f"version {manifest.version} of {table_uri!r} was removed by nnn table expire in the meantime. Read "
                "the current version."
            )
        yield manifest


def _unpin(uri: str) -> None:
    with contextlib.suppress(StorageError):
        storage.remove(uri)


def find_pins(table_uri: str) -> dict[str, int]:
    """The versions that are pinned, by the URIs of the pins."""
    folder = storage.join(table_uri, "versions")
    matches = (_PIN.match(name) for name in storage.list_names(folder))
    return {storage.join(folder, match.string): int(match.group(1)) for match in matches if match}
