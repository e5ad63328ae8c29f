"""Captions as plain text, one a line."""

from __future__ import annotations

from collections.abc import Iterator

from nnn_core.errors import InputError
from nnn_core.inputs.readers._formats import Format
from nnn_core.inputs.readers._records import check_text, texts_of_lines
from nnn_core.inputs.readers.rows import NO_PAIR, Columns, Row, Rows, batched, caption_rows, choose_id_columns
from nnn_core.inputs.rejects import Reject
from nnn_core.inputs.shards import InputShard, Modality


def read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """Every line that is not empty is a caption, without an id and without a pair id.

    Raises:
        InputError: images or ids were asked for.
    """
    check_text(modality, shard.uri)
    if columns.named("id", ()) or columns.pair_id:
        raise InputError(
            f"{shard.uri!r} is plain text, a caption a line, so it has no columns that --id-column or "
            "--pair-id-column could name; leave the flag out, or give the captions as .tsv or .jsonl."
        )
    choose_id_columns([], columns, shard.uri)
    return batched(_rows(shard.uri))


def _rows(uri: str) -> Iterator[Row | Reject]:
    for line in texts_of_lines(uri):
        if isinstance(line, Reject):
            yield line
        else:
            number, text = line
            yield from caption_rows(f"line {number}", NO_PAIR, text)


FORMAT = Format("txt", (".txt", ".txt.gz"), read)
