"""What the formats of text share: lines, and records with an id and a caption."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

from nnn_core.errors import InputError
from nnn_core.inputs.readers._compressed import open_decompressed
from nnn_core.inputs.readers.rows import (
    CAPTION_DEFAULT,
    ID_DEFAULTS,
    NO_CAPTION,
    NO_ID,
    NO_PAIR,
    NOT_UTF8,
    TOO_LONG,
    Columns,
    PairField,
    Row,
    caption_rows,
    choose_column,
    choose_id_columns,
    require_column,
    text_of,
)
from nnn_core.inputs.rejects import Reject
from nnn_core.inputs.shards import Modality

#: No caption is this long; what is, is a file of another kind, or made to fill memory.
LINE_BYTES = 16 << 20

_CHUNK_BYTES = 1 << 18
_MARK = b"\xef\xbb\xbf"


def check_text(modality: Modality, uri: str) -> None:
    """Refuse to read images from a file of captions.

    Raises:
        InputError: ``modality`` is image.
    """
    if modality != "text":
        raise InputError(
            f"{uri!r} holds captions, but images are expected there; check --candidate-modality, "
            "--reference-modality and which glob was given to --candidates and --references."
        )


def lines_of(uri: str) -> Iterator[tuple[int, bytes | None]]:
    """(line number from 1, line with its end) of a file, which may be compressed; no byte order mark.

    None stands for a line of more than ``LINE_BYTES``, which is skipped and never held whole.
    """
    with open_decompressed(uri) as stream, io.BufferedReader(_Raw(stream), _CHUNK_BYTES) as lines:
        number = 0
        while line := lines.readline(LINE_BYTES + 1):
            number += 1
            if len(line) > LINE_BYTES:
                _skip_line(lines, line)
                yield number, None
            else:
                yield number, line.removeprefix(_MARK) if number == 1 else line


def _skip_line(lines: io.BufferedReader[_Raw], read: bytes) -> None:
    while read and not read.endswith(b"\n"):
        read = lines.readline(_CHUNK_BYTES)


class _Raw(io.RawIOBase):
    """Any stream as one that ``BufferedReader`` takes: those of stores read whole lines, however long."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def texts_of_lines(uri: str) -> Iterator[tuple[int, str] | Reject]:
    """(line number from 1, line without its end), empty lines left out."""
    for number, line in lines_of(uri):
        if line is None:
            yield too_long(number)
        elif stripped := line.rstrip(b"\r\n"):
            try:
                yield number, stripped.decode("utf-8")
            except UnicodeDecodeError as error:
                yield Reject(f"line {number}", NOT_UTF8, str(error))


def too_long(number: int) -> Reject:
    """The reject that stands for a line or record that was skipped."""
    return Reject(f"line {number}", TOO_LONG, f"more than {LINE_BYTES:,} bytes; it was skipped")


def columns_of_header(header: list[str], columns: Columns, uri: str) -> Columns:
    """``columns`` with every default resolved against a header that all rows share."""
    id_column, pair_id = choose_id_columns(header, columns, uri)
    caption = choose_column(header, columns.caption, (CAPTION_DEFAULT,), "caption", "--caption-column", uri)
    require_column(caption, header, "caption", "--caption-column", uri)
    return replace(columns, id=id_column, pair_id=pair_id, caption=caption)


def columns_of_record(
    record: dict[str, object], columns: Columns, id_defaults: tuple[str, ...] = ID_DEFAULTS
) -> Columns:
    """``columns`` with every default resolved against one JSON object."""
    id_field = None
    if not columns.numbered:
        id_field = columns.named("id", record) or next((name for name in id_defaults if name in record), None)
    return replace(columns, id=id_field, caption=columns.caption or CAPTION_DEFAULT)


def rows_of_record(
    record: dict[str, object], position: str, columns: Columns, pairs: PairField
) -> Iterator[Row | Reject]:
    """The rows of one record, whose names of columns are settled.

    Args:
        record: its fields.
        position: what it is called while it has no id, such as ``line 7``.
        columns: from ``columns_of_header`` or ``columns_of_record``.
        pairs: the pair ids of the file.
    """
    row_id = text_of(record.get(columns.id)) if columns.id else None
    if row_id is None and columns.require_id:
        yield Reject(position, NO_ID)
        return
    if columns.caption not in record:
        yield Reject(row_id or position, NO_CAPTION, f"there is no field {columns.caption!r}, see --caption-column")
        return
    pair_id = pairs.of(record, row_id or NO_PAIR)
    if isinstance(pair_id, Reject):
        yield replace(pair_id, id=row_id or position)
    else:
        yield from caption_rows(row_id or position, pair_id, record[columns.caption])
