"""What the formats of text share: lines, and records with an id and a caption."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.readers.rows import (
    CAPTION_DEFAULT,
    ID_DEFAULTS,
    NO_CAPTION,
    NO_ID,
    NO_PAIR,
    Columns,
    PairField,
    Row,
    caption_rows,
    choose_column,
    choose_id_columns,
    require_column,
    text_of,
)
from nnn_core.rejects import Reject
from nnn_core.shards import Modality


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


def lines_of(uri: str) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, line without its end), empty lines left out."""
    with storage.open_input(uri) as stream:
        for number, line in enumerate(stream, start=1):
            if stripped := line.rstrip(b"\r\n"):
                yield number, stripped


def columns_of_header(header: list[str], columns: Columns, uri: str) -> Columns:
    """``columns`` with every default resolved against a header that all rows share."""
    id_column, pair_id = choose_id_columns(header, columns, uri)
    caption = choose_column(header, columns.caption, (CAPTION_DEFAULT,), "caption", "--caption-column", uri)
    require_column(caption, header, "caption", "--caption-column", uri)
    return replace(columns, id=id_column, pair_id=pair_id, caption=caption)


def columns_of_record(record: dict[str, object], columns: Columns) -> Columns:
    """``columns`` with every default resolved against one JSON object."""
    id_field = None
    if not columns.numbered:
        id_field = columns.named("id", record) or next((name for name in ID_DEFAULTS if name in record), None)
    return replace(columns, id=id_field, caption=columns.caption or CAPTION_DEFAULT)


def rows_of_record(
    record: dict[str, object], number: int, columns: Columns, pairs: PairField
) -> Iterator[Row | Reject]:
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
