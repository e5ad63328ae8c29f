"""What the formats of text share: lines, and records with an id and a caption."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from nnn_core.errors import InputError
from nnn_core.inputs.readers._compressed import open_decompressed
from nnn_core.inputs.readers._fields import MISSING, value_at
from nnn_core.inputs.readers._rows import (
    CAPTION_DEFAULT,
    ID_DEFAULTS,
    NO_PAIR,
    POSITION_ID,
    Columns,
    NoRow,
    Row,
)
from nnn_core.inputs.rejects import EMPTY_LINE, NO_CAPTION, NO_ID, NO_IMAGE, NOT_UTF8, TOO_LONG, Reject

#: (what a record is called while it has no id, such as ``line 7``; its fields by name)
Record = tuple[str, dict[str, object]]

#: (what a row is called, its fields or the names of them)
Head = tuple[object, Iterable[str]]

#: No caption is this long; what is, is a file of another kind, or made to fill memory.
LINE_BYTES = 16 << 20

_CHUNK_BYTES = 1 << 18
_MARK = b"\xef\xbb\xbf"

#: Characters of other categories that show nothing: Default_Ignorable_Code_Point, and the empty Braille cell.
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10))))

#: Fields that a message names, and how much of each.
_NAMES, _NAME_CHARACTERS = 12, 40

_BAD_PAIR_ID = "pair id is not text"
_EMPTY_CAPTION = "empty caption"


class UnusableRowError(Exception):
    """What makes one row unusable, while it is not known yet which id its reject will have.

    Attributes:
        reason: a short class of failure, as in ``Reject``.
        detail: what exactly was seen, as in ``Reject``.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def reject(self, row_id: str) -> Reject:
        """The reject of the row ``row_id``."""
        return Reject(row_id, self.reason, self.detail)


def no_images(uri: str) -> InputError:
    """The error that says that images cannot be read from a file of captions."""
    return InputError(
        f"{uri!r} holds captions, but images are expected. Check --candidate-modality and --reference-modality, "
        "and that --candidates and --references are not swapped. If it has images in base64, name their column "
        "with --image-column."
    )


def lines_of(uri: str) -> Iterator[tuple[int, bytes | None]]:
    """(line number from 1, line with its end) of a file, which may be compressed; no byte order mark.

    None stands for a line of more than ``LINE_BYTES``, which is skipped and never held whole.
    """
    with open_decompressed(uri) as lines:
        number = 0
        while line := lines.readline(LINE_BYTES + 1):
            number += 1
            if len(line) > LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = lines.readline(_CHUNK_BYTES)
                yield number, None
            else:
                yield number, line.removeprefix(_MARK) if number == 1 else line


def texts_of_lines(uri: str) -> Iterator[tuple[int, str] | Reject]:
    """(line number from 1, line without its end), empty lines left out."""
    return (line for line in texts_and_gaps(uri) if not isinstance(line, NoRow))


def texts_and_gaps(uri: str) -> Iterator[tuple[int, str] | Reject]:
    """(line number from 1, line without its end); a ``NoRow`` for each empty line, but for those at the end."""
    last = 0
    for number, line in lines_of(uri):
        stripped = None if line is None else line.rstrip(b"\r\n")
        if stripped == b"":
            continue
        yield from (NoRow(f"line {empty}", EMPTY_LINE) for empty in range(last + 1, number))
        last = number
        if stripped is None:
            yield too_long(number)
            continue
        try:
            yield number, stripped.decode("utf-8")
        except UnicodeDecodeError as error:
            yield Reject(f"line {number}", NOT_UTF8, str(error))


def too_long(number: int) -> Reject:
    """The reject that stands for a line or record that was skipped."""
    return Reject(f"line {number}", TOO_LONG, f"more than {LINE_BYTES:,} bytes; it was skipped")


def caption_rows(row_id: str, pair_id: str | None, value: object) -> Iterator[Row | Reject]:
    """One caption, or each of a list of captions, as rows.

    A single caption keeps ``row_id``; several become ``row_id#0``, ``row_id#1`` and so on, all
    paired with ``pair_id`` (by default ``row_id``, the item that they describe).
    """
    pair = row_id if pair_id is None else pair_id
    if isinstance(value, list):
        if not value:
            yield Reject(row_id, NO_CAPTION, "the list of captions is empty")
        for number, caption in enumerate(value):
            yield _caption_row(f"{row_id}#{number}", pair, caption)
    else:
        yield _caption_row(row_id, pair, value)


def _caption_row(row_id: str, pair_id: str, value: object) -> Row | Reject:
    if value is None:
        return Reject(row_id, NO_CAPTION)
    if not isinstance(value, str):
        return Reject(row_id, NO_CAPTION, f"the caption is of type {type(value).__name__}")
    if is_blank(value):
        return Reject(row_id, _EMPTY_CAPTION)
    return Row(row_id, pair_id, value)


def is_blank(text: str) -> bool:
    """Whether there is nothing to be seen of a text: spaces, control and format characters, and fillers."""
    return all(
        character.isspace() or unicodedata.category(character) in ("Cc", "Cf") or character in _FILLERS
        for character in text
    )


def text_of(value: object) -> str | None:
    """An id as text: strings and whole numbers; anything else is no id."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


@dataclass
class PairField:
    """The pair ids of records, each of which may have other fields than the last.

    Attributes:
        name: the field that holds the pair id; None for the record's own id.
        records: how many records were looked at.
        found: whether any of the records had the field.
    """

    name: str | None
    records: int = 0
    found: bool = False

    def of(self, record: Mapping[str, object], own: str) -> str:
        """The record's pair id: ``own`` by default, ``NO_PAIR`` where the field is absent, null or empty.

        Raises:
            UnusableRowError: the field holds what is no id.
        """
        if self.name is None:
            return own
        self.records += 1
        value = value_at(record, self.name)
        self.found = self.found or value is not MISSING
        if value is MISSING or value is None or value == "":
            return NO_PAIR
        if (pair_id := text_of(value)) is None:
            raise UnusableRowError(_BAD_PAIR_ID, f"field {self.name!r} is of type {type(value).__name__}")
        return pair_id

    def check(self, uri: str) -> None:
        """Refuse a name that no record knows: a misspelt field would silently pair nothing.

        Raises:
            InputError: records were read, and none had the field.
        """
        if self.records and not self.found:
            raise InputError(
                f"{uri!r}: none of its {self.records} records has a field {self.name!r} (--pair-id-column). "
                "Correct the name, or use --reference-pair-id-column if only the bank has the field."
            )


def _names_of(record: Mapping[str, object]) -> str:
    """The fields that a record has, but for those that would make a message long."""
    names = [name[:_NAME_CHARACTERS] for name in islice(record, _NAMES)]
    return ", ".join([*names, *(["..."] if len(record) > len(names) else [])]) or "none"


def _no_id(names: Iterable[str], columns: Columns, record: Mapping[str, object]) -> str:
    flag, wanted = columns.flag("id"), [columns.id] if columns.id else names
    return (
        f"there is no field {' or '.join(map(repr, wanted))} ({flag}; {POSITION_ID} numbers rows); it has: "
        f"{_names_of(record)}"
    )


def rows_of_records(
    records: Iterable[Record | Reject],
    columns: Columns,
    uri: str,
    id_defaults: tuple[str, ...] = ID_DEFAULTS,
    images: Callable[[str, str, object], Iterator[Row | Reject]] | None = None,
) -> Iterator[Row | Reject]:
    """The rows of records, each of which may have other fields than the last.

    Args:
        records: (what the record is called while it has no id, such as ``line 7``; its fields).
        columns: the names of the fields to read.
        uri: the file, for messages.
        id_defaults: fields that hold the id, the first that is present, unless one is named.
        images: makes rows of an id, a pair id and the image in a field; None to read captions.

    Raises:
        InputError: records were read, and none had the pair id that was named.
    """
    pairs, make = PairField(columns.pair_id), images or caption_rows
    payload = (columns.image if images else columns.caption) or CAPTION_DEFAULT
    flag, reason = (columns.flag("image"), NO_IMAGE) if images else (columns.flag("caption"), NO_CAPTION)
    for each in records:
        if isinstance(each, Reject):
            yield each
            continue
        position, record = each
        field, row_id = id_of(record, columns, id_defaults)
        own = row_id or position
        if row_id is None and columns.require_id:
            yield Reject(position, NO_ID, "" if field else _no_id(id_defaults, columns, record))
        elif (value := value_at(record, payload)) is MISSING:
            yield Reject(own, reason, f"there is no field {payload!r} ({flag}); it has: {_names_of(record)}")
        else:
            try:
                pair_id = pairs.of(record, row_id or NO_PAIR)
            except UnusableRowError as error:
                yield error.reject(own)
            else:
                yield from make(own, pair_id, value)
    pairs.check(uri)


def id_of(
    record: Mapping[str, object], columns: Columns, defaults: tuple[str, ...] = ID_DEFAULTS
) -> tuple[str | None, str | None]:
    """(the field that ids are read from, the id), None where there is none.

    A name that was meant for the other side and leads nowhere gives way to the ``defaults``.
    """
    missing = columns.id is None or value_at(record, columns.id) is MISSING
    named = None if missing and "id" in columns.inherited else columns.id
    field = named or next((name for name in defaults if name in record), None)
    return field, text_of(value_at(record, field)) if field and not columns.numbered else None
