"""Captions as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator

from nnn_core.inputs.readers._formats import Format, Outline
from nnn_core.inputs.readers._records import check_text, columns_of_record, rows_of_record, texts_of_lines
from nnn_core.inputs.readers.rows import MALFORMED, MALFORMED_JSON, Columns, PairField, Row, Rows, batched
from nnn_core.inputs.rejects import Reject
from nnn_core.inputs.shards import InputShard, Modality


def read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """One JSON object a line; the caption may be a list.

    Raises:
        InputError: images were asked for, or no line has the pair id that was named.
    """
    check_text(modality, shard.uri)
    return batched(_rows(shard.uri, columns))


def _rows(uri: str, columns: Columns) -> Iterator[Row | Reject]:
    pairs = PairField(columns.pair_id)
    for line in records_of(uri):
        if isinstance(line, Reject):
            yield line
        else:
            number, record = line
            yield from rows_of_record(record, f"line {number}", columns_of_record(record, columns), pairs)
    pairs.check(uri)


def records_of(uri: str) -> Iterator[tuple[int, dict[str, object]] | Reject]:
    for line in texts_of_lines(uri):
        if isinstance(line, Reject):
            yield line
            continue
        number, text = line
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield Reject(f"line {number}", MALFORMED_JSON, str(error))
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            yield Reject(f"line {number}", MALFORMED, "the line is not a JSON object")


def _outline(uri: str) -> Outline:
    first = next(records_of(uri), None)
    return Outline(columns=tuple(first[1]) if isinstance(first, tuple) else ())


FORMAT = Format("jsonl", (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"), read, outline=_outline)
