"""The only module that touches storage: whole objects by URI, through fsspec.

Every object is written once, under a name that did not exist before (``create``), and is
complete the moment its name exists. Nothing is ever rewritten, so there is no locking.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol, glob_translate

from nnn_core.errors import InputError, StorageError

_HASH_CHUNK = 1 << 22

#: Packages of stores' clients, whose errors (no credentials, say) are not Python's own.
_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "google", "gcsfs", "azure", "adlfs")

#: Protocols on which an object can be created exclusively. Elsewhere fsspec looks whether the name is
#: taken and then writes, so two writers may both succeed.
_EXCLUSIVE = ("file", "local", "memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")

#: Seconds to wait before each new attempt of a write that another writer's got in the way of.
_WAITS = (0.1, 0.3, 1.0, 3.0)


def join(uri: str, *names: str) -> str:
    """``uri`` with path segments appended, whatever the protocol."""
    return "/".join([uri.rstrip("/"), *names])


def normal(uri: str) -> str:
    """``uri`` as ``find`` would spell it: local paths absolute and bare, others with their protocol."""
    return _user_uri(*_resolve(uri))


def parent(uri: str) -> str:
    """The folder that holds ``uri``."""
    return uri.rstrip("/").rpartition("/")[0]


def basename(uri: str) -> str:
    """The last path segment of ``uri``."""
    return uri.rstrip("/").rpartition("/")[2]


@contextlib.contextmanager
def _reaching(uri: str) -> Iterator[None]:
    """Turn what goes wrong on the way to a store, with whatever class its client has for it, into one error.

    Raises:
        StorageError: ``uri`` cannot be reached, or not with these credentials.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _CLIENTS:
            raise
        raise StorageError(
            f"cannot reach {uri!r}: {_reason(error)}. Nothing was published; check the credentials for it and the "
            "network, and run the same command again."
        ) from error


def _resolve(uri: str) -> tuple[Any, str]:
    try:
        with _reaching(uri):
            fs, path = fsspec.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise StorageError(
            f"cannot open {uri!r}: {error}. Check the protocol in front of '://' and install "
            "its fsspec package (s3fs for s3, gcsfs for gs)."
        ) from error
    return fs, path


def _user_uri(fs: Any, path: str) -> str:
    """Local paths as people type them, everything else with its protocol."""
    return path if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(path))


@contextlib.contextmanager
def open_input(uri: str) -> Iterator[IO[bytes]]:
    """A seekable binary stream over ``uri``.

    Raises:
        InputError: the object does not exist or may not be read.
    """
    fs, path = _resolve(uri)
    with _reaching(uri):
        try:
            stream = fs.open(path, "rb")
        except OSError as error:
            raise InputError(f"cannot read {uri!r}: {_reason(error)}.") from error
    with stream:
        yield stream


def read_bytes(uri: str) -> bytes:
    """The whole object.

    Raises:
        InputError: the object does not exist or may not be read.
    """
    fs, path = _resolve(uri)
    with _reaching(uri):
        try:
            return bytes(fs.cat_file(path))
        except OSError as error:
            raise InputError(f"cannot read {uri!r}: {_reason(error)}.") from error


def exists(uri: str) -> bool:
    """Whether an object of this name is complete."""
    fs, path = _resolve(uri)
    with _reaching(uri):
        return bool(fs.exists(path))


def is_folder(uri: str) -> bool:
    """Whether ``uri`` is a folder rather than an object."""
    fs, path = _resolve(uri)
    with _reaching(uri):
        return bool(fs.isdir(path))


def list_names(uri: str) -> list[str]:
    """Sorted names directly under ``uri``; empty when there is no such folder."""
    fs, path = _resolve(uri)
    fs.invalidate_cache(path)
    with _reaching(uri):
        try:
            return sorted(basename(name) for name in fs.ls(path, detail=False))
        except (FileNotFoundError, NotADirectoryError):
            return []


def find(pattern: str) -> list[str]:
    """URIs of the files that match one glob ``pattern`` (unsorted; a plain name matches itself).

    On a local disk links are followed, to files and to folders.

    Raises:
        InputError: a link that leads nowhere stands where a matching file could be.
    """
    fs, path = _resolve(pattern)
    with _reaching(pattern):
        return _find(fs, path)


def _find(fs: Any, path: str) -> list[str]:
    fs.invalidate_cache(fs._parent(path))
    if fs.isfile(path):
        return [_user_uri(fs, path)]
    if isinstance(fs, LocalFileSystem):
        fs = _LinkedFileSystem(skip_instance_cache=True)
        fs.refuse_dangling(path, path)
    if not any(magic in path for magic in "*?["):
        return []
    matches = fs.glob(path, detail=True)
    if isinstance(fs, _LinkedFileSystem):
        for link in fs.dangling:
            fs.refuse_dangling(link, path)
    return [_user_uri(fs, match) for match, info in matches.items() if info["type"] == "file"]


class _LinkedFileSystem(LocalFileSystem):  # type: ignore[misc]
    """A local disk on which a link is what it leads to; fsspec's own lists links as neither file nor folder.

    A link to a folder that it lies in adds no files, so it is left alone.

    Attributes:
        dangling: links that lead nowhere, as far as they were met.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dangling: list[str] = []

    def info(self, path: Any, **options: Any) -> dict[str, Any]:
        info: dict[str, Any] = super().info(path, **options)
        name = info["name"]
        if not info["islink"]:
            return info
        if not os.path.exists(name):
            self.dangling.append(name)
        elif os.path.isfile(name):
            info["type"] = "file"
        elif os.path.isdir(name) and not any(os.path.samefile(name, folder) for folder in _folders_above(name)):
            info["type"] = "directory"
        return info

    def refuse_dangling(self, link: str, pattern: str) -> None:
        """Raise if ``link`` leads nowhere and ``pattern``, or the path to what it matches, names it."""
        if not os.path.islink(link) or os.path.exists(link):
            return
        segments = pattern.split("/")
        prefixes = ["/".join(segments[:length]) for length in range(2, len(segments) + 1)]
        if any(re.match(glob_translate(prefix), link) for prefix in prefixes):
            raise InputError(
                f"{link!r} is a link to {os.readlink(link)!r}, where nothing is, so what {pattern!r} stands for "
                "would be incomplete. Restore what it leads to, or remove the link."
            )


def _folders_above(path: str) -> Iterator[str]:
    while path != (path := os.path.dirname(path)):
        yield path


def size(uri: str) -> int:
    """Bytes of the object."""
    fs, path = _resolve(uri)
    with _reaching(uri):
        try:
            return int(fs.size(path))
        except OSError as error:
            raise InputError(f"cannot read {uri!r}: {_reason(error)}.") from error


def content_digest(uri: str, fresh: bool = False) -> str:
    """A digest that changes when the object's bytes change.

    Object stores report a checksum or ETag with the listing, which costs no read; anywhere
    else the content is hashed. (A modification time would miss an edit within its resolution.)

    Args:
        uri: the object.
        fresh: ask the store, even if a listing of the folder is at hand.

    Raises:
        InputError: the object does not exist or may not be read.
    """
    fs, path = _resolve(uri)
    if fresh:
        fs.invalidate_cache(path)
    with _reaching(uri):
        try:
            return _digest_of(fs, path)
        except OSError as error:
            raise InputError(f"cannot read {uri!r}: {_reason(error)}.") from error


def _digest_of(fs: Any, path: str) -> str:
    info = fs.info(path)
    for key in ("ETag", "md5Hash", "crc32c"):
        if info.get(key):
            return f"{key.lower()}:{info[key]}:{info['size']}"
    return "sha256:" + _sha256_of(fs, path)


def _sha256_of(fs: Any, path: str) -> str:
    digest = hashlib.sha256()
    with fs.open(path, "rb") as stream:
        while chunk := stream.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_exclusive(uri: str) -> None:
    """Refuse a place where ``create`` could not keep its promise, without going there.

    Raises:
        StorageError: the protocol has no exclusive creation.
    """
    protocol = get_protocol(uri)
    if protocol in fsspec.available_protocols() and protocol not in _EXCLUSIVE:
        raise StorageError(
            f"cannot write {uri!r}: over {protocol!r} an object cannot be created exclusively, so two jobs could "
            "overwrite each other's files unnoticed. Put the table and the work folder on a local disk, S3, Google "
            "Cloud Storage or Azure; inputs may stay where they are."
        )


def create(uri: str, data: bytes) -> bool:
    """Create the object with these bytes, unless the name is taken.

    Returns:
        True when this call created it, False when an object of that name was already there
        (left untouched, whatever its bytes).

    Raises:
        StorageError: the location cannot be written, or not exclusively.
    """
    check_exclusive(uri)
    fs, path = _resolve(uri)
    with _reaching(uri):
        for wait in (*_WAITS, None):
            try:
                return _create_once(fs, path, data)
            except OSError as error:
                # Stores say in several ways that the name is taken; that it is, they all say alike.
                if _exists_now(fs, path):
                    return False
                if wait is None or not _will_pass(error):
                    raise StorageError(
                        f"cannot write {uri!r}: {_reason(error)}. Nothing was published; make the location "
                        "writable and run the same command again, finished work is kept."
                    ) from error
                time.sleep(wait)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _create_once(fs: Any, path: str, data: bytes) -> bool:
    try:
        if isinstance(fs, LocalFileSystem):
            return _create_local(path, data)
        fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    return True


def _exists_now(fs: Any, path: str) -> bool:
    with contextlib.suppress(OSError):
        fs.invalidate_cache(fs._parent(path))
        return bool(fs.exists(path))
    return False


def _will_pass(error: OSError) -> bool:
    """Whether only another writer or the load of the store was in the way.

    S3 answers 409 to one of two writers of a name, and s3fs has no errno for some kinds of 409.
    """
    response = getattr(error.__cause__, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return error.errno == errno.EBUSY or metadata.get("HTTPStatusCode") == 409


def _create_local(path: str, data: bytes) -> bool:
    """Exclusive and atomic on a local disk: the name appears with all of its bytes, or not at all.

    An unnamed file leaves nothing behind when the process is killed.
    """
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError as error:  # a file where a folder should be, not the object itself
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from error
    if os.path.lexists(path):
        return False
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o644)
    except (AttributeError, OSError):  # not Linux, or a file system without unnamed files
        return _create_local_named(folder, path, data)
    with os.fdopen(descriptor, "wb") as stream:
        _write_durably(stream, data)
        return _link(f"/proc/self/fd/{stream.fileno()}", path, stream.fileno())


def _create_local_named(folder: str, path: str, data: bytes) -> bool:
    temporary = os.path.join(folder, f".{os.path.basename(path)}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as stream:
            _write_durably(stream, data)
        return _link(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _write_durably(stream: IO[bytes], data: bytes) -> None:
    stream.write(data)
    stream.flush()
    os.fsync(stream.fileno())


def _link(source: str, path: str, descriptor: int | None = None) -> bool:
    try:
        # With a directory descriptor (unused, the path is absolute) Python calls linkat, which can
        # follow the link in /proc to the unnamed file; plain link(2) would not.
        os.link(source, path, src_dir_fd=descriptor, follow_symlinks=True)
    except FileExistsError:
        return False
    return True


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).rstrip(".") or type(error).__name__
