"""Parquet tables of captions, or of embeddings as a list column."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.readers.formats import Format, Outline
from nnn_core.readers.records import check_text
from nnn_core.readers.rows import (
    BATCH_ROWS,
    CAPTION_DEFAULT,
    NO_ID,
    NULL_VECTOR,
    VECTOR_DEFAULTS,
    WRONG_DIMENSION,
    Columns,
    Row,
    Rows,
    batched,
    caption_rows,
    choose_column,
    choose_id_columns,
    number_missing,
    pair_ids_of,
    require_column,
)
from nnn_core.rejects import Reject
from nnn_core.shards import InputShard, Modality

#: What ids may be stored as. A column without any value has no type of its own.
_ID_TYPES = (
    pa.types.is_integer,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_null,
)


#: Columns are read in pieces of this size rather than whole: a row group may be as large as the file.
_BUFFER_BYTES = 1 << 20


@contextlib.contextmanager
def open_table(uri: str) -> Iterator[pq.ParquetFile]:
    """The Parquet file at ``uri``; anything Arrow finds wrong with it names the file.

    Raises:
        InputError: not Parquet, or broken.
    """
    with storage.open_input(uri) as stream:
        try:
            yield pq.ParquetFile(stream, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{uri!r} is not a readable Parquet file: {error}. Restore or rewrite the file, or take it out."
            ) from error


def holds_vectors(uri: str, modality: Modality, columns: Columns) -> bool:
    """Whether to read the file's vectors rather than its captions.

    Raises:
        InputError: it has columns for both and the flags do not say which.
    """
    with open_table(uri) as table:
        names = table.schema_arrow.names
    vector, caption = columns.named("vector", names), columns.named("caption", names)
    has_vector = vector in names if vector else any(name in names for name in VECTOR_DEFAULTS)
    has_caption = (caption or CAPTION_DEFAULT) in names
    if has_vector and has_caption and (vector is None) == (caption is None):
        raise InputError(
            f"{uri!r} has both a caption and a vector column; say which to read with "
            "either --caption-column or --vector-column."
        )
    if (vector is None) == (caption is None):
        return has_vector or (vector is not None and not has_caption)
    return vector is not None


def read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """Captions or vectors, as ``holds_vectors`` says.

    Raises:
        InputError: broken file, missing column, or images asked for.
    """
    if holds_vectors(shard.uri, modality, columns):
        return _vector_rows(shard, columns)
    check_text(modality, shard.uri)
    return batched(_caption_rows(shard, columns))


def _caption_rows(shard: InputShard, columns: Columns) -> Iterator[Row | Reject]:
    uri = shard.uri
    with open_table(uri) as table:
        names = table.schema_arrow.names
        wanted = choose_column(names, columns.caption, (CAPTION_DEFAULT,), "caption", "--caption-column", uri)
        caption = require_column(wanted, names, "caption", "--caption-column", uri)
        for first, ids, pair_ids, captions in _batches(table, caption, columns, uri, shard.head or BATCH_ROWS):
            values = captions.to_pylist()
            for row, (row_id, pair_id, value) in enumerate(zip(ids, pair_ids, values, strict=True), start=first):
                if row_id is None:
                    yield Reject(f"row {row}", NO_ID)
                else:
                    yield from caption_rows(row_id, pair_id, value)


def _vector_rows(shard: InputShard, columns: Columns) -> Iterator[Rows]:
    uri = shard.uri
    with open_table(uri) as table:
        names = table.schema_arrow.names
        wanted = choose_column(names, columns.vector, VECTOR_DEFAULTS, "vector", "--vector-column", uri)
        vector = require_column(wanted, names, "vector", "--vector-column", uri)
        dim = _dimension(table, vector, uri, shard.head)
        for first, ids, pair_ids, lists in _batches(table, vector, columns, uri, shard.head or BATCH_ROWS):
            yield _to_rows(first, ids, pair_ids, lists, dim)


def _dimension(table: pq.ParquetFile, vector: str, uri: str, head: int | None) -> int:
    """The most frequent length of the vectors (or of the first), which a fixed-size list states itself."""
    kind = table.schema_arrow.field(vector).type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise InputError(f"{uri!r}: column {vector!r} is of type {kind}, not a list of floats.")
    if not pa.types.is_floating(kind.value_type):
        raise InputError(f"{uri!r}: column {vector!r} is a list of {kind.value_type}, not of floats.")
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    counts: dict[int, int] = {}
    for batch in islice(table.iter_batches(head or BATCH_ROWS, columns=[vector]), 1 if head else None):
        for length in pc.value_counts(pc.list_value_length(batch.column(0)).drop_null()).to_pylist():
            counts[length["values"]] = counts.get(length["values"], 0) + length["counts"]
    return min(counts, key=lambda length: (-counts[length], length), default=0)


def _batches(
    table: pq.ParquetFile, payload: str, columns: Columns, uri: str, size: int
) -> Iterator[tuple[int, list[str | None], list[str], pa.Array]]:
    """(first row, ids, pair ids, payload column) in file order; rows are numbered when they need no id."""
    names = table.schema_arrow.names
    id_column, pair_column = choose_id_columns(names, columns, uri)
    read = list(dict.fromkeys(name for name in (id_column, pair_column, payload) if name))
    first = 0
    for batch in table.iter_batches(size, columns=read):
        ids = texts_of(batch, id_column, uri)
        pair_ids = pair_ids_of(ids, texts_of(batch, pair_column, uri) if pair_column else None)
        if not columns.require_id:
            ids = number_missing(ids, first)
        yield first, ids, pair_ids, batch.column(payload)
        first += batch.num_rows


def texts_of(batch: pa.RecordBatch, column: str | None, uri: str) -> list[str | None]:
    """A column of ids as text, None where there is no id (or no column).

    Raises:
        InputError: the column is neither text nor whole numbers.
    """
    if column is None:
        return [None] * batch.num_rows
    array = batch.column(column)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not any(is_id(array.type) for is_id in _ID_TYPES):
        raise InputError(f"{uri!r}: column {column!r} is of type {array.type}; ids must be strings or whole numbers.")
    return [value or None for value in array.cast(pa.string()).to_pylist()]


def _to_rows(first: int, ids: list[str | None], pair_ids: list[str], lists: pa.Array, dim: int) -> Rows:
    lengths = pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
    has_id = np.array([row_id is not None for row_id in ids], dtype=bool)
    good = has_id & (lengths == dim)
    rejects = [_reject(first + row, ids[row], int(lengths[row]), dim) for row in np.flatnonzero(~good)]
    kept = [(ids[row] or "", pair_ids[row]) for row in np.flatnonzero(good)]
    return Rows(
        [row_id for row_id, _ in kept],
        [pair_id for _, pair_id in kept],
        _matrix(lists.filter(pa.array(good)), dim),
        rejects,
    )


def _matrix(lists: pa.Array, dim: int) -> npt.NDArray[np.floating]:
    """(rows, dim); a null coordinate becomes NaN, which the vector check rejects."""
    values = lists.flatten()
    filled = pc.fill_null(values, float("nan")) if values.null_count else values
    return np.asarray(filled.to_numpy(zero_copy_only=False)).reshape(len(lists), dim)


def _reject(row: int | np.integer, row_id: str | None, length: int, dim: int) -> Reject:
    if row_id is None:
        return Reject(f"row {row}", NO_ID)
    if length < 0:
        return Reject(row_id, NULL_VECTOR)
    return Reject(row_id, WRONG_DIMENSION, f"{length}, most rows have {dim}")


def _outline(uri: str) -> Outline:
    with open_table(uri) as table:
        nulls = _nulls(table.metadata)
        names = tuple(f"{field.name}: {field.type}{nulls.get(field.name, '')}" for field in table.schema_arrow)
        return Outline(table.metadata.num_rows, names)


def _nulls(footer: pq.FileMetaData) -> dict[str, str]:
    """How many values the columns lack, of those of which the footer tells; nothing where none is lacking."""
    counts: dict[str, int] = {}
    for group in range(footer.num_row_groups):
        for place in range(footer.num_columns):
            chunk = footer.row_group(group).column(place)
            if chunk.statistics is not None and chunk.statistics.has_null_count:
                counts[chunk.path_in_schema] = counts.get(chunk.path_in_schema, 0) + chunk.statistics.null_count
    return {name: f", {count:,} of them NULL" for name, count in counts.items() if count}


FORMAT = Format("parquet", (".parquet",), read, holds_vectors, outline=_outline)
