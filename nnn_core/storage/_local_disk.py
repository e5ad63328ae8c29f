"""The local disk: links that are what they lead to, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from typing import IO, Any

from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from nnn_core.errors import InputError

#: What a file is called until all of its bytes are there, on a file system without unnamed files.
_HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]{16}\.tmp\Z", re.DOTALL)


class LinkedFileSystem(LocalFileSystem):  # type: ignore[misc]
    """A local disk on which a link is what it leads to; fsspec's own lists links as neither file nor folder.

    A link to a folder that it lies in adds no files, so it is left alone.

    Attributes:
        dangling: paths of links that lead nowhere, as far as they were met.
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
                f"{link!r} is a link to {os.readlink(link)!r}, which does not exist, so {pattern!r} would be "
                "incomplete. Restore the target, or remove the link."
            )


def _folders_above(path: str) -> Iterator[str]:
    while path != (path := os.path.dirname(path)):
        yield path


def create_local(path: str, data: bytes | memoryview) -> bool:
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
        return _create_named(folder, path, data)
    with os.fdopen(descriptor, "wb") as stream:
        _write_durably(stream, data)
        return _link(f"/proc/self/fd/{stream.fileno()}", path, stream.fileno())


def is_half_written(name: str) -> bool:
    """Whether a file of this name is one that is being written, or was by a process that is gone."""
    return bool(_HALF_WRITTEN.match(name))


def sync_folder(path: str) -> None:
    """Have the disk keep the names in a folder, which last no longer than what it was told of them."""
    with contextlib.suppress(OSError):  # some file systems cannot
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace_local(path: str, data: bytes) -> None:
    """Atomic on a local disk: readers see the old bytes or the new ones."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    with _named(folder, path, data) as temporary:
        os.replace(temporary, path)


def _create_named(folder: str, path: str, data: bytes | memoryview) -> bool:
    with _named(folder, path, data) as temporary:
        return _link(temporary, path)


@contextlib.contextmanager
def _named(folder: str, path: str, data: bytes | memoryview) -> Iterator[str]:
    """A file of these bytes beside ``path``, under a name of its own that is gone in the end."""
    temporary = os.path.join(folder, f".{os.path.basename(path)}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as stream:
            _write_durably(stream, data)
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _write_durably(stream: IO[bytes], data: bytes | memoryview) -> None:
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
