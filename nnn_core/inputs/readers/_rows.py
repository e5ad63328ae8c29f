"""What every reader yields, and which columns it reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nnn_core.errors import ConfigError
from nnn_core.inputs.rejects import NOT_UTF8, Reject

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


@dataclass(frozen=True)
class Columns:
    """Names of columns (or JSON fields); None means the default names.

    Attributes:
        id: column of the row's identity; by default (None) the first present of ``id``, ``key``, ``image_path``.
        pair_id: column of the id of the row's own counterpart in the other modality; a row without a value has none.
            By default (None) the id itself, or the sample's key in a tar.
        caption: column of the text that describes an image; by default (None) ``caption``.
        vector: column of a ready-made embedding; by default (None) the first present of ``vector``, ``embedding``.
        image: column of the bytes of an encoded image; by default (None) the first present of ``image``, ``jpg``,
            ``jpeg``, ``png``, ``webp``.
        require_id: whether rows need an id of their own. Candidates do; reference queries
            without one are numbered, and have no counterpart unless ``pair_id`` names it.
        inherited: attributes, such as ``id``, whose column names were given for the candidates while these rows are the
            bank's. What kind of rows a file holds, and whether they have ids, is not to be judged by them.
        numbered: whether to leave ids out of account and number the rows.
        side: what the flags of these rows begin with, such as ``reference-``; empty for the candidates'.
        lent: (attribute, what the flag begins with) of names that were given for another side, as all in ``inherited``.
    """

    id: str | None = None
    pair_id: str | None = None
    caption: str | None = None
    vector: str | None = None
    image: str | None = None
    require_id: bool = True
    inherited: tuple[str, ...] = ()
    numbered: bool = False
    side: str = ""
    lent: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.id and self.id.startswith("@") and self.id not in (CONTENT_ID, POSITION_ID):
            raise ConfigError(f"--id-column {self.id} is not a column, nor one of {CONTENT_ID}, {POSITION_ID}.")

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides which rows are read, as plain values."""
        return {name: value for name, value in asdict(self).items() if name not in ("side", "lent")}

    def flag(self, what: str) -> str:
        """The flag by which the name of a column was given, or by which it can be.

        Args:
            what: an attribute, such as ``pair_id``.
        """
        return f"--{dict(self.lent).get(what, self.side)}{what.replace('_', '-')}-column"

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
        left_out: how much of the same stretch is no row at all, by what it is.
    """

    ids: list[str]
    pair_ids: list[str]
    items: list[Any] | npt.NDArray[np.floating]
    rejects: list[Reject] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One row on its way into a batch.

    Attributes:
        id: identity of the row.
        pair_id: identity of the row's own counterpart, ``NO_PAIR`` if it has none.
        item: an encoded image (bytes), a caption (str), or a vector.
    """

    id: str
    pair_id: str
    item: Any


class NoRow(Reject):
    """What is no row, so that it counts as none, neither accepted nor rejected; its ``reason`` says what it is."""


def batched(rows: Iterable[Row | Reject]) -> Iterator[Rows]:
    """Collect rows into batches bounded in rows and in payload bytes, the first more so than the others."""
    accepted: list[Row] = []
    most_rows, most_bytes = min(HEAD_ROWS, BATCH_ROWS), min(_HEAD_BYTES, BATCH_BYTES)
    rejects: list[Reject] = []
    left_out: Counter[str] = Counter()
    payload = 0
    for row in rows:
        if isinstance(row, Row) and not _is_unicode(row):
            rejects.append(Reject(ascii(row.id), NOT_UTF8, "the id, pair id or caption has a broken character"))
        elif isinstance(row, NoRow):
            left_out[row.reason] += 1
        elif isinstance(row, Reject):
            rejects.append(row)
        else:
            accepted.append(row)
            payload += len(row.item)
        if payload >= most_bytes or len(accepted) + len(rejects) >= most_rows:
            yield _to_rows(accepted, rejects, left_out)
            accepted, rejects, left_out, payload = [], [], Counter(), 0
            most_rows, most_bytes = BATCH_ROWS, BATCH_BYTES
    if accepted or rejects or left_out:
        yield _to_rows(accepted, rejects, left_out)


def _is_unicode(row: Row) -> bool:
    """Whether the row's texts can be stored: broken bytes in names arrive as lone surrogates."""
    texts = [row.id, row.pair_id] + ([row.item] if isinstance(row.item, str) else [])
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _to_rows(accepted: list[Row], rejects: list[Reject], left_out: Mapping[str, int]) -> Rows:
    items = [row.item for row in accepted]
    return Rows([row.id for row in accepted], [row.pair_id for row in accepted], items, rejects, dict(left_out))
