"""Arrow files and streams, which Feather files and those of Hugging Face's datasets are.

Before Arrow reads any rows, the headers in front of them are walked through: they say how much memory the rows take,
which Arrow would take whatever it is.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import SEEK_END
from typing import IO, Any

import pyarrow as pa

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.inputs.readers._columnar import Opener, columnar_format
from nnn_core.inputs.readers._formats import Outline

#: Rows that were written together are held together, and dictionaries for all of them.
GROUP_BYTES = 1 << 30

#: No schema and no header of rows is longer.
_HEADER_BYTES = 64 << 20

_FILE, _FIRST_FEATHER = b"ARROW1", b"FEA1"
_MESSAGE, _END = b"\xff\xff\xff\xff", bytes(4)

#: Kinds of messages, and slots of their tables and of the footer's, in Arrow's format/Message.fbs and File.fbs.
_SCHEMA, _DICTIONARY, _ROWS = 1, 2, 3
_KIND, _HEADER, _BODY_LENGTH = 1, 2, 3
_LENGTH, _BUFFERS, _COMPRESSION = 0, 2, 3
_DATA = 1
_BLOCKS = (2, 3)


@dataclass(frozen=True)
class ArrowTable:
    """The columns of an Arrow file or stream.

    Attributes:
        stream: the open file.
        uri: its URI, for messages.
    """

    stream: IO[bytes]
    uri: str

    def _reader(self, included: list[int] | None = None) -> Any:
        open_it = pa.ipc.open_file if self._is_file else pa.ipc.open_stream
        self.stream.seek(0)
        options = pa.ipc.IpcReadOptions(included_fields=included, use_threads=False)
        return open_it(pa.PythonFile(self.stream, mode="r"), options=options)

    @cached_property
    def _is_file(self) -> bool:
        self.stream.seek(0)
        return self.stream.read(len(_FILE)) == _FILE

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns' names and types."""
        return self._reader().schema

    @cached_property
    def _groups(self) -> list[tuple[int, int]]:
        """(rows, bytes in memory) of each group of rows that was written together.

        Raises:
            InputError: a group is too large to be held, or the file was cut short.
        """
        dictionaries, groups = 0, list[tuple[int, int]]()
        for kind, rows, size in _headers(self.stream, self._is_file):
            if kind == _DICTIONARY:
                dictionaries += size
            else:
                groups.append((rows, size))
            if dictionaries + size > GROUP_BYTES:
                raise InputError(
                    f"{self.uri!r} has {dictionaries + size:,} bytes in one group of rows (limit: "
                    f"{GROUP_BYTES:,}). Write it with smaller groups, or as Parquet."
                )
        return groups

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(rows for rows, _ in self._groups)

    def batches(self, size: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of all rows in file order, at most ``size`` rows at a time."""
        rows, names = self.rows, self.schema.names  # after a look at how large groups are
        reader = self._reader([place for place, name in enumerate(names) if name in columns])
        stored = map(reader.get_batch, range(reader.num_record_batches)) if self._is_file else iter(reader)
        for batch in stored:
            batch.validate(full=True)  # Arrow trusts what it reads
            rows -= batch.num_rows
            for first in range(0, batch.num_rows, size):
                yield batch.slice(first, size)
        if rows:
            raise InputError(f"{self.uri!r} is damaged: its index leaves out {rows} rows that it holds.")

    def sizes(self, column: str) -> list[tuple[int, int]]:
        """(rows, bytes of all columns) of each group of rows that was written together."""
        return self._groups


def _positions(stream: IO[bytes]) -> Iterator[int]:
    """Where the messages of a file are that its footer names.

    Raises:
        ValueError: the footer is damaged.
    """
    end = stream.seek(0, SEEK_END)
    stream.seek(max(0, end - len(_FILE) - 4))
    length, mark = stream.read(4), stream.read()
    size = int.from_bytes(length, "little")
    if mark != _FILE or not 0 < size <= min(end, _HEADER_BYTES):
        raise ValueError("it was cut short")
    stream.seek(end - len(_FILE) - 4 - size)
    footer = _Flat.root(stream.read(size))
    for slot in _BLOCKS:
        yield from (at for at, _, _ in footer.structs(slot, "<qi4xq"))


def _headers(stream: IO[bytes], is_file: bool) -> Iterator[tuple[int, int, int]]:
    """(kind, rows, bytes in memory) of each message with rows or a dictionary.

    Raises:
        ValueError: the file was cut short, or is damaged.
    """
    end = stream.seek(0, SEEK_END)
    if is_file:
        for at in _positions(stream):
            kind, rows, size, _ = _header(stream, at, end)
            yield kind, rows, size
        return
    kind, at = _SCHEMA, 0
    while kind:
        kind, rows, size, at = _header(stream, at, end)
        if kind in (_DICTIONARY, _ROWS):
            yield kind, rows, size


def _header(stream: IO[bytes], at: int, end: int) -> tuple[int, int, int, int]:
    """(kind, rows, bytes in memory, end) of the message at ``at``; of kind 0 is the mark that ends a stream."""
    stream.seek(at)
    mark, length = stream.read(4), stream.read(4)
    if mark != _MESSAGE:  # as before Arrow 0.15
        length, at = mark, at - 4
    if length == _END:
        return 0, 0, 0, at
    if len(length) < 4:
        raise ValueError("it was cut short")
    (size,) = struct.unpack("<i", length)
    if not 0 < size <= min(end - at, _HEADER_BYTES):
        raise ValueError("it was cut short, or is damaged")
    stream.seek(at + 8)
    message = _Flat.root(stream.read(size))
    kind, body, at = message.number(_KIND, "<B"), message.number(_BODY_LENGTH), at + 8 + size
    if not 0 <= body <= end - at:
        raise ValueError("it was cut short")
    rows = in_memory = 0
    if kind in (_DICTIONARY, _ROWS):
        header = message.table(_HEADER)
        batch = header.table(_DATA) if kind == _DICTIONARY else header
        rows, in_memory = batch.number(_LENGTH), _bytes_of(batch, stream, at)
    return kind, rows, in_memory, at + body


def _bytes_of(rows: _Flat, stream: IO[bytes], body: int) -> int:
    """The memory that rows take, which begin at ``body``: compressed buffers begin with their size."""
    buffers = list(rows.structs(_BUFFERS, "<qq"))
    if not rows.has(_COMPRESSION):
        return sum(length for _, length in buffers)
    total = 0
    for offset, length in buffers:
        if length:
            stream.seek(body + offset)
            (size,) = struct.unpack("<q", stream.read(8))
            total += length if size == -1 else size
            if size < -1:
                raise ValueError("a buffer has a size below zero")
    return total


@dataclass(frozen=True)
class _Flat:
    """A table in a flatbuffer, see https://flatbuffers.dev/internals."""

    data: bytes
    at: int

    @classmethod
    def root(cls, data: bytes) -> _Flat:
        """The table that is all of a buffer."""
        return cls(data, 0)._behind(0)

    def _read(self, form: str, at: int) -> int:
        if at < 0:
            raise ValueError("a header is damaged")
        (value,) = struct.unpack_from(form, self.data, at)
        return int(value)

    def _behind(self, at: int) -> _Flat:
        return _Flat(self.data, at + self._read("<I", at))

    def _place(self, slot: int) -> int:
        """Where a field is; 0 for one that is not there."""
        fields = self.at - self._read("<i", self.at)
        if 4 + 2 * slot >= self._read("<H", fields):
            return 0
        offset = self._read("<H", fields + 4 + 2 * slot)
        return self.at + offset if offset else 0

    def has(self, slot: int) -> bool:
        """Whether a field is there."""
        return self._place(slot) > 0

    def number(self, slot: int, form: str = "<q") -> int:
        """A number, 0 by default."""
        return self._read(form, place) if (place := self._place(slot)) else 0

    def table(self, slot: int) -> _Flat:
        """A table in this one."""
        return self._behind(self._place(slot))

    def structs(self, slot: int, form: str) -> Iterator[tuple[int, ...]]:
        """A vector of structs of numbers that are not negative."""
        if not (place := self._place(slot)):
            return
        vector = self._behind(place).at
        end = vector + 4 + struct.calcsize(form) * self._read("<I", vector)
        if end > len(self.data):
            raise ValueError("a header is damaged")
        for numbers in struct.iter_unpack(form, self.data[vector + 4 : end]):
            if min(numbers) < 0:
                raise ValueError("a header is damaged")
            yield numbers


@contextlib.contextmanager
def open_table(uri: str) -> Iterator[ArrowTable]:
    """The Arrow file or stream at ``uri``; anything Arrow finds wrong with it names the file.

    Raises:
        InputError: neither, or broken.
    """
    with storage.open_input(uri) as stream:
        if (begin := stream.read(len(_FILE))).startswith(_FIRST_FEATHER):
            raise InputError(
                f"{uri!r} is Feather version 1, which is not supported. Write it again with "
                "pyarrow.feather.write_feather, or as Parquet."
            )
        try:
            if begin != _FILE and not begin.startswith(_MESSAGE):
                raise ValueError("it does not begin as either")
            yield ArrowTable(stream, uri)
        except pa.ArrowNotImplementedError as error:
            raise InputError(
                f"{uri!r} is Arrow with something that is not supported: {error}. Write its columns again as "
                "text, whole numbers, bytes or lists of floats."
            ) from error
        except (pa.ArrowException, OSError, ValueError, KeyError, struct.error, MemoryError) as error:
            raise InputError(
                f"{uri!r} is not a readable Arrow file or stream: {error}. Restore or rewrite the file, or "
                "leave it out."
            ) from error


def _outline(uri: str) -> Outline:
    with open_table(uri) as table:
        return Outline(table.rows, tuple(f"{field.name}: {field.type}" for field in table.schema))


FORMAT = columnar_format(
    "arrow",
    (".arrow", ".arrows", ".feather", ".ipc"),
    (_FILE, _FIRST_FEATHER, _MESSAGE),
    Opener(open_table, lambda uri, vector: open_table(uri)),
    _outline,
)
