"""The only module that touches storage: whole objects by URI, through fsspec.

Every object is written once, under a name that did not exist before (``create``), and is
complete the moment its name exists. Nothing that others rely on is ever rewritten, so there is no locking; old
objects can be removed (``remove``), which is for those to decide who know what names them. Only what monitoring
reads is overwritten (``replace``).

What goes wrong on the way to a store and passes by itself is tried again (``transient``); the rest fails at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from typing import IO, Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol, glob_translate

from nnn_core.errors import NOTHING_PUBLISHED, InputError, StorageError
from nnn_core.redaction import refuse_credentials
from nnn_core.storage._local_disk import LinkedFileSystem, create_local, replace_local, sync_folder
from nnn_core.storage._local_disk import is_half_written as is_half_written
from nnn_core.storage._steady_stream import steady
from nnn_core.storage._transient import is_denied, is_of_store, is_transient, reaching, reason, retry, unreachable
from nnn_core.storage._uris import basename as basename
from nnn_core.storage._uris import check_place as check_place
from nnn_core.storage._uris import join as join
from nnn_core.storage._uris import parent as parent
from nnn_core.storage._written import add_written
from nnn_core.storage._written import tally as tally

#: Protocols on which an object can be created exclusively. Elsewhere fsspec looks whether the name is
#: taken and then writes, so two writers may both succeed.
_EXCLUSIVE = ("file", "local", "memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")

#: What the clients of stores call the MD5 of an object, or of its parts' MD5s.
_MD5S = {"s3": "ETag", "s3a": "ETag", "gs": "md5Hash", "gcs": "md5Hash"}

#: Names that a store is asked for at the same time.
_ASKED_AT_ONCE = 32

#: What this process has read, by URI and state.
_HASHED: dict[tuple[str, tuple[Any, ...]], str] = {}
_HASHED_AT_MOST = 100_000

#: Times of files are coarser than this on no disk; one that is as new may be that of two edits.
_SETTLED_NS = 3_000_000_000

#: What the clients of stores call the notes that an object can be written with.
_NOTES = {"s3": "Metadata", "gs": "metadata", "gcs": "metadata"}
_NOTE = "nnn-write"

Result = TypeVar("Result")


def normal(uri: str) -> str:
    """``uri`` as ``find`` would spell it: local paths absolute and bare, others with their protocol."""
    return _user_uri(*_resolve(uri))


def is_local(uri: str) -> bool:
    """Whether ``uri`` is a path on a disk of this machine."""
    return _plain_protocol(uri) in ("file", "local")


def _is_chained(uri: str) -> bool:
    """Whether two colons join file systems, as in ``simplecache::s3://``, and are no part of a name."""
    head, colons, rest = uri.partition("::")
    return bool(colons) and (head in fsspec.available_protocols() or "://" in rest or rest.startswith("/"))


def _plain_protocol(uri: str) -> str:
    return str(get_protocol(uri if _is_chained(uri) else uri.partition("::")[0]))


def _resolve(uri: str) -> tuple[Any, str]:
    check_place(uri)
    refuse_credentials(uri)
    try:
        fs, path = _url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise StorageError(
            f"cannot open {uri!r}: {error}. Check the protocol in front of '://' and install "
            "its fsspec package (s3fs for s3, gcsfs for gs)."
        ) from error
    except Exception as error:
        if not is_of_store(error):
            raise
        raise unreachable(uri, error) from error
    return fs, path


def _url_to_fs(uri: str) -> tuple[Any, str]:
    if "::" not in uri or _is_chained(uri):
        fs, path = fsspec.url_to_fs(uri)
        return fs, str(path)
    kind = fsspec.get_filesystem_class(_plain_protocol(uri))
    return kind(**kind._get_kwargs_from_urls(uri)), str(kind._strip_protocol(uri))


def _asking(uri: str, action: Callable[[Any, str], Result]) -> Result:
    """The result of ``action(file system, path)``, tried again while a store is only slow or busy."""
    fs, path = _resolve(uri)
    with reaching(uri):
        return retry(lambda: action(fs, path), uri)


def _reading(uri: str, action: Callable[[Any, str], Result]) -> Result:
    """The result of ``action(file system, path)`` on an object that has to be there, see ``_asking``."""

    def read(fs: Any, path: str) -> Result:
        try:
            return action(fs, path)
        except OSError as error:
            if is_transient(error) or is_denied(error):
                raise
            raise InputError(f"cannot read {uri!r}: {reason(error)}.") from error

    return _asking(uri, read)


def _user_uri(fs: Any, path: str) -> str:
    """Local paths as people type them, everything else with its protocol."""
    return path if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(path))


@contextlib.contextmanager
def open_input(uri: str, sparse: bool = False) -> Iterator[IO[bytes]]:
    """A seekable binary stream over ``uri``.

    Args:
        uri: the object to read.
        sparse: whether only small stretches will be read, so that clients of stores need not fetch more than is asked.

    Raises:
        InputError: the object does not exist, or breaks while it is read.
        StorageError: it cannot be reached, or may not be read.
    """
    ahead = {"cache_type": "none"} if sparse and not is_local(uri) else {}
    stream = _reading(uri, lambda fs, path: fs.open(path, "rb", **ahead))
    with stream:
        if not is_local(uri):
            yield steady(stream, uri)
            return
        try:
            yield stream
        except OSError as error:
            if error.errno is None:  # a parser's
                raise
            raise InputError(f"cannot read {uri!r}: {reason(error)}.") from error


def read_bytes(uri: str) -> bytes:
    """All bytes of the object.

    Raises:
        InputError: the object does not exist.
        StorageError: it cannot be reached, or may not be read.
    """
    return _reading(uri, lambda fs, path: bytes(fs.cat_file(path)))


def _type_of(fs: Any, path: str) -> str | None:
    """What is there: a file, a directory or other; None for nothing. (To fsspec's ``isfile`` any error is nothing.)"""
    if isinstance(fs, LocalFileSystem):
        with contextlib.suppress(OSError, ValueError):
            mode = os.stat(path).st_mode
            return "directory" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"
        return None
    try:
        return str(fs.info(path)["type"])
    except (FileNotFoundError, NotADirectoryError) as error:
        _check_bucket(error)
        return None


def _check_bucket(error: OSError) -> None:
    """Nothing lies in a bucket that does not exist, but its name is a mistake rather than an empty place.

    S3 says so in words; of other stores there is no telling.
    """
    if "bucket does not exist" in str(error):
        raise error


def exists(uri: str) -> bool:
    """Whether an object of this name is complete."""
    return _asking(uri, _type_of) is not None


def existing(uris: Sequence[str]) -> frozenset[str]:
    """Those of ``uris`` whose object is complete. A store is asked for many at once, as it takes its time for each."""
    if len(uris) < 2:
        return frozenset(filter(exists, uris))
    if is_local(uris[0]):
        return frozenset(uri for uri in uris if os.path.exists(LocalFileSystem._strip_protocol(uri)))
    with ThreadPool(min(len(uris), _ASKED_AT_ONCE)) as pool:
        found = list(pool.imap(exists, uris))  # unlike map it raises at the first error
    return frozenset(itertools.compress(uris, found))


def is_folder(uri: str) -> bool:
    """Whether ``uri`` is a folder rather than an object."""
    return _asking(uri, _type_of) == "directory"


def list_names(uri: str) -> list[str]:
    """Sorted names directly under ``uri``; empty when there is no such folder."""

    def names(fs: Any, path: str) -> list[str]:
        fs.invalidate_cache(path)
        try:
            return sorted(basename(name) for name in fs.ls(path, detail=False))
        except (FileNotFoundError, NotADirectoryError) as error:
            _check_bucket(error)
            return []

    return _asking(uri, names)


def find(pattern: str) -> list[str]:
    """URIs of the files that match one glob ``pattern`` (unsorted; a plain name matches itself).

    On a local disk links are followed, to files and to folders.

    Raises:
        InputError: a link that leads nowhere stands where a matching file could be.
        StorageError: a folder on the way cannot be listed, so that files might be missing.
    """
    return _asking(pattern, _find)


def _find(fs: Any, path: str) -> list[str]:
    fs.invalidate_cache(fs._parent(path))
    if _type_of(fs, path) == "file":
        return [_user_uri(fs, path)]
    if isinstance(fs, LocalFileSystem):
        fs = LinkedFileSystem(skip_instance_cache=True)
        fs.refuse_dangling(path, path)
    if not any(magic in path for magic in "*?["):
        return []
    matches = _matches(fs, path)
    if isinstance(fs, LinkedFileSystem):
        for link in fs.dangling:
            fs.refuse_dangling(link, path)
    return [_user_uri(fs, match) for match in matches]


def _matches(fs: Any, pattern: str) -> list[str]:
    """Files that match. fsspec's own glob leaves out what is below a folder that it cannot list."""
    if _protocol(fs) not in _EXCLUSIVE:
        return [name for name, info in fs.glob(pattern, detail=True).items() if info["type"] == "file"]
    root = re.split(r"[*?[]", pattern, maxsplit=1)[0].rpartition("/")[0]
    depth = None if "**" in pattern else pattern.count("/", len(root) + 1) + 1
    match = re.compile(glob_translate(pattern)).match
    return [info["name"] for info in _walk(fs, root, depth) if info["type"] == "file" and match(info["name"])]


def _walk(fs: Any, folder: str, depth: int | None) -> Iterator[dict[str, Any]]:
    """What lies below ``folder``, down to ``depth`` levels."""
    try:
        listing = fs.ls(folder or fs.root_marker, detail=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        _check_bucket(error)
        return
    for info in listing:
        name = info["name"].rstrip("/")
        if info["type"] != "directory":
            yield info
        elif name != folder and depth != 1:
            yield from _walk(fs, name, depth and depth - 1)


def _protocol(fs: Any) -> str:
    return fs.protocol if isinstance(fs.protocol, str) else str(fs.protocol[0])


def size(uri: str) -> int:
    """Bytes of the object."""
    return _reading(uri, lambda fs, path: int(fs.size(path)))


def modified(uri: str) -> float:
    """When the object was written, in seconds since 1970 by the store's clock.

    Raises:
        InputError: the object does not exist.
        StorageError: it cannot be reached.
    """
    return _reading(uri, lambda fs, path: float(fs.modified(path).timestamp()))


def remove(uri: str) -> bool:
    """Delete the object, if it is there.

    Returns:
        False when it was not there (any more).

    Raises:
        StorageError: it may not be deleted.
    """

    def act(fs: Any, path: str) -> bool:
        fs.invalidate_cache(fs._parent(path))
        if _type_of(fs, path) != "file":
            return False
        with contextlib.suppress(FileNotFoundError):  # another job was faster
            fs.rm_file(path)
        fs.invalidate_cache(fs._parent(path))
        return True

    return _asking(uri, act)


def content_digest(uri: str, fresh: bool = False) -> str:
    """A digest of an object's bytes: others for other bytes, and the same wherever the same bytes lie.

    S3 and Cloud Storage tell an MD5 with the listing, which costs no read; anywhere else the content is hashed.
    The ETag of a web server is no digest: many make it of time and size, so three files may share one. All that it is
    good for is to say that a file need not be read again by this process; so are the times of a file on a disk, unless
    they are so new that an edit within their resolution would be missed. (CRC-32 is too short to be all that tells
    files apart.)

    Args:
        uri: the object to look at.
        fresh: whether to ask the store even if a listing of the folder is at hand.

    Raises:
        InputError: the object does not exist.
        StorageError: it cannot be reached, or may not be read.
    """

    def digest(fs: Any, path: str) -> str:
        if fresh:
            fs.invalidate_cache(path)
        info = fs.info(path)
        key = _MD5S.get(_protocol(fs))
        if key and info.get(key):
            return f"{key.lower()}:{info[key]}:{info['size']}"
        local = isinstance(fs, LocalFileSystem)
        state = None if local and fresh else _state_of(path if local else None, info)
        if state and (uri, state) in _HASHED:
            return _HASHED[uri, state]
        with fs.open(path, "rb") as stream:
            found = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        if state and len(_HASHED) < _HASHED_AT_MOST and state == _state_of(path if local else None, info):
            _HASHED[uri, state] = found
        return found

    return _reading(uri, digest)


def _state_of(path: str | None, info: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What a file has no longer once its bytes are others, as long as this process lives; None where nothing is sure.

    Args:
        path: where it is on a disk; None if it is in a store.
        info: what the store tells of it.
    """
    if path is None:
        return (info["ETag"], info.get("size")) if info.get("ETag") else None
    found = os.stat(path)
    times = (found.st_mtime_ns, found.st_ctime_ns)
    return (found.st_dev, found.st_ino, found.st_size, *times) if time.time_ns() - max(times) > _SETTLED_NS else None


def keep_names(*folders: str) -> None:
    """Have a local disk keep the names of what was created in folders, as it keeps the bytes; stores do so anyway."""
    for uri in filter(is_local, folders):
        sync_folder(_resolve(uri)[1])


def check_exclusive(uri: str) -> None:
    """Refuse a place where ``create`` could not keep its promise, without going there.

    Raises:
        StorageError: the protocol has no exclusive creation.
    """
    check_place(uri)
    refuse_credentials(uri)
    protocol = _plain_protocol(uri)
    if protocol in fsspec.available_protocols() and protocol not in _EXCLUSIVE:
        raise StorageError(
            f"cannot write {uri!r}: {protocol!r} cannot create objects exclusively, so two jobs could overwrite "
            "each other's files. Put --table and --work on a local disk, S3, Google Cloud Storage or Azure. "
            "Inputs may stay where they are."
        )


def create(uri: str, data: bytes | memoryview) -> bool:
    """Create the object with these bytes, unless the name is taken.

    Returns:
        True when this call created it, also if the store's answer was lost and only a later attempt found out;
        False when an object of that name was already there (left untouched, whatever its bytes).

    Raises:
        StorageError: the location cannot be written, or not exclusively.
    """
    check_exclusive(uri)
    fs, path = _resolve(uri)
    with reaching(uri):
        try:
            created = retry(_Creation(fs, path, data).attempt, uri)
        except OSError as error:
            raise StorageError(
                f"cannot write {uri!r}: {reason(error)}. {NOTHING_PUBLISHED} Make the location writable, and "
                "run the same command again. Finished work is kept."
            ) from error
    if created:
        add_written(len(data))
    return created


def replace(uri: str, data: bytes) -> None:
    """Write the object, whole or not at all, in the place of one that may be there.

    For what the newest writer may overwrite. Everything that others rely on is made by ``create``.

    Raises:
        StorageError: the location cannot be written.
    """
    check_place(uri)
    refuse_credentials(uri)
    fs, path = _resolve(uri)
    with reaching(uri):
        try:
            retry(lambda: replace_local(path, data) if is_local(uri) else fs.pipe_file(path, data), uri)
        except OSError as error:
            raise StorageError(f"cannot write {uri!r}: {reason(error)}.") from error


def create_output(uri: str, data: bytes | memoryview, flag: str) -> None:
    """Create the file that a user named, unless the very same is there.

    Args:
        uri: URI of the new file.
        data: the bytes to write as the file's content.
        flag: the flag that named it, for the message.

    Raises:
        StorageError: another file lies there, or it cannot be written.
    """
    if not create(uri, data) and read_bytes(uri) != data:
        raise StorageError(f"{flag} {uri!r} exists already with other content and was left as it is. Name a new file.")


@dataclass
class _Creation:
    """One call of ``create`` and its attempts.

    The answer to a write can get lost, and whoever then tries again, a store's client by itself or this program,
    finds that the name is taken: perhaps by its own object. So the object carries a note which no other call has.

    Attributes:
        fs: the file system that the object belongs to.
        path: the object's name on its file system.
        data: the bytes to write as the object's content.
        note: text stored with the object on S3 and Cloud Storage. It is no part of the bytes, and differs every time.
        doubtful: whether an attempt to write may have succeeded unnoticed.
    """

    fs: Any
    path: str
    data: bytes | memoryview
    note: str = field(default_factory=lambda: secrets.token_hex(8))
    doubtful: bool = False

    def attempt(self) -> bool:
        """Write once; True if the object is this call's, False if it is another's."""
        if isinstance(self.fs, LocalFileSystem):
            return create_local(self.path, self.data)
        argument = _NOTES.get(_protocol(self.fs))
        notes = {argument: {_NOTE: self.note}} if argument else {}
        try:
            self.fs.pipe_file(self.path, bytes(self.data), mode="create", **notes)
        except Exception as error:
            if not is_of_store(error):
                raise
            self.doubtful |= is_transient(error)
            # Stores say in several ways that the name is taken; that it is, they all say alike.
            if self._is_taken() or isinstance(error, FileExistsError):
                return self._is_own(noted=bool(notes))
            raise
        return True

    def _is_taken(self) -> bool:
        with contextlib.suppress(OSError):
            self.fs.invalidate_cache(self.fs._parent(self.path))
            return _type_of(self.fs, self.path) == "file"
        return False

    def _is_own(self, noted: bool) -> bool:
        if noted:
            with contextlib.suppress(KeyError):
                return bool(self.fs.getxattr(self.path, _NOTE) == self.note)
            return False
        return self.doubtful and bool(self.fs.cat_file(self.path) == bytes(self.data))
