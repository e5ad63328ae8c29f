"""Files of a version, named by their bytes: written once, and checked as they are read."""

from __future__ import annotations

from nnn_core import storage
from nnn_core.digests import sha256
from nnn_core.errors import CorruptArtifactError, InputError


def read_published(table_uri: str, path: str, size: int, digest: str) -> bytes:
    """The bytes of a file of the table, after a check against what the manifest says of it.

    Args:
        table_uri: URI of the table's folder.
        path: path of the file, relative to the table's URI.
        size: size of the file, in bytes.
        digest: SHA-256 of the file's bytes, in hex.

    Raises:
        CorruptArtifactError: the file is not what the manifest says.
        InputError: it is gone.
    """
    uri = storage.join(table_uri, path)
    try:
        data = storage.read_bytes(uri)
    except InputError as error:
        raise InputError(
            f"{error} Without it the version is incomplete. Read an older version, or run a refresh."
        ) from error
    if len(data) != size or sha256(data) != digest:
        raise CorruptArtifactError(
            f"{uri!r} is damaged: {len(data)} bytes with SHA-256 {sha256(data)[:16]}..., not {size} with "
            f"{digest[:16]}... as in the manifest. Read an older version, or run a refresh."
        )
    return data


def is_published(table_uri: str, path: str, size: int, digest: str) -> bool:
    """Whether ``read_published`` would read the file."""
    try:
        read_published(table_uri, path, size, digest)
    except (CorruptArtifactError, InputError):
        return False
    return True


def store_published(table_uri: str, stem: str, data: bytes | memoryview, existing: dict[str, str]) -> tuple[str, str]:
    """Store a file of a version, unless an earlier one has the very same file, undamaged.

    Args:
        table_uri: URI of the table's folder.
        stem: path of the file, relative to the table's URI, without the digest and the suffix that end its name.
        data: bytes of the file.
        existing: paths of the current version's files by SHA-256.

    Returns:
        The path of the file, relative to the table's URI, and its SHA-256.

    Raises:
        CorruptArtifactError: another file lies under the name of this one.
        StorageError: the table cannot be written.
    """
    digest = sha256(data)
    path = existing.get(digest)
    if path is None or not is_published(table_uri, path, len(data), digest):
        path = f"{stem}-{digest[:16]}.parquet"
        uri = storage.join(table_uri, path)
        if not storage.create(uri, data) and not is_published(table_uri, path, len(data), digest):
            raise CorruptArtifactError(
                f"{uri!r} is damaged: its content does not match its name, so nothing was published. No version "
                "uses it: delete it, and run the same command again."
            )
    return path, digest
