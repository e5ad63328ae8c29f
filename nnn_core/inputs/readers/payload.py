"""Further columns of candidates by id: what travels beside the vectors to an engine, such as titles and addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from nnn_core.errors import ConfigError, InputError
from nnn_core.inputs.readers import _arrow as arrow
from nnn_core.inputs.readers import _parquet as parquet
from nnn_core.inputs.readers._columnar import identified_batches
from nnn_core.inputs.readers._delimited import comma_separated, fields_by_name, tab_separated
from nnn_core.inputs.readers._fields import MISSING, array_at, split_path, type_at, value_at
from nnn_core.inputs.readers._jsonl import records_of
from nnn_core.inputs.readers._known import formats, suffix_of
from nnn_core.inputs.readers._npy import find_companion
from nnn_core.inputs.readers._records import Record, id_of
from nnn_core.inputs.readers._rows import BATCH_ROWS, CONTENT_ID, HEAD_ROWS, ID_DEFAULTS, POSITION_ID, Columns
from nnn_core.inputs.readers.tables import column_of, read_table
from nnn_core.inputs.rejects import Reject

#: Types that JSON knows, and those that have one way to be written as text.
_PLAIN = (kinds.is_boolean, kinds.is_integer, kinds.is_floating, kinds.is_string, kinds.is_large_string, kinds.is_null)
_WRITTEN = (kinds.is_temporal, kinds.is_decimal, kinds.is_string_view)

#: Records of a file of text, whose fields are known row by row, by the name of its format.
_RECORDS: dict[str, Callable[[str], Iterator[Record | Reject]]] = {
    "tsv": lambda uri: fields_by_name(tab_separated(uri)),
    "csv": lambda uri: fields_by_name(comma_separated(uri)),
    "jsonl": records_of,
}


@dataclass(frozen=True)
class Payload:
    """Further columns of one file of candidates. Of ``.npy`` files they are in the metadata beside them.

    Attributes:
        uri: URI of the file, whose suffix says its format.
        columns: names of the columns of the candidates.
        names: columns to read, or paths of fields in them (``meta.title``).
        flags: flags that asked for them, for messages.
    """

    uri: str
    columns: Columns
    names: tuple[str, ...]
    flags: str = "--payload and --uuid-column"

    def read(self, digest: str) -> pa.Table:
        """``id``, as text, and the columns, all rows in order. Dates, times and decimals become text.

        Args:
            digest: anything that is another one for other content: a file is read once for all of its rows.

        Raises:
            ConfigError: ids are no column of the file.
            InputError: the format has no further columns, one is missing, or it is of a type that no JSON holds.
        """
        return _read(self, digest)

    def find(self, wanted: frozenset[str]) -> Iterator[dict[str, Any]]:
        """The rows with these ids: ``id`` and the columns, None for what a record has not.

        However large the file, few of its rows are held at the same time, and none is read after the last that is
        wanted.

        Raises:
            ConfigError: ids are no column of the file.
            InputError: as ``read``, but a column that no record of JSON lines has is no error.
        """
        left = set(wanted)
        for rows in self._chosen(wanted):
            yield from rows
            left.difference_update(row["id"] for row in rows)
            if not left:
                return

    def check(self) -> None:
        """Read the beginning of the file, to see that ``find`` can read the columns.

        Raises:
            ConfigError: ids are no column of the file.
            InputError: as ``read``. Records of JSON lines are read until all of the columns were seen.
        """
        kind, place = _opened(self.uri, self.columns, self.flags)
        if kind not in _RECORDS:
            next(_batches(place, self.columns, self.names, HEAD_ROWS), None)
            return
        present, unseen = dict[str, None](), list(self.names)
        for row, record in enumerate(_good(kind, self.uri)):
            present.update(dict.fromkeys(record if row < HEAD_ROWS else ()))
            if not (unseen := [name for name in unseen if value_at(record, name) is MISSING]):
                return
        if present:  # a file without rows has no columns either
            _check_there(list(present), unseen[0], self.uri)
            raise InputError(f"{self.uri!r} has no field {unseen[0]!r}; it has: {', '.join(present)}.")

    def _chosen(self, wanted: frozenset[str]) -> Iterator[list[dict[str, Any]]]:
        """Those of some rows of the file after the other that are wanted."""
        kind, place = _opened(self.uri, self.columns, self.flags)
        if kind not in _RECORDS:
            ids = pa.array(sorted(wanted), pa.string())
            for piece in _batches(place, self.columns, self.names):
                yield piece.filter(pc.is_in(piece.column("id"), value_set=ids)).to_pylist()
            return
        for record in _good(kind, self.uri):
            row_id = id_of(record, self.columns)[1]
            if row_id in wanted:
                values = ((name, value_at(record, name)) for name in self.names)
                yield [{"id": row_id, **{name: None if value is MISSING else value for name, value in values}}]


@lru_cache(maxsize=1)
def _read(payload: Payload, digest: str) -> pa.Table:
    """That of a file with this digest: each of its embedded shards asks for it."""
    del digest  # a key only
    uri, columns, names = payload.uri, payload.columns, payload.names
    kind, place = _opened(uri, columns, payload.flags)
    if kind == "jsonl":
        return _of_records(list(_good(kind, uri)), columns, names, uri)
    if kind in _RECORDS:
        table = read_table(uri, "--embeddings")
        ids = column_of(table, (columns.id,) if columns.id else ID_DEFAULTS, uri)
        return pa.table({"id": ids.cast(pa.string()), **{name: _column(table, name, uri) for name in names}})
    pieces = list(_batches(place, columns, names))
    return pa.concat_tables(pieces) if pieces else pa.table({name: pa.nulls(0) for name in ("id", *names)})


def _of_records(records: list[dict[str, object]], columns: Columns, names: tuple[str, ...], uri: str) -> pa.Table:
    """Ids as the reader of candidates has them, and the columns; of other fields nothing is asked."""
    ids = pa.array([id_of(record, columns)[1] for record in records], pa.string())
    present = list(dict.fromkeys(name for record in records for name in record))
    for name in names:
        _check_there(present, name, uri)
    heads = {str(split_path(present, name)[0]) for name in names}
    try:
        table = pa.table({head: pa.array([record.get(head) for record in records]) for head in heads})
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise InputError(f"{uri!r}: columns {', '.join(names)} cannot be read: {error}. Correct them.") from error
    return pa.table({"id": ids, **{name: _column(table, name, uri) for name in names}})


def _opened(uri: str, columns: Columns, flags: str) -> tuple[str, str]:
    """(the name of the format, URI of the file with the further columns).

    Raises:
        ConfigError: ids are no column of the file.
        InputError: the format has no further columns.
    """
    if columns.id in (CONTENT_ID, POSITION_ID):
        raise ConfigError(
            f"{flags} look up rows by id, but --id-column {columns.id} is not a column. Name the column of ids."
        )
    suffix = suffix_of(uri)
    kind = formats()[suffix].name if suffix else ""
    place = find_companion(uri) if kind == "npy" else uri
    if place and kind in ("parquet", "arrow", "npy", *_RECORDS):
        return kind, place
    raise InputError(
        f"{uri!r} has no further columns. Leave {flags} out, or write the rows as Parquet, Arrow, .npy with "
        "metadata, TSV, CSV or JSON lines."
    )


def _good(kind: str, uri: str) -> Iterator[dict[str, object]]:
    """The records of a file of text that can be read; the others are no candidates."""
    return (each[1] for each in _RECORDS[kind](uri) if not isinstance(each, Reject))


def _batches(uri: str, columns: Columns, names: tuple[str, ...], size: int = BATCH_ROWS) -> Iterator[pa.Table]:
    opened = arrow.open_table(uri) if uri.lower().endswith(arrow.FORMAT.suffixes) else parquet.open_table(uri)
    with opened as table:
        for name in names:
            _check_there(table.schema.names, name, uri)
        for _, ids, _, batch in identified_batches(table, list(names), columns, uri, size):
            some = pa.Table.from_batches([batch])
            yield pa.table({"id": pa.array(ids, pa.string()), **{name: _column(some, name, uri) for name in names}})


def _check_there(present: list[str], name: str, uri: str) -> None:
    if split_path(present, name)[0] is None:
        raise InputError(f"{uri!r} has no column {name!r}; it has: {', '.join(present)}.")


def _column(table: pa.Table, name: str, uri: str) -> pa.Array:
    """A column as JSON can hold it."""
    _check_there(table.column_names, name, uri)
    head, path = split_path(table.column_names, name)
    whole = table.column(head).combine_chunks()
    if type_at(whole.type, path) is None:
        raise InputError(f"{uri!r}: there is no field {path!r} in column {head!r}.")
    column = array_at(whole, path)
    if kinds.is_dictionary(column.type):
        column = column.dictionary_decode()
    if any(matches(column.type) for matches in _WRITTEN):
        return column.cast(pa.string())
    if not _fits(column.type):
        raise InputError(f"{uri!r}: column {name!r} is of type {column.type}, which cannot be written as JSON.")
    return column


def _fits(kind: pa.DataType) -> bool:
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        return _fits(kind.value_type)
    if kinds.is_struct(kind):
        return all(_fits(field.type) for field in kind)
    return any(matches(kind) for matches in _PLAIN)
