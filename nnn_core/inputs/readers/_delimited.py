"""Captions as delimited text: TSV and CSV, with a header or with columns that are named by their position."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable, Iterator

from nnn_core.errors import InputError
from nnn_core.inputs.readers._columns import choose_id_columns, require_column
from nnn_core.inputs.readers._compressed import and_compressed
from nnn_core.inputs.readers._formats import Format
from nnn_core.inputs.readers._quoting import Quoting, quoting_of
from nnn_core.inputs.readers._record_formats import records_format
from nnn_core.inputs.readers._records import (
    LINE_BYTES,
    Record,
    lines_of,
    rows_of_records,
    texts_of_lines,
    too_long,
)
from nnn_core.inputs.readers._rows import CAPTION_DEFAULT, Columns, Row
from nnn_core.inputs.readers._vectors import records_hold_vectors
from nnn_core.inputs.rejects import MALFORMED, Reject

#: What a column may be called, if it is to be told from text.
NAME = re.compile(r"[^\W\d][\w ]{0,29}\Z")

_POSITION = re.compile(r"#\d+\Z")

#: (number of its first line, fields)
_Fields = tuple[int, list[str]]


def _records(
    lines: Iterator[_Fields | Reject], columns: Columns, uri: str, payload: str = "caption"
) -> Iterator[Record | Reject]:
    """Fields by the names in the header, or by their positions ``#1``, ``#2`` if columns are named so.

    Raises:
        InputError: no header, or a needed column is missing.
    """
    if (first := next(lines, None)) is None:
        return
    lines = itertools.chain([first], lines)
    header = None if _by_position(columns, payload) else _checked(_header(lines, uri), columns, uri, payload)
    for line in lines:
        if isinstance(line, Reject):
            yield line
            continue
        number, fields = line
        header = header or _checked([f"#{place}" for place in range(1, len(fields) + 1)], columns, uri, payload)
        if len(fields) == len(header):
            yield f"line {number}", dict(zip(header, fields, strict=True))
        else:
            yield Reject(
                f"line {number}", MALFORMED, f"the line has {len(fields)} fields, the first line has {len(header)}"
            )


def _checked(header: list[str], columns: Columns, uri: str, payload: str) -> list[str]:
    """``header``, which has all columns that are needed, each once."""
    choose_id_columns(header, columns, uri)
    defaults = (CAPTION_DEFAULT,) if payload == "caption" else ()
    require_column(payload, header, getattr(columns, payload), uri, defaults, columns.flag(payload))
    return header


def _by_position(columns: Columns, payload: str) -> bool:
    """Whether columns are named by position. Ids that were named for the other side say nothing of this one."""
    names = [getattr(columns, payload), columns.named("id", ()), columns.named("pair_id", ())]
    return any(name is not None and _POSITION.match(name) for name in names)


def _header(lines: Iterator[_Fields | Reject], uri: str) -> list[str]:
    first = next(lines)
    if isinstance(first, Reject):
        raise InputError(
            f"{uri!r}: its header cannot be read: {first.reason}, {first.detail}. Write the file as UTF-8, with "
            "column names in the first line."
        )
    return first[1]


def tab_separated(uri: str) -> Iterator[_Fields | Reject]:
    """The fields of a TSV, where quotes have a meaning only if the file's own show that they have."""
    quoting = quoting_of(uri, "\t", Quoting.NONE)
    return _split(uri) if quoting is Quoting.NONE else _quoted(uri, "\t", quoting)


def comma_separated(uri: str) -> Iterator[_Fields | Reject]:
    """The fields of a CSV, which may hold commas, quotes and line breaks if they are quoted.

    Where the first line has names of columns between other separators, and no comma, these stand for commas.
    """
    separator = _separator(uri)
    return _quoted(uri, separator, quoting_of(uri, separator, Quoting.DOUBLED))


def _separator(uri: str) -> str:
    """What stands between the fields of a CSV: spreadsheets write semicolons where the comma is the decimal mark."""
    first = next(texts_of_lines(uri), None)
    text = first[1] if isinstance(first, tuple) else ""
    for separator in () if "," in text else (";", "\t", "|"):
        names = [name.strip().strip('"') for name in text.split(separator)]
        if len(names) > 1 and all(map(NAME.match, names)):
            return separator
    return ","


def _split(uri: str) -> Iterator[_Fields | Reject]:
    for line in texts_of_lines(uri):
        yield line if isinstance(line, Reject) else (line[0], line[1].split("\t"))


def _quoted(uri: str, separator: str, quoting: Quoting) -> Iterator[_Fields | Reject]:
    """By the rules of Python's ``csv``. What is ambiguous is rejected, not guessed."""
    csv.field_size_limit(max(LINE_BYTES, csv.field_size_limit()))
    lines = _CsvLines(uri)
    escape = "\\" if quoting is Quoting.ESCAPED else None
    reader = csv.reader(lines, delimiter=separator, escapechar=escape, strict=True)
    while True:
        lines.begin()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except (_TooLongError, csv.Error) as error:
            # A quote that was left open swallows lines that were meant as rows: each of them counts.
            yield from (_reject(number, error) for number in range(lines.first, lines.number + 1))
        else:
            if fields:
                yield lines.first, fields


def _reject(number: int, error: Exception) -> Reject:
    if isinstance(error, _TooLongError):
        return too_long(number)
    return Reject(f"line {number}", MALFORMED, str(error).partition(" - ")[0])  # what follows is meant for programmers


class _TooLongError(Exception):
    """A record exceeds ``LINE_BYTES``."""


class _CsvLines(Iterator[str]):
    """The lines of a file, and where the current record began.

    A class rather than a generator: it goes on after an error.

    Attributes:
        number: which line was read last, from 1.
        first: the line on which the current record began, from 1.
    """

    def __init__(self, uri: str) -> None:
        self._lines = lines_of(uri)
        self.number = self.first = self._bytes = 0

    def begin(self) -> None:
        """Note that another record begins with the next line."""
        self.first, self._bytes = self.number + 1, 0

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        self._bytes += LINE_BYTES + 1 if line is None else len(line)
        if line is None or self._bytes > LINE_BYTES:
            raise _TooLongError
        # Rows whose id or caption is no UTF-8 are rejected where they are put together.
        return line.decode("utf-8", "surrogateescape")


def rows_of_table(uri: str, separator: str, columns: Columns) -> Iterator[Row | Reject]:
    """The rows of a table in a file whose name does not say what separates its fields."""
    if separator == "\t":
        lines = tab_separated(uri)
    else:
        lines = _quoted(uri, separator, quoting_of(uri, separator, Quoting.DOUBLED))
    return rows_of_records(_records(lines, columns, uri), columns, uri)


def _format(name: str, read: Callable[[str], Iterator[_Fields | Reject]]) -> Format:
    return records_format(
        name,
        and_compressed(f".{name}"),
        lambda uri, columns, payload: _records(read(uri), columns, uri, payload),
        read,
        holds_vectors=lambda uri, columns: (
            bool(columns.vector) and records_hold_vectors(fields_by_name(read(uri)), columns)
        ),
    )


def fields_by_name(lines: Iterator[_Fields | Reject]) -> Iterator[Record | Reject]:
    """The records of a table with a header, whatever its columns are."""
    header = next(lines, None)
    for line in lines:
        if not isinstance(line, Reject) and not isinstance(header, Reject) and header is not None:
            yield f"line {line[0]}", dict(zip(header[1], line[1], strict=False))


TSV = _format("tsv", tab_separated)
CSV = _format("csv", comma_separated)
