"""Captions as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator

from nnn_core.readers.formats import Format
from nnn_core.readers.records import check_text, columns_of_record, lines_of, rows_of_record
from nnn_core.readers.rows import MALFORMED, NOT_UTF8, Columns, PairField, Row, Rows, batched
from nnn_core.rejects import Reject
from nnn_core.shards import InputShard, Modality


def read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """One JSON object a line; the caption may be a list.

    Raises:
        InputError: images were asked for, or no line has the pair id that was named.
    """
    check_text(modality, shard.uri)
    return batched(_rows(shard.uri, columns))


def _rows(uri: str, columns: Columns) -> Iterator[Row | Reject]:
    pairs = PairField(columns.pair_id)
    for number, line in lines_of(uri):
        try:
            record = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            yield Reject(f"line {number}", NOT_UTF8, str(error))
            continue
        except (ValueError, RecursionError) as error:
            yield Reject(f"line {number}", "malformed JSON", str(error))
            continue
        if not isinstance(record, dict):
            yield Reject(f"line {number}", MALFORMED, "the line is not a JSON object")
        else:
            yield from rows_of_record(record, number, columns_of_record(record, columns), pairs)
    pairs.check(uri)


FORMAT = Format("jsonl", (".jsonl", ".ndjson"), read)
