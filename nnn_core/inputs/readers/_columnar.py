"""Files of columns: images, captions, or embeddings as a column of lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import compress, islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core.errors import InputError
from nnn_core.inputs.readers import _image_columns as image_columns
from nnn_core.inputs.readers._columns import Table, choose_id_columns, require_column
from nnn_core.inputs.readers._fields import MISSING, array_at, plain, split_path, type_at, value_at
from nnn_core.inputs.readers._formats import Format, Outline
from nnn_core.inputs.readers._records import UnusableRowError, caption_rows
from nnn_core.inputs.readers._rows import (
    BATCH_BYTES,
    BATCH_ROWS,
    CAPTION_DEFAULT,
    NO_PAIR,
    VECTOR_DEFAULTS,
    Columns,
    Row,
    Rows,
    batched,
)
from nnn_core.inputs.readers._vectors import of_one_length, vector_of
from nnn_core.inputs.rejects import NO_CAPTION, NO_ID, NULL_VECTOR, WRONG_DIMENSION, Reject
from nnn_core.inputs.shards import InputShard, Modality

#: What ids may be stored as. A column without any value has no type of its own.
_ID_TYPES = (
    pa.types.is_integer,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_null,
)

#: Captions that Arrow reads at once: each may refer to the same large entry of a dictionary.
_TEXT_ROWS = 64


@dataclass(frozen=True)
class Opener:
    """How files of a format are opened.

    Attributes:
        table: opens the file at a URI; raises InputError for one that is none, or broken.
        vectors: opens a file of which a column of vectors will be read, by the URI and the column.
    """

    table: Callable[[str], AbstractContextManager[Table]]
    vectors: Callable[[str, str], AbstractContextManager[Table]]


def _holds_vectors(opener: Opener, uri: str, modality: Modality, columns: Columns) -> bool:
    """Whether to read the file's vectors rather than its images or captions.

    Raises:
        InputError: it has columns for both and the flags do not say which.
    """
    with opener.table(uri) as table:
        schema = table.schema
    what = "image" if modality == "image" else "caption"
    vector = columns.named("vector", _present(schema, columns.vector))
    payload = columns.named(what, _present(schema, columns.image if what == "image" else columns.caption))
    has_vector = any(field_type(schema, name) is not None for name in ([vector] if vector else VECTOR_DEFAULTS))
    has_payload = _has(schema, what, payload)
    if has_vector and has_payload and (vector is None) == (payload is None):
        raise InputError(
            f"{uri!r} has both {'an image' if what == 'image' else 'a caption'} and a vector column. Choose one "
            f"with {columns.flag(what)} or {columns.flag('vector')}."
        )
    if (vector is None) == (payload is None):
        return has_vector or (vector is not None and not has_payload)
    return vector is not None


def _present(schema: pa.Schema, path: str | None) -> list[str]:
    """The columns' names, and ``path`` if it leads into one of them."""
    return [*schema.names, *([path] if path and split_path(schema.names, path)[0] else [])]


def _has(schema: pa.Schema, what: str, named: str | None) -> bool:
    if what == "image":
        column = named or image_columns.default_image_column(schema)
        return column is not None and field_type(schema, column) is not None
    return split_path(schema.names, named or CAPTION_DEFAULT)[0] is not None


def _read(opener: Opener, shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """Images, captions or vectors, as ``_holds_vectors`` says.

    Images are a column of bytes, or of structs with a field ``bytes`` as Hugging Face writes them;
    one that is only named by a path or URL is a reject. Captions may be named by path
    (``captions.text``), and may be lists.

    Raises:
        InputError: broken file, missing column, or images asked for where there are none.
    """
    with opener.table(shard.uri) as table:
        if not table.rows:
            return iter(())  # a part without rows has no types either
    if _holds_vectors(opener, shard.uri, modality, columns):
        return _vector_rows(opener, shard, columns)
    return batched((_image_rows if modality == "image" else _caption_rows)(opener, shard, columns))


def _caption_rows(opener: Opener, shard: InputShard, columns: Columns) -> Iterator[Row | Reject]:
    uri = shard.uri
    with opener.table(uri) as table:
        names = table.schema.names
        column, path = split_path(names, columns.caption or CAPTION_DEFAULT)
        named = columns.caption and (column or columns.caption)
        flag = columns.flag("caption")
        caption = require_column("caption", names, named, uri, (CAPTION_DEFAULT,), flag)
        size = min(shard.head or BATCH_ROWS, _TEXT_ROWS, image_columns.rows_within(BATCH_BYTES, table, caption))
        for first, ids, pair_ids, batch in identified_batches(table, [caption], columns, uri, size):
            values = batch.column(caption).to_pylist()
            for row, (row_id, pair_id, value) in enumerate(zip(ids, pair_ids, values, strict=True), start=first):
                if row_id is None:
                    yield Reject(f"row {row}", NO_ID)
                elif path and (value := value_at(plain(value), path)) is MISSING:
                    yield Reject(row_id, NO_CAPTION, f"there is no field {columns.caption!r}, see {flag}")
                else:
                    yield from caption_rows(row_id, pair_id, value)


def _image_rows(opener: Opener, shard: InputShard, columns: Columns) -> Iterator[Row | Reject]:
    uri = shard.uri
    with opener.table(uri) as table:
        schema = table.schema
        image = image_columns.choose_image_column(schema, columns, uri)
        remarks = image_columns.remark_columns(schema, image)
        size = min(
            shard.head or BATCH_ROWS,
            image_columns.images_at_once(table, split_path(schema.names, image)[0] or image),
        )
        for first, ids, pair_ids, batch in identified_batches(table, [image, *remarks], columns, uri, size):
            for place, (row_id, pair_id) in enumerate(zip(ids, pair_ids, strict=True)):
                if row_id is None:
                    yield Reject(f"row {first + place}", NO_ID)
                else:
                    yield image_columns.image_row(row_id, pair_id, batch, place, image, remarks)


def _vector_rows(opener: Opener, shard: InputShard, columns: Columns) -> Iterator[Rows]:
    uri = shard.uri
    with opener.table(uri) as table:
        names, flag = table.schema.names, columns.flag("vector")
        vector = require_column("vector", names, columns.vector, uri, VECTOR_DEFAULTS, flag)
        kind = field_type(table.schema, vector)
    if kind is not None and _is_convertible(kind):
        yield from batched(of_one_length(_converted_rows(opener, shard, columns, vector)))
        return
    with opener.vectors(uri, vector) as table:
        head, path = split_path(table.schema.names, vector)
        column = head or vector
        dim = _dimension(table, vector, uri, shard.head, flag)
        for first, ids, pair_ids, batch in identified_batches(table, [column], columns, uri, shard.head or BATCH_ROWS):
            yield _to_rows(first, ids, pair_ids, _lists(batch, column, path), dim)


def _converted_rows(opener: Opener, shard: InputShard, columns: Columns, vector: str) -> Iterator[Row | Reject]:
    """Rows of a column whose vectors are text, bytes, objects or lists of whole numbers."""
    with opener.table(shard.uri) as table:
        head, path = split_path(table.schema.names, vector)
        column = head or vector
        size = min(shard.head or BATCH_ROWS, image_columns.rows_within(BATCH_BYTES, table, column))
        for first, ids, pair_ids, batch in identified_batches(table, [column], columns, shard.uri, size):
            values = array_at(batch.column(column), path).to_pylist()
            for row, (row_id, pair_id, value) in enumerate(zip(ids, pair_ids, values, strict=True), start=first):
                try:
                    yield Reject(f"row {row}", NO_ID) if row_id is None else Row(row_id, pair_id, vector_of(value))
                except UnusableRowError as error:
                    yield error.reject(row_id or f"row {row}")


def _is_convertible(kind: pa.DataType) -> bool:
    """Whether vectors are kept in a form that has to be converted value by value.

    Lists of unsigned bytes are not: they are codes around some zero, or packed bits, which only their maker can tell.
    """
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        whole = pa.types.is_signed_integer(kind.value_type) or pa.types.is_decimal(kind.value_type)
        return bool(whole or pa.types.is_struct(kind.value_type))
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    blobs = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(is_form(kind) for is_form in (*texts, *blobs, pa.types.is_struct))


def _lists(batch: pa.RecordBatch, column: str, path: str) -> pa.Array:
    lists = array_at(batch.column(column), path)
    return lists.cast(pa.list_(pa.float32())) if pa.types.is_null(lists.type) else lists


def field_type(schema: pa.Schema, path: str) -> pa.DataType | None:
    """The type of a column, or of a field in one; None if there is none."""
    column, rest = split_path(schema.names, path)
    return None if column is None else type_at(schema.field(schema.names.index(column)).type, rest)


def _dimension(table: Table, vector: str, uri: str, head: int | None, flag: str) -> int:
    """The most frequent length of the vectors (or of the first), which a fixed-size list states itself."""
    kind = field_type(table.schema, vector)
    column, path = split_path(table.schema.names, vector)
    if kind is None:
        raise InputError(f"{uri!r}: there is no field {path!r} in column {column!r} ({flag}).")
    if pa.types.is_null(kind):
        return 0
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise InputError(
            f"{uri!r}: column {vector!r} is of type {kind}, not a list of floats. Name the column of the vectors with "
            f"{flag}."
        )
    if not pa.types.is_floating(kind.value_type):
        remedy = "Write the vectors as one list of floats a row"
        if pa.types.is_unsigned_integer(kind.value_type):
            codes = "Unsigned bytes may be quantised values or packed bits"
            remedy = f"{codes}: write the vectors as floats"
        raise InputError(
            f"{uri!r}: column {vector!r} is a list of {kind.value_type}, not of floats. {remedy}, or name another "
            f"column with {flag}."
        )
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    counts: Counter[int] = Counter()
    batches = table.batches(head or BATCH_ROWS, [column or vector])
    for batch in islice(batches, 1 if head else None):
        lengths = pc.value_counts(pc.list_value_length(array_at(batch.column(0), path)).drop_null()).to_pylist()
        counts.update({length["values"]: length["counts"] for length in lengths})
    return min(counts, key=lambda length: (-counts[length], length), default=0)


def identified_batches(
    table: Table, payload: list[str], columns: Columns, uri: str, size: int
) -> Iterator[tuple[int, list[str | None], list[str], pa.RecordBatch]]:
    """(first row, ids, pair ids, all columns) in file order; rows are numbered when they need no id.

    Args:
        table: the file to read.
        payload: columns to read besides those of ids.
        columns: the names of the columns of ids.
        uri: the file, for messages.
        size: rows of a batch.

    Raises:
        InputError: there is no column of ids and one is needed, or a column holds what is no id.
    """
    names = table.schema.names
    id_column, pair_column = choose_id_columns(names, columns, uri)
    wanted = [name for name in (id_column, pair_column, *payload) if name]
    read = list(dict.fromkeys(head for name in wanted if (head := split_path(names, name)[0])))
    first = 0
    for batch in table.batches(size, read or names[:1]):
        ids = texts_of(batch, id_column, uri, columns.flag("id"))
        pairs = texts_of(batch, pair_column, uri, columns.flag("pair_id")) if pair_column else ids
        pair_ids = [pair_id or NO_PAIR for pair_id in pairs]
        if not columns.require_id:
            ids = [row_id or f"row {row}" for row, row_id in enumerate(ids, start=first)]
        yield first, ids, pair_ids, batch
        first += batch.num_rows


def texts_of(batch: pa.RecordBatch, column: str | None, uri: str, flag: str = "") -> list[str | None]:
    """A column of ids as text, None where there is no id (or no column).

    Args:
        batch: rows with the column.
        column: its name, or the path of a field in it.
        uri: the file, for messages.
        flag: the flag that names another column; empty where none can.

    Raises:
        InputError: the column is neither text nor whole numbers.
    """
    if column is None:
        return [None] * batch.num_rows
    head, path = split_path(batch.schema.names, column)
    kind = type_at(batch.column(head).type, path)
    if kind is None:
        raise InputError(f"{uri!r}: there is no field {path!r} in column {head!r}, so it has no ids.")
    array = array_at(batch.column(head), path)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not any(is_id(array.type) for is_id in _ID_TYPES):
        remedy = f" Name another column with {flag}." if flag else ""
        raise InputError(
            f"{uri!r}: column {column!r} is of type {array.type}. Ids must be strings or whole numbers.{remedy}"
        )
    return [value or None for value in array.cast(pa.string()).to_pylist()]


def _to_rows(first: int, ids: list[str | None], pair_ids: list[str], lists: pa.Array, dim: int) -> Rows:
    lengths = pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
    has_id = np.array([row_id is not None for row_id in ids], dtype=bool)
    good = has_id & (lengths == dim)
    rejects = [_reject(first + row, ids[row], int(lengths[row]), dim) for row in np.flatnonzero(~good)]
    kept = [row_id or "" for row_id in compress(ids, good)]
    return Rows(kept, list(compress(pair_ids, good)), _matrix(lists.filter(pa.array(good)), dim), rejects)


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


def columnar_format(
    name: str, suffixes: tuple[str, ...], begins: tuple[bytes, ...], opener: Opener, outline: Callable[[str], Outline]
) -> Format:
    """The format of files of columns.

    Args:
        name: name of the format, as in ``Format``.
        suffixes: how names of such files end, as in ``Format``.
        begins: what such files may begin with.
        opener: how such files are opened.
        outline: reads what a file's footer tells, as in ``Format``.
    """
    return Format(
        name,
        suffixes,
        partial(_read, opener),
        partial(_holds_vectors, opener),
        outline=outline,
        begins=tuple((0, mark) for mark in begins),
    )
