"""Captions as plain text, one a line."""

from __future__ import annotations

from collections.abc import Iterator

from nnn_core.errors import InputError
from nnn_core.inputs.readers._columns import choose_id_columns
from nnn_core.inputs.readers._records import caption_rows, captions_format, texts_of_lines
from nnn_core.inputs.readers.rows import NO_PAIR, Columns, Row
from nnn_core.inputs.rejects import Reject


def _rows(uri: str, columns: Columns) -> Iterator[Row | Reject]:
    """Every line that is not empty is a caption, without an id and without a pair id.

    Raises:
        InputError: ids or pair ids were asked for.
    """
    if columns.named("id", ()) or columns.pair_id:
        raise InputError(
            f"{uri!r} is plain text, a caption a line, so it has no columns that --id-column or "
            "--pair-id-column could name; leave the flag out, or give the captions as .tsv or .jsonl."
        )
    choose_id_columns([], columns, uri)
    for line in texts_of_lines(uri):
        if isinstance(line, Reject):
            yield line
        else:
            yield from caption_rows(f"line {line[0]}", NO_PAIR, line[1])


FORMAT = captions_format("txt", (".txt", ".txt.gz"), _rows)
