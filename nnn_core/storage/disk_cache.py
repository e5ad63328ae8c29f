"""A cache on the local disk for artefacts that workers read from an object store again and again.

Files are named by the SHA-256 of their bytes, so a file is right or it is not, whoever wrote it and for which job;
one that is not is fetched anew. Any number of processes share a folder without a lock: a file appears whole under its
name by a rename, and what a killed process left is removed. (fsspec's own caches have no bound in bytes, and their
index loses entries where two processes write it.)
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from functools import cache

from nnn_core import storage
from nnn_core.digests import sha256
from nnn_core.errors import CorruptArtifactError

_LOG = logging.getLogger(__name__)

_PARTIAL = ".partial"
_NAME = re.compile(r"[0-9a-f]{64}(\.[0-9a-f]{16}\.partial)?\Z")

#: Seconds after which a file that is being written counts as left behind by a process that was killed.
_ABANDONED = 3600.0

_LARGEST_DEFAULT = 8 << 30


@dataclass(frozen=True)
class DiskCache:
    """Where files are kept, and how many bytes of them. It holds no state, so it travels to workers.

    Attributes:
        max_bytes: bound on all files together, those being written included; 0 keeps nothing. None is a tenth of
            what the disk has free, 8 GiB at most.
        folder: path of the cache; None for a folder of the user's own below the one for temporary files, or another
            there if somebody else has made that one.
    """

    max_bytes: int | None = None
    folder: str | None = None

    def read(self, uri: str, digest: str) -> bytes:
        """The bytes of ``uri``, from the disk if they are there.

        Args:
            uri: URI of the artefact; what lies on a local disk already is not copied.
            digest: SHA-256 that the artefact's bytes must have.

        Raises:
            CorruptArtifactError: they have another digest.
            InputError: the artefact is gone.
            StorageError: it cannot be reached.
        """
        cached = self.max_bytes != 0 and not storage.is_local(uri)
        data = self._recall(digest) if cached else None
        if data is not None:
            return data
        data = storage.read_bytes(uri)
        if (found := sha256(data)) != digest:
            raise CorruptArtifactError(
                f"{uri!r} has changed since it was written (SHA-256 {found[:16]}..., expected "
                f"{digest[:16]}...), so results from it would be wrong."
            )
        if cached:
            self._keep(digest, data)
        return data

    @property
    def _place(self) -> str:
        return self.folder or _private_folder()

    def _recall(self, digest: str) -> bytes | None:
        path = os.path.join(self._place, digest)
        try:
            with open(path, "rb") as stream:
                data = stream.read()
        except OSError:
            return None
        intact = sha256(data) == digest
        with contextlib.suppress(OSError):
            if intact:
                os.utime(path)  # the least recently used goes first
            else:
                os.unlink(path)
        return data if intact else None

    def _keep(self, digest: str, data: bytes) -> None:
        """Keep ``data`` if there is room for it; without a cache the job is slower, not wrong."""
        path = os.path.join(self._place, digest)
        partial = f"{path}.{secrets.token_hex(8)}{_PARTIAL}"
        try:
            os.makedirs(self._place, mode=0o700, exist_ok=True)
            with open(partial, "xb") as stream:
                # Its full size from the start, so that whoever looks for room meanwhile counts it.
                stream.truncate(len(data))
                if self._make_room(os.path.basename(partial), len(data)):
                    stream.write(data)
                    stream.flush()
                    os.replace(partial, path)
        except OSError as error:
            _LOG.warning("the cache in %s cannot be used: %s", self._place, error.strerror)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(partial)

    def _make_room(self, own: str, needed: int) -> bool:
        """Remove what was used least recently until all files keep to the bound; False where that is not possible."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        bound = self._default_bound(total - needed) if self.max_bytes is None else self.max_bytes
        if needed > bound:
            return False
        for used, size, name in files:
            partial = name.endswith(_PARTIAL)
            abandoned = partial and time.time() - used > _ABANDONED
            if name == own or (not abandoned and (partial or total <= bound)):
                continue
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._place, name))
            total -= size
        return total <= bound

    def _files(self) -> list[tuple[float, int, str]]:
        """(time of last use, bytes, name) of each file of the cache."""
        found = []
        with os.scandir(self._place) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if _NAME.match(entry.name):
                        status = entry.stat(follow_symlinks=False)
                        found.append((status.st_mtime, status.st_size, entry.name))
        return found

    def _default_bound(self, used: int) -> int:
        return min(_LARGEST_DEFAULT, (shutil.disk_usage(self._place).free + used) // 10)


@cache
def _private_folder() -> str:
    """A folder that belongs to the user, and that nobody else can write or read; made if need be."""
    folder = os.path.join(tempfile.gettempdir(), f"nnn-bias-cache-{os.getuid()}")
    with contextlib.suppress(OSError):  # the other tells
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.lstat(folder)
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
            return folder
    other = tempfile.mkdtemp(prefix=f"nnn-bias-cache-{os.getuid()}-")
    atexit.register(shutil.rmtree, other, ignore_errors=True)
    _LOG.warning("%s does not belong to this user, so the cache is in %s until this process ends", folder, other)
    return other


#: Reads everything where it lies.
NO_CACHE = DiskCache(max_bytes=0)
