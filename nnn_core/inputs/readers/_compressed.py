"""Files as they are, or what is compressed in them by gzip or Zstandard: one stream for readers of all."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import pyarrow as pa

from nnn_core import storage
from nnn_core.errors import InputError

#: Real text and images shrink to a tenth or so, and nothing beyond a thousandth: a file that holds
#: more than this, and more than that many times its own bytes, was made to fill memory or time.
_BOMB_BYTES = 64 << 20
_BOMB_RATIO = 200

_BUFFER_BYTES = 1 << 18
_HEAD_BYTES = 512

#: What reads the next stretch of at most so many bytes of the content; nothing at its end.
_Read = Callable[[int], bytes]

#: What may lie in place of a file, by how it begins.
_PLACEHOLDERS = {
    b"version https://git-lfs.github.com/": ("only a Git LFS pointer, not the file itself. Fetch it with git lfs pull"),
    b"<!doctype html": "a web page (perhaps an error page), not the file itself. Download it again",
    b"<html": "a web page (perhaps an error page), not the file itself. Download it again",
}


def and_compressed(*suffixes: str) -> tuple[str, ...]:
    """``suffixes``, and those of the same files when they are compressed."""
    return tuple(f"{suffix}{packed}" for packed in ("", ".gz", ".zst") for suffix in suffixes)


class PlaceholderError(InputError):
    """What lies where a file should be that is elsewhere."""


def first_bytes(uri: str) -> tuple[bytes, bool]:
    """(the first bytes of what a file holds, whether it is compressed).

    Raises:
        InputError: as ``open_decompressed``.
    """
    with open_decompressed(uri) as stream:
        return stream.read(_HEAD_BYTES), isinstance(getattr(stream, "raw", None), _Decompressed)


@contextlib.contextmanager
def open_decompressed(uri: str) -> Iterator[IO[bytes]]:
    """A binary stream over ``uri``, or over what it holds if its name or its first bytes say that it is compressed.

    The stream of a compressed file can be read and can skip forward (``seek`` to a later byte, as
    ``tarfile`` does), but cannot go back.

    Raises:
        PlaceholderError: something else lies where the object should.
        InputError: it does not exist or may not be read; while reading the stream, that it is not compressed as its
            name says, is cut short, is damaged, or is a bomb.
    """
    with storage.open_input(uri) as stream:
        begin = stream.read(_HEAD_BYTES)
        stream.seek(0)
        for mark, what in _PLACEHOLDERS.items():
            if begin.lower().startswith(mark):
                raise PlaceholderError(f"{uri!r} is {what}.")
        by_name = [codec for codec, names in _NAMES.items() if uri.lower().endswith(names)]
        codecs = by_name or [codec for codec, mark in _MARKS.items() if begin.startswith(mark)]
        if codecs:
            with io.BufferedReader(_Decompressed(stream, uri, codecs[0](stream)), _BUFFER_BYTES) as decompressed:
                yield decompressed
        else:
            yield stream


def _gzip(stream: IO[bytes]) -> _Read:
    # read1 hands on what it has: a last good stretch is not lost to damage behind it.
    return gzip.GzipFile(fileobj=stream, mode="rb").read1


def _zstandard(stream: IO[bytes]) -> _Read:
    # Arrow's stream, unlike that of the package zstandard, takes no end that comes too early for the end.
    read: _Read = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd").read
    return read


#: How the names of compressed files end, and how such files begin, by what opens them.
_NAMES = {_gzip: (".gz", ".tgz"), _zstandard: (".zst", ".tzst")}
_MARKS = {_gzip: b"\x1f\x8b", _zstandard: b"\x28\xb5\x2f\xfd"}


class _Decompressed(io.RawIOBase):
    def __init__(self, stream: IO[bytes], uri: str, read: _Read) -> None:
        self._compressed, self._uri, self._position = stream, uri, 0
        self._read = read

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._read(len(buffer))
        except (EOFError, OSError, zlib.error, pa.ArrowException) as error:
            raise InputError(
                f"{self._uri!r} cannot be decompressed beyond byte {self._position:,} of its content: {error}. "
                "The rest is unknown. Restore the file, or leave it out."
            ) from error
        buffer[: len(data)] = data
        self._position += len(data)
        self._refuse_bomb()
        return len(data)

    def _refuse_bomb(self) -> None:
        read = self._compressed.tell()
        if self._position > max(_BOMB_BYTES, _BOMB_RATIO * read):
            raise InputError(
                f"{self._uri!r} decompresses to more than {_BOMB_RATIO} times its size ({self._position:,} "
                f"bytes from {read:,}). It may be a decompression bomb, so reading stopped. If the file is "
                "right, decompress it yourself."
            )

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        target = offset + (self._position if whence == os.SEEK_CUR else 0)
        if whence == os.SEEK_END or target < self._position:
            raise io.UnsupportedOperation("a compressed stream can only be read forward")
        skipped = bytearray(_BUFFER_BYTES)
        while self._position < target:
            if not self.readinto(memoryview(skipped)[: target - self._position]):
                break
        return self._position
