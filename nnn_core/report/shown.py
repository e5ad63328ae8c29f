"""What a page shows of some rows: read again from the files that they came from."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from urllib.parse import quote

from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.errors import ConfigError, InputError
from nnn_core.inputs.readers import CAPTION_DEFAULT, Columns, format_of, holds_vectors, read_rows
from nnn_core.inputs.readers.payload import Payload
from nnn_core.inputs.shards import InputShard, Modality
from nnn_core.report._numbers import _cut
from nnn_core.report._sections import Shown
from nnn_core.report._thumbnails import thumbnail

_LOG = logging.getLogger("nnn")

_FLAG = "--show"

#: Characters of a caption or of another value that are kept, and of an address, which leads nowhere if it is cut.
_MAX_TEXT, _MAX_ADDRESS = 500, 2000

#: How an address begins, and what may end one in the text around it.
_ADDRESS, _ENDING = re.compile(r"https?://", re.I), re.compile(r"[\s<>\"'\u2026]")


def check_fields(uris: Iterable[str], columns: Columns, fields: Sequence[str]) -> None:
    """Refuse columns that a page could not show of files, as far as the beginning of each of these tells.

    Args:
        uris: files of candidates.
        columns: names of their columns.
        fields: columns to show, such as ``title`` and ``url``.

    Raises:
        ConfigError: a file has no such column, or none that can be shown.
    """
    for uri in uris if fields else ():
        try:
            Payload(uri, columns, tuple(fields), _FLAG).check()
        except InputError as error:
            raise ConfigError(f"{error} Nothing was computed. Correct {_FLAG}, or leave it out.") from error


def show_rows(
    shard: InputShard, request: EmbeddingRequest, wanted: frozenset[str], fields: Sequence[str] = ()
) -> Iterator[Shown]:
    """Captions, or images as thumbnails, of the rows with these ids; of ready-made vectors the captions beside them.

    Args:
        shard: the input file to read.
        request: how the file was read when it was embedded.
        wanted: ids of rows in the file.
        fields: columns whose values are shown in place of captions, such as ``title`` and ``url``.

    Raises:
        InputError: the file cannot be read. If it only has no such columns, a warning says so.
    """
    if not wanted:
        return
    columns, vectors = request.columns, holds_vectors(shard, request.modality, request.columns)
    said = dict[str, str]()
    try:
        said = _fields_of(shard, columns, wanted, fields) if fields else {}
    except (InputError, ConfigError) as error:  # the files that were looked at before the work have them
        _LOG.warning("The report cannot show %s of %d rows: %s", ", ".join(fields), len(wanted), error)
    if vectors:
        caption = columns.caption or CAPTION_DEFAULT
        with contextlib.suppress(InputError):  # no captions in it
            beside = replace(columns, vector=None, caption=caption)
            said = said or {one.id: one.text[:_MAX_TEXT] for one in _read_items(shard, "text", beside, wanted)}
        with contextlib.suppress(InputError, ConfigError):  # nor in a file of metadata
            said = said or _fields_of(shard, columns, wanted, [caption])
        yield from (Shown(row_id, text) for row_id, text in said.items() if text)
    else:
        for one in _read_items(shard, request.modality, columns, wanted):
            yield replace(one, text=said.get(one.id) or one.text[:_MAX_TEXT])


def show_again(
    embedded: EmbeddedInput, request: EmbeddingRequest, names: frozenset[str], fields: Sequence[str] = ()
) -> tuple[Shown, ...]:
    """``show_rows`` of the file that was embedded, if it is still there: nothing more depends on it.

    Args:
        embedded: what the file became.
        request: how the file was read when it was embedded.
        names: ids of rows that the file holds.
        fields: columns whose values are shown in place of captions.
    """
    uri = embedded.source
    try:
        if embedded.is_group:
            shard = InputShard(uri, embedded.digest, 0, members=tuple(sorted(names)))
        else:
            shard = InputShard(uri, embedded.digest, 0, format_of(uri).companion(uri))
        return tuple(show_rows(shard, request, names, fields))
    except InputError as error:
        _LOG.warning("The report cannot show %d of the hubs, which %s held: %s", len(names), uri, error)
        return ()


def _read_items(shard: InputShard, modality: Modality, columns: Columns, wanted: frozenset[str]) -> Iterator[Shown]:
    """Captions and thumbnails, until all rows that are wanted are found."""
    left = set(wanted)
    for rows in read_rows(shard, modality, columns):
        for row_id, item in zip(rows.ids, rows.items, strict=True):
            if row_id in left:
                left.discard(row_id)
                yield Shown(row_id, item) if isinstance(item, str) else Shown(row_id, "", thumbnail(item))
        if not left:
            return


def _fields_of(shard: InputShard, columns: Columns, wanted: frozenset[str], fields: Sequence[str]) -> dict[str, str]:
    """The values of some columns by id, as one text."""
    rows = Payload(shard.uri, columns, tuple(fields), _FLAG).find(wanted)
    return {row["id"]: " \u00b7 ".join(filter(None, (_said(row[name]) for name in fields))) for row in rows}


def _said(value: object) -> str:
    """A value as text. An address has no character that would end it, whatever it holds."""
    text = "" if value is None else str(value).strip()
    if not _ADDRESS.match(text):
        return _cut(text, _MAX_TEXT)
    return _cut(_ENDING.sub(lambda found: quote(found[0]), text), _MAX_ADDRESS)
