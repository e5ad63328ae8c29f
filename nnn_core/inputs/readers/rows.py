"""What every reader yields, and which columns it reads."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nnn_core.errors import ConfigError, InputError
from nnn_core.inputs.rejects import Reject

#: A batch is handed on when its payload reaches this size.
BATCH_BYTES = 32 << 20
BATCH_ROWS = 16_384

#: The first batch is this small, so that whoever wants to see a few rows reads little.
_HEAD_BYTES = 2 << 20
HEAD_ROWS = 100

ID_DEFAULTS = ("id", "key", "image_path")
CAPTION_DEFAULT = "caption"
VECTOR_DEFAULTS = ("vector", "embedding")
IMAGE_DEFAULTS = ("image", "jpg", "jpeg", "png", "webp")

#: What may be asked for in place of a column of ids: the SHA-256 of the content, or the position in the file.
CONTENT_ID = "@sha256"
POSITION_ID = "@row"

#: The pair id of a row that belongs to no row of the other modality. It is equal to no id.
NO_PAIR = ""

NO_ID = "no id"
NO_CAPTION = "no caption"
NOT_UTF8 = "not UTF-8"
MALFORMED = "malformed row"
MALFORMED_JSON = "malformed JSON"
TOO_LONG = "row too long"
WRONG_DIMENSION = "vector has the wrong dimension"
NULL_VECTOR = "vector is null"
_BAD_PAIR_ID = "pair id is no text"
_EMPTY_CAPTION = "empty caption"


@dataclass(frozen=True)
class Columns:
    """Names of columns (or JSON fields); None means the default names.

    Attributes:
        id: the row's identity; by default the first present of ``id``, ``key``, ``image_path``.
        pair_id: the id of the row's own counterpart in the other modality; a row without a value
            has none. By default the id itself, or the sample's key in a tar.
        caption: the text that describes an image; by default ``caption``.
        vector: a ready-made embedding; by default the first present of ``vector``, ``embedding``.
        image: the bytes of an encoded image; by default the first present of ``image``, ``jpg``, ``jpeg``, ``png``,
            ``webp``.
        require_id: whether rows need an id of their own. Candidates do; reference queries
            without one are numbered, and have no counterpart unless ``pair_id`` names it.
        inherited: those of the attributes above whose names were given for the other side. What
            kind of rows a file holds, and whether they have ids, is not to be judged by them.
        numbered: leave ids out of account and number the rows.
    """

    id: str | None = None
    pair_id: str | None = None
    caption: str | None = None
    vector: str | None = None
    image: str | None = None
    require_id: bool = True
    inherited: tuple[str, ...] = ()
    numbered: bool = False

    def __post_init__(self) -> None:
        if self.id and self.id.startswith("@") and self.id not in (CONTENT_ID, POSITION_ID):
            raise ConfigError(f"--id-column {self.id} is neither a column nor one of {CONTENT_ID}, {POSITION_ID}.")

    def named(self, what: str, present: Container[str]) -> str | None:
        """The name that was asked for, unless it was meant for the other side and is not ``present``."""
        name: str | None = getattr(self, what)
        return None if what in self.inherited and name not in present else name


@dataclass(frozen=True)
class Rows:
    """A batch of rows of one shard.

    Attributes:
        ids: identity of each row.
        pair_ids: identity of each row's own counterpart, ``NO_PAIR`` where it has none.
        items: encoded images (bytes), captions (str), or vectors (rows, dim) float.
        rejects: rows of the same stretch of the file that cannot be used.
    """

    ids: list[str]
    pair_ids: list[str]
    items: list[Any] | npt.NDArray[np.floating]
    rejects: list[Reject] = field(default_factory=list)


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


@dataclass(frozen=True)
class Row:
    """One row on its way into a batch.

    Attributes:
        id: identity of the row.
        pair_id: identity of its own counterpart, ``NO_PAIR`` where it has none.
        item: an encoded image (bytes), a caption (str), or a vector.
    """

    id: str
    pair_id: str
    item: Any


def batched(rows: Iterable[Row | Reject]) -> Iterator[Rows]:
    """Collect rows into batches bounded in rows and in payload bytes, the first more so than the others."""
    accepted: list[Row] = []
    most_rows, most_bytes = min(HEAD_ROWS, BATCH_ROWS), min(_HEAD_BYTES, BATCH_BYTES)
    rejects: list[Reject] = []
    payload = 0
    for row in rows:
        if isinstance(row, Row) and not _is_unicode(row):
            rejects.append(Reject(ascii(row.id), NOT_UTF8, "the id, pair id or caption has a broken character"))
        elif isinstance(row, Reject):
            rejects.append(row)
        else:
            accepted.append(row)
            payload += len(row.item)
        if payload >= most_bytes or len(accepted) + len(rejects) >= most_rows:
            yield _to_rows(accepted, rejects)
            accepted, rejects, payload = [], [], 0
            most_rows, most_bytes = BATCH_ROWS, BATCH_BYTES
    if accepted or rejects:
        yield _to_rows(accepted, rejects)


def _is_unicode(row: Row) -> bool:
    """Whether the row's texts can be stored: broken bytes in names arrive as lone surrogates."""
    texts = [row.id, row.pair_id] + ([row.item] if isinstance(row.item, str) else [])
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _to_rows(accepted: list[Row], rejects: list[Reject]) -> Rows:
    items = [row.item for row in accepted]
    return Rows([row.id for row in accepted], [row.pair_id for row in accepted], items, rejects)


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
    if not value.strip():
        return Reject(row_id, _EMPTY_CAPTION)
    return Row(row_id, pair_id, value)


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
        self.found = self.found or self.name in record
        value = record.get(self.name)
        if value is None or value == "":
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
                f"{uri!r}: none of its {self.records} records has a field {self.name!r} (--pair-id-column), so its "
                "pair ids cannot be read. Correct the name, or give it with --reference-pair-id-column if only the "
                "bank has the field."
            )


def choose_column(
    what: str, present: list[str], wanted: str | None, uri: str, defaults: tuple[str, ...] = ()
) -> str | None:
    """The column to read: the one asked for, else the first default that is there, else None.

    Args:
        what: the kind of column, such as ``pair id``; its flag is ``--pair-id-column``.
        present: names of the columns of the file.
        wanted: the name that was asked for, if any.
        uri: the file, for messages.
        defaults: names that are looked for if none was asked for.

    Raises:
        InputError: the column asked for is not there, or the one to read is there twice.
    """
    flag = f"--{what.replace(' ', '-')}-column"
    if wanted is not None and wanted not in present:
        raise InputError(
            f"{uri!r} has no column {wanted!r} ({flag}), so its {what}s cannot be read; it has: {_listed(present)}."
        )
    column = wanted or next((name for name in defaults if name in present), None)
    if column is not None and present.count(column) > 1:
        raise InputError(f"{uri!r} has {present.count(column)} columns named {column!r}; choose another with {flag}.")
    return column


def require_column(what: str, present: list[str], wanted: str | None, uri: str, defaults: tuple[str, ...]) -> str:
    """The column to read, as ``choose_column`` finds it.

    Raises:
        InputError: there is no such column.
    """
    column = choose_column(what, present, wanted, uri, defaults)
    if column is None:
        raise InputError(
            f"{uri!r} has no column for the {what}; it has: {_listed(present)}. Name it with --{what}-column."
        )
    return column


def _listed(present: list[str]) -> str:
    """The columns that are there, and what is wrong where they are one."""
    if len(present) == 1 and any(separator in present[0] for separator in ";|\t"):
        return f"{present[0]}, one column (fields of a .csv are separated by commas, those of a .tsv by tabs)"
    return ", ".join(present)


def choose_id_columns(present: list[str], columns: Columns, uri: str) -> tuple[str | None, str | None]:
    """The columns of the id and of the pair id, None where there is none and none is needed.

    Raises:
        InputError: a column asked for is not there, or rows need an id and there is no column for it.
    """
    id_column = None
    if not columns.numbered:
        id_column = choose_column("id", present, columns.named("id", present), uri, ID_DEFAULTS)
    if columns.require_id and id_column is None:
        raise InputError(no_ids_message(f"{uri!r} has no column for the id; it has: {', '.join(present) or 'none'}"))
    return id_column, choose_column("pair id", present, columns.pair_id, uri)


def no_ids_message(fact: str) -> str:
    """``fact`` (that there are no ids) with what can be done about it."""
    return (
        f"{fact}. Candidates need ids: name their column with --id-column, or make them with --id-column {CONTENT_ID} "
        f"(the digest of a row's content) or --id-column {POSITION_ID} (file name and position, which change when the "
        "files are written anew)."
    )
