"""The footer of a Parquet file without the types that its writer had in Arrow."""

from __future__ import annotations

import io
import os
from typing import IO, Any

_MAGIC = b"PAR1"

#: Under this key writers of Arrow keep its schema; under the other, of the same length, nobody looks for one.
_KEY, _OTHER = b"ARROW:schema", b"ARROW.schema"


class WithoutArrowSchema(io.RawIOBase):
    """A Parquet file in which Arrow finds no schema of its own, so that it takes the types of Parquet.

    Arrow can neither be told to ignore that schema, nor read every file that agrees with it.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, end - 8))
        tail = stream.read(8)
        length = int.from_bytes(tail[:4], "little") if tail[4:] == _MAGIC else 0
        self._begin, self._size = max(0, end - 8 - length), end
        stream.seek(self._begin)
        self._footer = stream.read(end - self._begin).replace(_KEY, _OTHER)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        if self._at >= self._begin:
            data = self._footer[self._at - self._begin :][:wanted]
        else:
            self._stream.seek(self._at)
            data = self._stream.read(min(wanted, self._begin - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
