"""Formats of records, whose fields hold captions, vectors, or images as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from nnn_core.inputs.readers._formats import Format, Outline
from nnn_core.inputs.readers._images import rows_of_images
from nnn_core.inputs.readers._records import Record, no_images, rows_of_records
from nnn_core.inputs.readers._rows import Columns, Row, Rows, batched
from nnn_core.inputs.readers._vectors import records_hold_vectors, rows_of_vectors
from nnn_core.inputs.rejects import Reject
from nnn_core.inputs.shards import InputShard, Modality

#: (what a row is called, its fields or the names of them)
Head = tuple[object, Iterable[str]]


def records_format(
    name: str,
    suffixes: tuple[str, ...],
    records: Callable[[str, Columns, str], Iterable[Record | Reject]],
    heads: Callable[[str], Iterator[Head | Reject]],
    rows: Callable[[str, Columns], Iterator[Row | Reject]] | None = None,
    holds_vectors: Callable[[str, Columns], bool] | None = None,
    begins: tuple[bytes, ...] = (),
) -> Format:
    """A format of files of records.

    Args:
        name: name of the format, as in ``Format``.
        suffixes: how names of such files end, as in ``Format``.
        records: reads the records of a file, by its URI, the names of its fields, and ``caption``, ``vector`` or
            ``image``, whichever is to be read.
        heads: yields what a file begins with, by its URI.
        rows: reads the captions of a file; None if any record may have one.
        holds_vectors: whether the vectors of a file are to be read; None if its first records tell.
        begins: what such files may begin with.
    """

    def read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
        uri = shard.uri
        if has_vectors(uri, modality, columns):
            return batched(rows_of_vectors(records(uri, columns, "vector"), columns, uri))
        if modality == "text":
            return batched(
                rows(uri, columns) if rows else rows_of_records(records(uri, columns, "caption"), columns, uri)
            )
        if columns.image is None:
            raise no_images(uri)
        return batched(rows_of_images(records(uri, columns, "image"), columns, uri))

    def has_vectors(uri: str, modality: Modality, columns: Columns) -> bool:
        if holds_vectors is not None:
            return holds_vectors(uri, columns)
        return records_hold_vectors(records(uri, columns, "vector"), columns)

    def outline(uri: str) -> Outline:
        first = next(heads(uri), None)
        return Outline() if first is None or isinstance(first, Reject) else Outline(columns=_described(first[1]))

    marks = tuple((0, mark) for mark in begins)
    return Format(name, suffixes, read, has_vectors, outline=outline, begins=marks)


def _described(fields: Iterable[str]) -> tuple[str, ...]:
    """Names of fields; those whose values are lists of numbers with their type, as columns of Parquet have it."""
    values = fields if isinstance(fields, Mapping) else {}
    return tuple(f"{name}: list<item: double>" if _is_numbers(values.get(name)) else name for name in fields)


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) in (int, float) for each in value)
