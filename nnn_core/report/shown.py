"""What a page shows of some rows: read again from the files that they came from."""

from __future__ import annotations

from collections.abc import Iterator

from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput, read_ids
from nnn_core.inputs.readers import holds_vectors, read_rows
from nnn_core.inputs.shards import InputShard
from nnn_core.report._sections import Shown
from nnn_core.report._thumbnails import thumbnail

#: Characters of a caption that are kept.
_MAX_TEXT = 500


def rows_among(embedded: EmbeddedInput, wanted: frozenset[str]) -> frozenset[str]:
    """The ids of ``wanted`` that one input file holds."""
    return frozenset(name for shard in embedded.shards for name in wanted.intersection(read_ids(shard).to_pylist()))


def show_rows(shard: InputShard, request: EmbeddingRequest, wanted: frozenset[str]) -> Iterator[Shown]:
    """Captions, or images as thumbnails, of the rows with these ids; nothing of ready-made vectors.

    Args:
        shard: the input file to read.
        request: how the file was read when it was embedded.
        wanted: ids of rows in the file.
    """
    if not wanted or holds_vectors(shard, request.modality, request.columns):
        return
    left = set(wanted)
    for rows in read_rows(shard, request.modality, request.columns):
        for row_id, item in zip(rows.ids, rows.items, strict=True):
            if row_id in left:
                left.discard(row_id)
                yield Shown(row_id, item[:_MAX_TEXT]) if isinstance(item, str) else Shown(row_id, "", thumbnail(item))
        if not left:
            return
