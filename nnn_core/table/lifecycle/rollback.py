"""Rollback: an old version becomes the current one again, under a new number and with its old files."""

from __future__ import annotations

from dataclasses import replace

from nnn_core import storage
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.table.lifecycle._pins import pinned
from nnn_core.table.lifecycle.check import check_table
from nnn_core.table.manifest import Manifest, commit_version, list_versions, read_manifest


def rollback(uri: str, version: int) -> Manifest:
    """Publish what ``version`` says as a new version, which names the same files. Nothing is copied.

    Gates and evaluation are kept: they judged these very biases.

    Args:
        uri: URI of the table's folder.
        version: number of the version to go back to.

    Returns:
        The manifest of the new version; the current one if it says the same already.

    Raises:
        InputError: no such table or version.
        CorruptArtifactError: a file of that version is damaged or missing, or the current manifest is damaged.
        ConflictError: another job published a version meanwhile.
        StorageError: the table cannot be written.
    """
    storage.check_exclusive(uri)
    number = read_manifest(uri).version + 1
    base = read_manifest(uri, version)
    if bad := check_table(uri, version, with_mark=False).bad:
        problems = "".join(f"\n  {file.problem}" for file in bad)
        raise CorruptArtifactError(
            f"version {version} of {uri!r} is not whole, so it was not made the current one: {len(bad)} of its "
            f"files are damaged. Choose another version, or run a refresh:{problems}"
        )
    with pinned(uri, version):
        if version not in list_versions(uri):
            raise InputError(
                f"version {version} of {uri!r} was removed by nnn table expire during the check, so nothing was "
                "published. nnn table list shows the versions that are left."
            )
        return commit_version(uri, replace(base, version=number))
