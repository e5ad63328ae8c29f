"""Captions as lines of text: TSV with a header, and JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.readers.rows import (
    CAPTION_DEFAULT,
    ID_DEFAULTS,
    MALFORMED,
    NO_CAPTION,
    NO_ID,
    NO_PAIR,
    NOT_UTF8,
    Columns,
    PairField,
    Row,
    Rows,
    batched,
    caption_rows,
    choose_column,
    choose_id_columns,
    require_column,
    text_of,
)
from nnn_core.rejects import Reject
from nnn_core.shards import InputShard, Modality


def check_text(modality: Modality, uri: str) -> None:
    """Refuse to read images from a file of captions.

    Raises:
        InputError: ``modality`` is image.
    """
    if modality != "text":
        raise InputError(
            f"{uri!r} holds captions, but images are expected there; check --candidate-modality "
            "and which glob was given to --candidates and --references."
        )


def read_tsv(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """Tab-separated values with a header line; quotes have no meaning.

    Raises:
        InputError: no header, or a needed column is missing.
    """
    check_text(modality, shard.uri)
    return batched(_tsv_rows(shard.uri, columns))


def read_jsonl(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """One JSON object a line; the caption may be a list.

    Raises:
        InputError: images were asked for, or no line has the pair id that was named.
    """
    check_text(modality, shard.uri)
    return batched(_jsonl_rows(shard.uri, columns))


def _lines(uri: str) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, line without its end), empty lines left out."""
    with storage.open_input(uri) as stream:
        for number, line in enumerate(stream, start=1):
            if stripped := line.rstrip(b"\r\n"):
                yield number, stripped


def _tsv_rows(uri: str, columns: Columns) -> Iterator[Row | Reject]:
    lines = _lines(uri)
    header = next(lines, (1, b""))[1].decode("utf-8-sig", "replace").split("\t")
    pick = _record_columns(header, columns, uri)
    pairs = PairField(pick.pair_id)
    for number, line in lines:
        try:
            fields = line.decode("utf-8").split("\t")
        except UnicodeDecodeError as error:
            yield Reject(f"line {number}", NOT_UTF8, str(error))
            continue
        if len(fields) != len(header):
            yield Reject(f"line {number}", MALFORMED, f"{len(fields)} fields, the header has {len(header)}")
        else:
            yield from _record_rows(dict(zip(header, fields, strict=True)), number, pick, pairs)


def _jsonl_rows(uri: str, columns: Columns) -> Iterator[Row | Reject]:
    pairs = PairField(columns.pair_id)
    for number, line in _lines(uri):
        try:
            record = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            yield Reject(f"line {number}", NOT_UTF8, str(error))
            continue
        except (ValueError, RecursionError) as error:
            yield Reject(f"line {number}", "malformed JSON", str(error))
            continue
        if not isinstance(record, dict):
            yield Reject(f"line {number}", MALFORMED, "the line is not a JSON object")
        else:
            yield from _record_rows(record, number, _field_columns(record, columns), pairs)
    pairs.check(uri)


def _record_columns(header: list[str], columns: Columns, uri: str) -> Columns:
    """``columns`` with every default resolved against a header that all rows share."""
    id_column, pair_id = choose_id_columns(header, columns, uri)
    caption = choose_column(header, columns.caption, (CAPTION_DEFAULT,), "caption", "--caption-column", uri)
    require_column(caption, header, "caption", "--caption-column", uri)
    return Columns(id_column, pair_id, caption, None, columns.require_id)


def _field_columns(record: dict[str, object], columns: Columns) -> Columns:
    """``columns`` with every default resolved against one JSON object."""
    id_field = columns.named("id", record) or next((name for name in ID_DEFAULTS if name in record), None)
    return Columns(id_field, columns.pair_id, columns.caption or CAPTION_DEFAULT, None, columns.require_id)


def _record_rows(record: dict[str, object], number: int, columns: Columns, pairs: PairField) -> Iterator[Row | Reject]:
    position = f"line {number}"
    row_id = text_of(record.get(columns.id)) if columns.id else None
    if row_id is None and columns.require_id:
        yield Reject(position, NO_ID)
        return
    if columns.caption not in record:
        yield Reject(row_id or position, NO_CAPTION, f"there is no field {columns.caption!r}")
        return
    pair_id = pairs.of(record, row_id or NO_PAIR)
    if isinstance(pair_id, Reject):
        yield replace(pair_id, id=row_id or position)
    else:
        yield from caption_rows(row_id or position, pair_id, record[columns.caption])
