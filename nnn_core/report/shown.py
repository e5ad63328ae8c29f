"""What a page shows of some rows: read again from the files that they came from."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.errors import ConfigError, InputError
from nnn_core.inputs.readers import CAPTION_DEFAULT, Columns, format_of, holds_vectors, read_rows
from nnn_core.inputs.readers.payload import read_payload
from nnn_core.inputs.shards import InputShard, Modality
from nnn_core.report._sections import Shown
from nnn_core.report._thumbnails import thumbnail

_LOG = logging.getLogger("nnn")

#: Characters of a caption that are kept.
_MAX_TEXT = 500


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
        InputError: the file cannot be read, or has no such columns.
    """
    if not wanted:
        return
    columns, vectors = request.columns, holds_vectors(shard, request.modality, request.columns)
    said = _fields_of(shard, columns, wanted, fields) if fields else {}
    if vectors:
        caption = columns.caption or CAPTION_DEFAULT
        with contextlib.suppress(InputError):  # no captions in it
            beside = replace(columns, vector=None, caption=caption)
            said = said or {one.id: one.text for one in _read_items(shard, "text", beside, wanted)}
        with contextlib.suppress(InputError, ConfigError):  # nor in a file of metadata
            said = said or _fields_of(shard, columns, wanted, [caption])
        yield from (Shown(row_id, text[:_MAX_TEXT]) for row_id, text in said.items() if text)
    else:
        for one in _read_items(shard, request.modality, columns, wanted):
            yield replace(one, text=said.get(one.id, one.text)[:_MAX_TEXT])


def show_again(embedded: EmbeddedInput, request: EmbeddingRequest, names: frozenset[str]) -> tuple[Shown, ...]:
    """``show_rows`` of the file that was embedded, if it is still there: nothing more depends on it.

    Args:
        embedded: what the file became.
        request: how the file was read when it was embedded.
        names: ids of rows that the file holds.
    """
    uri = embedded.source
    try:
        if embedded.is_group:
            shard = InputShard(uri, embedded.digest, 0, members=tuple(sorted(names)))
        else:
            shard = InputShard(uri, embedded.digest, 0, format_of(uri).companion(uri))
        return tuple(show_rows(shard, request, names))
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
    table = read_payload(shard.uri, shard.digest, columns, fields, "--show")
    kept = table.filter(pc.is_in(table.column("id"), value_set=pa.array(sorted(wanted), pa.string())))
    return {
        row["id"]: " \u00b7 ".join(str(row[name]) for name in fields if row[name] not in (None, ""))
        for row in kept.to_pylist()
    }
