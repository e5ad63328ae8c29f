"""Files as they are, or what a gzip file holds: one stream for readers of either."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from typing import IO, Any

from nnn_core import storage
from nnn_core.errors import InputError

#: Real text and images shrink to a tenth or so, and nothing beyond a thousandth: a file that holds
#: more than this, and more than that many times its own bytes, was made to fill memory or time.
_BOMB_BYTES = 64 << 20
_BOMB_RATIO = 200

_BUFFER_BYTES = 1 << 18


@contextlib.contextmanager
def open_decompressed(uri: str) -> Iterator[IO[bytes]]:
    """A binary stream over ``uri``, or over what it holds if its name ends in ``.gz`` or ``.tgz``.

    The stream of a compressed file can be read and can skip forward (``seek`` to a later byte, as
    ``tarfile`` does), but cannot go back.

    Raises:
        InputError: the object does not exist or may not be read; while reading the stream, that it is
            no gzip file, is cut short, is damaged, or is a bomb.
    """
    with storage.open_input(uri) as stream:
        if uri.lower().endswith((".gz", ".tgz")):
            with io.BufferedReader(_Decompressed(stream, uri), _BUFFER_BYTES) as decompressed:
                yield decompressed
        else:
            yield stream


class _Decompressed(io.RawIOBase):
    def __init__(self, stream: IO[bytes], uri: str) -> None:
        self._compressed, self._uri, self._position = stream, uri, 0
        self._stream = gzip.GzipFile(fileobj=stream, mode="rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        try:
            # read1 hands on what it has: a last good stretch is not lost to damage behind it.
            data = self._stream.read1(len(buffer))
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(
                f"{self._uri!r} cannot be decompressed beyond byte {self._position:,} of its content: {error}. What "
                "follows is unknown; restore the file or take it out."
            ) from error
        buffer[: len(data)] = data
        self._position += len(data)
        self._refuse_bomb()
        return len(data)

    def _refuse_bomb(self) -> None:
        read = self._compressed.tell()
        if self._position > max(_BOMB_BYTES, _BOMB_RATIO * read):
            raise InputError(
                f"{self._uri!r} holds more than {_BOMB_RATIO} times its own bytes ({self._position:,} from "
                f"{read:,}), so it was taken for a decompression bomb and not read on. If its "
                "content is meant, decompress it yourself."
            )

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        target = offset + (self._position if whence == os.SEEK_CUR else 0)
        if whence == os.SEEK_END or target < self._position:
            raise io.UnsupportedOperation("a compressed stream is read forward only")
        skipped = bytearray(_BUFFER_BYTES)
        while self._position < target:
            if not self.readinto(memoryview(skipped)[: target - self._position]):
                break
        return self._position
