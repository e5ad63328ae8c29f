"""Small tables beside the corpus, such as judgements and attributes: all columns of a file, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.inputs.readers._delimited import comma_separated, tab_separated
from nnn_core.inputs.readers._jsonl import records_of
from nnn_core.inputs.readers._known import formats, suffix_of
from nnn_core.inputs.rejects import Reject

Line = TypeVar("Line")

#: Columns of delimited text that hold numbers; all others are text.
_NUMBERS = ("grade",)


def read_table(uri: str, flag: str) -> pa.Table:
    """All columns of one file: Parquet, TSV and CSV with a header, or JSON lines, text also compressed by gzip.

    In delimited text an empty field is a null, and all columns but ``grade`` are text.

    Args:
        uri: URI of the file to read, whose suffix says its format.
        flag: the flag that named the file, for messages.

    Raises:
        InputError: an unknown format, or a file that cannot be read.
    """
    suffix = suffix_of(uri)
    read = _READERS.get(formats()[suffix].name) if suffix else None
    if read is None:
        known = ", ".join(suffix for suffix, each in formats().items() if each.name in _READERS)
        raise InputError(f"{flag} {uri!r} has no known format. Its suffix must be one of {known}.")
    try:
        return read(uri)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InputError(f"{flag} {uri!r} is not a readable table: {error}. Restore or correct it.") from error


def column_of(table: pa.Table, names: tuple[str, ...], uri: str) -> pa.ChunkedArray:
    """The first of ``names`` that is there.

    Raises:
        InputError: none of them is.
    """
    for name in names:
        if name in table.column_names:
            return table[name]
    raise InputError(
        f"{uri!r} has no column {' or '.join(map(repr, names))} to name its rows; it has: "
        f"{', '.join(table.column_names)}."
    )


def _parquet(uri: str) -> pa.Table:
    with storage.open_input(uri) as stream:
        return pq.ParquetFile(stream, pre_buffer=False).read(use_threads=False)


def _json_lines(uri: str) -> pa.Table:
    rows = [record for _, record in _good(records_of(uri))]
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


def _delimited(lines: Iterable[tuple[int, list[str]] | Reject]) -> pa.Table:
    header, *rows = [fields for _, fields in _good(lines)] or [[]]
    if odd := next((row for row in rows if len(row) != len(header)), None):
        raise ValueError(f"a line has {len(odd)} fields, and the first line has {len(header)}: {odd}")
    columns = [pa.array([row[place] or None for row in rows], pa.string()) for place in range(len(header))]
    return pa.Table.from_arrays([_typed(*pair) for pair in zip(columns, header, strict=True)], header)


def _typed(column: pa.StringArray, name: str) -> pa.Array:
    return pc.utf8_trim_whitespace(column).cast(pa.float64()) if name in _NUMBERS else column


def _good(lines: Iterable[Line | Reject]) -> list[Line]:
    """All lines of a small table, of which every one counts."""
    good: list[Line] = []
    for line in lines:
        if isinstance(line, Reject):
            raise ValueError(f"{line.id}: {line.reason}, {line.detail}")
        good.append(line)
    return good


#: How a small table is read, by the name of its format.
_READERS: dict[str, Callable[[str], pa.Table]] = {
    "parquet": _parquet,
    "tsv": lambda uri: _delimited(tab_separated(uri)),
    "csv": lambda uri: _delimited(comma_separated(uri)),
    "jsonl": _json_lines,
}
