"""Captions as plain text, one a line; and tables that are called .txt, where their columns are named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from nnn_core.errors import InputError
from nnn_core.inputs.readers._columns import choose_id_columns
from nnn_core.inputs.readers._compressed import and_compressed
from nnn_core.inputs.readers._delimited import NAME, rows_of_table
from nnn_core.inputs.readers._formats import Format, Outline
from nnn_core.inputs.readers._quoting import first_fields
from nnn_core.inputs.readers._records import caption_rows, no_images, texts_and_gaps, texts_of_lines
from nnn_core.inputs.readers._rows import NO_PAIR, Columns, Row, Rows, batched
from nnn_core.inputs.rejects import Reject
from nnn_core.inputs.shards import InputShard, Modality

#: Lines that are looked at.
_HEAD_LINES = 100

_SEPARATORS = {"\t": "tabs", ",": "commas", "|": "vertical bars", ";": "semicolons"}
_CAPTION_NAMES = ("caption", "captions", "comment", "text", "title", "sentence", "raw", "description")


@dataclass(frozen=True)
class _Table:
    """What a file of text seems to be, if not a caption a line.

    Attributes:
        separator: what stands between fields.
        names: names of the columns by its header, or ``#1``, ``#2`` and so on.
    """

    separator: str
    names: list[str]


def _rows(uri: str, columns: Columns) -> Iterator[Row | Reject]:
    """Every line that is not empty is a caption, without an id and without a pair id.

    Where columns are named, and the lines are those of a table, it is read as one.

    Raises:
        InputError: columns were named and it is no table, or the reverse.
    """
    named = [name for name in (columns.named("id", ()), columns.pair_id, columns.caption) if name]
    table = _table_of(uri)
    if named and table is None:
        raise InputError(
            f"{uri!r} is plain text with one caption a line, so {columns.flag('id')}, {columns.flag('pair_id')} "
            f"and {columns.flag('caption')} have no effect. Leave the flag out, or give the captions as .tsv or "
            ".jsonl."
        )
    if table is not None:
        if not named:
            raise InputError(_table_message(uri, table, columns))
        yield from rows_of_table(uri, table.separator, columns)
        return
    choose_id_columns([], columns, uri)
    for line in texts_and_gaps(uri):
        if isinstance(line, Reject):
            yield line
        else:
            yield from caption_rows(f"line {line[0]}", NO_PAIR, line[1])


def _table_of(uri: str) -> _Table | None:
    """The table that the first lines are, if they are.

    Either each of them has the same number of tabs, or the first is a header: words, of which one is a usual name of a
    column of captions, and most others have at least as many fields.
    """
    lines = [line[1] for line in islice(texts_of_lines(uri), _HEAD_LINES) if not isinstance(line, Reject)]
    if len(lines) < 2:
        return None
    for separator in _SEPARATORS:
        header = [name.strip() for name in first_fields(lines[:1], separator)]
        is_header = all(map(NAME.match, header)) and any(name.lower() in _CAPTION_NAMES for name in header)
        counts = [line.count(separator) for line in lines]
        if counts[0] and is_header and sum(count >= counts[0] for count in counts) > 0.5 * len(counts):
            return _Table(separator, header)
        if separator == "\t" and counts[0] and set(counts) == {counts[0]}:
            return _Table(separator, [f"#{place}" for place in range(1, counts[0] + 2)])
    return None


def _table_message(uri: str, table: _Table, columns: Columns) -> str:
    caption = next((name for name in table.names if name.lower() in _CAPTION_NAMES), table.names[-1])
    other = next((name for name in table.names if name != caption), caption)
    what = "id" if columns.require_id else "pair_id"
    return (
        f"{uri!r} is a table of {len(table.names)} columns between {_SEPARATORS[table.separator]} "
        f"({', '.join(table.names)}), not plain captions. Name the columns to read, for example "
        f"{columns.flag('caption')} {_quoted(caption)} {columns.flag(what)} {_quoted(other)}."
    )


def _quoted(name: str) -> str:
    return f"'{name}'" if name.startswith("#") or " " in name else name


def _read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    if modality != "text":
        raise no_images(shard.uri)
    return batched(_rows(shard.uri, columns))


def _outline(uri: str) -> Outline:
    table = _table_of(uri)
    return Outline(columns=tuple(table.names)) if table else Outline()


FORMAT = Format("txt", and_compressed(".txt"), _read, outline=_outline, names=frozenset({"id", "pair_id", "caption"}))
