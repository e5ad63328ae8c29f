"""Vectors in records: as lists of numbers, as text, as bytes, and as the objects that some programs wrap them in."""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from nnn_core.errors import InputError
from nnn_core.inputs.readers._columns import no_ids_message
from nnn_core.inputs.readers._fields import MISSING, value_at
from nnn_core.inputs.readers._records import PairField, Record, UnusableRowError, id_of
from nnn_core.inputs.readers._rows import HEAD_ROWS, NO_PAIR, VECTOR_DEFAULTS, Columns, Row
from nnn_core.inputs.rejects import NO_ID, NULL_VECTOR, WRONG_DIMENSION, Reject

_NO_VECTOR = "no vector"
_BAD_VECTOR = "vector is not a list of numbers"

#: What stands around numbers in the text of a vector: of pgvector, JSON and numpy, and of arrays of PostgreSQL.
_BRACKETS = {"[": "]", "{": "}", "(": ")"}
_BETWEEN = re.compile(r"\s*,\s*|\s+")

#: Under these names objects hold their numbers: those of Spark ML and Pinecone, and of OpenAI's and Cohere's answers.
_WRAPPED = ("values", "embedding", "float")


def vector_of(value: object) -> npt.NDArray[np.floating[Any]]:
    """The numbers of a vector, whatever form they have; nulls among them are NaN.

    Lists may hold objects of one number each, as BigQuery writes them. Text is a list of numbers in brackets, or
    float32 in base64, as OpenAI sends it; bytes are float32. (All are little-endian.)

    Raises:
        UnusableRowError: there is none.
    """
    if value is None:
        raise UnusableRowError(NULL_VECTOR, "")
    if isinstance(value, Mapping):
        return _vector_of_object(value)
    try:
        if isinstance(value, str):
            return _vector_of_text(value.strip())
        if isinstance(value, bytes):
            return np.frombuffer(value, "<f4")
        if isinstance(value, list):
            numbers = [
                next(iter(each.values())) if isinstance(each, Mapping) and len(each) == 1 else each for each in value
            ]
            if not any(isinstance(each, bool | list) for each in numbers):
                return np.array(numbers, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise UnusableRowError(_BAD_VECTOR, str(error)) from error
    raise UnusableRowError(_BAD_VECTOR, f"it is of type {type(value).__name__}")


def _vector_of_object(value: Mapping[str, object]) -> npt.NDArray[np.floating[Any]]:
    inner = next((value[name] for name in (*_WRAPPED, "list") if value.get(name) is not None), None)
    if inner is None or value.get("indices"):
        raise UnusableRowError(_BAD_VECTOR, f"it is an object with the fields {', '.join(map(str, value))}")
    return vector_of(inner)


def _vector_of_text(text: str) -> npt.NDArray[np.floating[Any]]:
    if not text:
        raise UnusableRowError(NULL_VECTOR, "the text is empty")
    if close := _BRACKETS.get(text[0]):
        inner = text[1:].removesuffix(close).strip()
        if not text.endswith(close) or "..." in inner:
            raise UnusableRowError(_BAD_VECTOR, "the text is cut short")
        return np.array([float(each) for each in _BETWEEN.split(inner)] if inner else [], np.float64)
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f4")
    except binascii.Error as error:
        raise UnusableRowError(
            _BAD_VECTOR, f"the text is neither numbers in brackets nor base64: {text[:40]!r}"
        ) from error


def records_hold_vectors(records: Iterable[Record | Reject], columns: Columns) -> bool:
    """Whether vectors are to be read from records: if they are named, or are all that there is.

    Args:
        records: the records, of which the first few are looked at.
        columns: the names of the fields to read.
    """
    if columns.caption and "caption" not in columns.inherited and not columns.vector:
        return False
    for record in islice(records, HEAD_ROWS):
        if isinstance(record, Reject):
            continue
        fields = record[1]
        if columns.vector:
            present = value_at(fields, columns.vector) is not MISSING
            return present or "vector" not in {*columns.inherited, *dict(columns.lent)}
        caption = value_at(fields, columns.caption or "caption")
        return caption is MISSING and any(_looks_like_one(fields.get(name)) for name in VECTOR_DEFAULTS)
    return False


def _looks_like_one(value: object) -> bool:
    try:
        return vector_of(value).size > 0
    except UnusableRowError:
        return False


def rows_of_vectors(records: Iterable[Record | Reject], columns: Columns, uri: str) -> Iterator[Row | Reject]:
    """A row for each record, whose vectors all have the most frequent length of the first hundred.

    Raises:
        InputError: records were read, and none has the pair id that was named, or an id where candidates need one.
    """
    pairs = PairField(columns.pair_id)
    made = (each if isinstance(each, Reject) else _row(each, columns, pairs) for each in records)
    head = list(islice(made, HEAD_ROWS))
    if head and all(isinstance(each, Reject) and each.reason == NO_ID for each in head):
        raise InputError(no_ids_message(f"{uri!r} has no field for the id in its first records", columns))
    yield from of_one_length(chain(head, made))
    pairs.check(uri)


def of_one_length(rows: Iterator[Row | Reject]) -> Iterator[Row | Reject]:
    """The rows of vectors, with rejects of those that have not the most frequent length of the first hundred."""
    head = list(islice(rows, HEAD_ROWS))
    lengths = Counter(len(row.item) for row in head if isinstance(row, Row))
    dim = min(lengths, key=lambda length: (-lengths[length], length), default=0)
    for row in chain(head, rows):
        if isinstance(row, Row) and len(row.item) != dim:
            yield Reject(row.id, WRONG_DIMENSION, f"{len(row.item)}, most rows have {dim}")
        else:
            yield row


def _row(record: Record, columns: Columns, pairs: PairField) -> Row | Reject:
    position, fields = record
    row_id = id_of(fields, columns)[1]
    if row_id is None and columns.require_id:
        return Reject(position, NO_ID)
    own = row_id or position
    name = columns.vector or next((name for name in VECTOR_DEFAULTS if name in fields), VECTOR_DEFAULTS[0])
    try:
        value = value_at(fields, name)
        if value is MISSING:
            raise UnusableRowError(_NO_VECTOR, f"there is no field {name!r}, see {columns.flag('vector')}")
        return Row(own, pairs.of(fields, row_id or NO_PAIR), vector_of(value))
    except UnusableRowError as error:
        return error.reject(own)
