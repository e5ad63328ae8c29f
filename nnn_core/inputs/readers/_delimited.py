"""Captions as delimited text: TSV and CSV, with a header or with columns that are named by their position."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from nnn_core.errors import InputError
from nnn_core.inputs.readers._formats import Format, Outline
from nnn_core.inputs.readers._records import (
    LINE_BYTES,
    check_text,
    columns_of_header,
    lines_of,
    rows_of_record,
    texts_of_lines,
    too_long,
)
from nnn_core.inputs.readers.rows import MALFORMED, Columns, PairField, Row, Rows, batched
from nnn_core.inputs.rejects import Reject
from nnn_core.inputs.shards import InputShard, Modality

_POSITION = re.compile(r"#\d+\Z")

Record = tuple[int, list[str]]


def read_tsv(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """Tab-separated values; quotes have no meaning. Columns named ``#1``, ``#2`` say that there is no header.

    Raises:
        InputError: no header, or a needed column is missing.
    """
    check_text(modality, shard.uri)
    return batched(_rows(tab_separated(shard.uri), columns, shard.uri))


def read_csv(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """Comma-separated values by the rules of Python's ``csv``; otherwise as ``read_tsv``.

    Raises:
        InputError: no header, or a needed column is missing.
    """
    check_text(modality, shard.uri)
    return batched(_rows(comma_separated(shard.uri), columns, shard.uri))


def _rows(records: Iterator[Record | Reject], columns: Columns, uri: str) -> Iterator[Row | Reject]:
    header = None if _by_position(columns) else _header(records, uri)
    pick = columns_of_header(header, columns, uri) if header is not None else columns
    pairs = PairField(columns.pair_id)
    for record in records:
        if isinstance(record, Reject):
            yield record
            continue
        number, fields = record
        if header is None:
            header = [f"#{place}" for place in range(1, len(fields) + 1)]
            pick = columns_of_header(header, columns, uri)
        if len(fields) != len(header):
            yield Reject(f"line {number}", MALFORMED, f"{len(fields)} fields, the first line has {len(header)}")
        else:
            yield from rows_of_record(dict(zip(header, fields, strict=True)), f"line {number}", pick, pairs)


def _by_position(columns: Columns) -> bool:
    """Whether columns are named by position. Ids that were named for the other side say nothing of this one."""
    names = [columns.caption, columns.named("id", ()), columns.named("pair_id", ())]
    return any(name is not None and _POSITION.match(name) for name in names)


def _header(records: Iterator[Record | Reject], uri: str) -> list[str]:
    first = next(records, (1, [""]))
    if isinstance(first, Reject):
        raise InputError(
            f"{uri!r}: its header cannot be read: {first.reason}, {first.detail}. Rewrite the file as UTF-8, with the "
            "names of its columns in the first line."
        )
    return first[1]


def tab_separated(uri: str) -> Iterator[Record | Reject]:
    for line in texts_of_lines(uri):
        yield line if isinstance(line, Reject) else (line[0], line[1].split("\t"))


def comma_separated(uri: str) -> Iterator[Record | Reject]:
    """Quoted fields may hold commas, quotes and line breaks; what is ambiguous is rejected, not guessed."""
    csv.field_size_limit(max(LINE_BYTES, csv.field_size_limit()))
    lines = _CsvLines(uri)
    reader = csv.reader(lines, strict=True)
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
    return too_long(number) if isinstance(error, _TooLongError) else Reject(f"line {number}", MALFORMED, str(error))


class _TooLongError(Exception):
    """A record exceeds ``LINE_BYTES``."""


class _CsvLines(Iterator[str]):
    """The lines of a file, and where the current record began.

    A class rather than a generator: it goes on after an error.

    Attributes:
        number: of the line that was read last.
        first: of the first line of the record.
    """

    def __init__(self, uri: str) -> None:
        self._lines = lines_of(uri)
        self.number = self.first = self._bytes = 0

    def begin(self) -> None:
        """Another record begins."""
        self.first, self._bytes = self.number + 1, 0

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        self._bytes += LINE_BYTES + 1 if line is None else len(line)
        if line is None or self._bytes > LINE_BYTES:
            raise _TooLongError
        # Rows whose id or caption is no UTF-8 are rejected where they are put together.
        return line.decode("utf-8", "surrogateescape")


def _names(records: Iterator[Record | Reject]) -> Outline:
    first = next(records, None)
    return Outline(columns=tuple(first[1]) if isinstance(first, tuple) else ())


TSV = Format("tsv", (".tsv", ".tsv.gz"), read_tsv, outline=lambda uri: _names(tab_separated(uri)))
CSV = Format("csv", (".csv", ".csv.gz"), read_csv, outline=lambda uri: _names(comma_separated(uri)))
