"""Tar archives as streams: every header is checked and bounded, and nothing is ever unpacked.

Python's ``tarfile`` parses the blocks. Its own iteration is not used: it takes a bad header for the
end of an archive, holds headers of any size, and needs quadratic time for some that are made for it.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Literal

#: All headers of one member together: long names take kilobytes at most.
HEADER_BYTES = 1 << 20

#: No file is larger, and streams cannot seek much further.
_MOST_BYTES = 1 << 50

Kind = Literal["file", "folder", "link", "other"]

_BLOCK = tarfile.BLOCKSIZE
_REST_BYTES = 1 << 20
_LONG_NAMES = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
_RECORDS = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
_EMPTY = (*_LINKS, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_SPARSE = "GNU.sparse"

#: Where the headers of old GNU sparse files say that their map of holes goes on.
_MORE_HOLES, _STILL_MORE_HOLES = 482, 504


@dataclass(frozen=True)
class Member:
    """One member of an archive.

    Attributes:
        name: name of the member as it stands in the archive, bytes that are no UTF-8 as lone surrogates.
        kind: a file, a folder, a link (hard or symbolic), or anything else: a device, a pipe, a sparse file.
        size: how many bytes of content the member has.
        target: what the member leads to, if it is a link.
        read: reads the member's content; to be called before the next member is asked for, or not at all.
    """

    name: str
    kind: Kind
    size: int
    target: str
    read: Callable[[], bytes]


def members(stream: IO[bytes]) -> Iterator[Member]:
    """Every member in order, with the archive's end checked last.

    Args:
        stream: the archive, which is read forward only.

    Raises:
        tarfile.ReadError: the archive is damaged or cut short, or a header is beyond all bounds.
    """
    archive = _Archive(stream)
    while (member := archive.next()) is not None:
        yield member
    archive.check_end()


class _Archive:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._at = self._behind = 0
        self._shared: dict[str, str] = {}

    def next(self) -> Member | None:
        """The next member; None at the mark that ends the archive."""
        self._skip_to(self._behind)
        start, fields = self._at, dict(self._shared)
        while (header := self._header()) is not None:
            if header.type not in _LONG_NAMES and header.type not in _RECORDS:
                return self._member(header, fields)
            self._extend(header, fields, start)
        if self._at > start + _BLOCK:
            raise tarfile.ReadError(f"the header at byte {start} has no member")
        return None

    def check_end(self) -> None:
        """Refuse what lies behind the end mark: members that would just go."""
        mark = self._at - _BLOCK
        while rest := self._stream.read(_REST_BYTES):
            if any(rest):
                raise tarfile.ReadError(f"there is data after the end-of-archive mark at byte {mark}")

    def _header(self) -> tarfile.TarInfo | None:
        at, block = self._at, self._stream.read(_BLOCK)
        self._at += len(block)
        if len(block) < _BLOCK:
            raise tarfile.ReadError(f"it has no end-of-archive mark, and was cut short at byte {at}")
        if not any(block):
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.TarError, ValueError, OverflowError) as error:
            raise tarfile.ReadError(f"a corrupt header at byte {at}") from error
        if header.size < 0:
            raise tarfile.ReadError(f"a corrupt header at byte {at}")
        if header.type == tarfile.GNUTYPE_SPARSE and block[_MORE_HOLES]:
            self._skip_map(at)
        return header

    def _skip_map(self, at: int) -> None:
        """The map of a sparse file's holes goes on in blocks of its own."""
        more: int | bool = True
        while more:
            block = self._stream.read(_BLOCK)
            self._at += len(block)
            if len(block) < _BLOCK:
                raise tarfile.ReadError(f"cut short inside the header at byte {at}")
            more = block[_STILL_MORE_HOLES]

    def _extend(self, header: tarfile.TarInfo, fields: dict[str, str], start: int) -> None:
        """Read a header that only describes the member that follows, or all of them."""
        if self._at - start + header.size > HEADER_BYTES:
            raise tarfile.ReadError(f"the header at byte {start} has more than {HEADER_BYTES:,} bytes")
        at, body = self._at, self._content(header.size, "the header")
        self._skip_to(_padded(at + header.size))
        if header.type in _LONG_NAMES:
            fields[_LONG_NAMES[header.type]] = _text(body.partition(b"\0")[0])
            return
        records = dict(_records(body, at))
        fields |= records
        if header.type == tarfile.XGLTYPE:
            self._shared |= records

    def _member(self, header: tarfile.TarInfo, fields: dict[str, str]) -> Member:
        size = 0 if header.type in _EMPTY else _size(fields.get("size"), header.size, self._at)
        if size > _MOST_BYTES:
            raise tarfile.ReadError(f"a corrupt header before byte {self._at}: a size of {size} bytes is impossible")
        name = fields.get("path", header.name)
        self._behind = _padded(self._at + size)
        return Member(
            name,
            _kind(header, fields),
            size,
            fields.get("linkpath", header.linkname),
            lambda: self._content(size, name),
        )

    def _content(self, size: int, name: str) -> bytes:
        data = self._stream.read(size)
        self._at += len(data)
        if len(data) < size:
            raise tarfile.ReadError(f"cut short inside member {name!r} ({len(data)} of {size} bytes)")
        return data

    def _skip_to(self, target: int) -> None:
        if target > self._at:
            self._stream.seek(target)
            self._at = target


def _kind(header: tarfile.TarInfo, fields: dict[str, str]) -> Kind:
    if header.type in _FILES and _SPARSE not in fields:
        return "file"
    if header.type in _LINKS:
        return "link"
    return "folder" if header.type == tarfile.DIRTYPE else "other"


def _records(body: bytes, at: int) -> Iterator[tuple[str, str]]:
    """The records ``LENGTH KEY=VALUE`` of a header, as far as they are of use here."""
    place = 0
    while place < len(body) and body[place]:
        digits = body[place : place + 8].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = body[place + len(digits) + 1 : place + length]
        key, equals, value = record.partition(b"=")
        if not equals or place + length > len(body) or not value.endswith(b"\n"):
            raise tarfile.ReadError(f"a corrupt header at byte {at}")
        if key in (b"path", b"linkpath", b"size"):
            yield key.decode(), _text(value[:-1])
        elif key.startswith(_SPARSE.encode()):
            yield _SPARSE, ""
        place += length


def _size(stated: str | None, size: int, at: int) -> int:
    if stated is None:
        return size
    if not (stated.isascii() and stated.isdigit() and len(stated) < 20):
        raise tarfile.ReadError(f"a corrupt header before byte {at}")
    return int(stated)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _padded(position: int) -> int:
    return -(-position // _BLOCK) * _BLOCK
