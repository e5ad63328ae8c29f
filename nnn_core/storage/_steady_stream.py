"""A stream from a store that does not end with the connection."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Any

from nnn_core.storage._transient import is_transient, reaching, retry

_BUFFER = 1 << 16


def steady(stream: Any, uri: str) -> IO[bytes]:
    """``stream`` with a buffer, and with reads that are done again from the same place when they are interrupted.

    A read that cannot be done raises a StorageError that names ``uri``.
    """
    return io.BufferedReader(_SteadyReads(stream, uri), _BUFFER)


class _SteadyReads(io.RawIOBase):
    def __init__(self, stream: Any, uri: str) -> None:
        self._stream = stream
        self._uri = uri
        self._seekable = bool(stream.seekable())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._read(-1)

    def _read(self, size: int) -> bytes:
        place = self._stream.tell() if self._seekable else None
        try:
            return bytes(self._stream.read(size))
        except Exception as error:
            first = error
        with reaching(self._uri):
            if place is None or not is_transient(first):
                raise first
            return retry(self._again(size, place, first), self._uri)

    def _again(self, size: int, place: int, first: Exception) -> Callable[[], bytes]:
        """Reading from ``place``, after the attempt that ended in ``first``."""
        past = [first]

        def read() -> bytes:
            if past:
                raise past.pop()
            self._stream.seek(place)
            return bytes(self._stream.read(size))

        return read
