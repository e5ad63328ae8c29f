"""Captions or vectors as JSON lines: one object a line, whose caption may be a list."""

from __future__ import annotations

import json
from collections.abc import Iterator

from nnn_core.inputs.readers._compressed import and_compressed
from nnn_core.inputs.readers._record_formats import records_format
from nnn_core.inputs.readers._records import Record, texts_of_lines
from nnn_core.inputs.rejects import MALFORMED, MALFORMED_JSON, Reject

#: What records begin with, and lists of them.
BEGINS = (b'{"', b"[{", b"{\n", b"[\n", b"{\r", b"[\r")


def records_of(uri: str) -> Iterator[Record | Reject]:
    for line in texts_of_lines(uri):
        yield line if isinstance(line, Reject) else _record(f"line {line[0]}", line[1])


def _record(position: str, text: str) -> Record | Reject:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Reject(position, MALFORMED_JSON, str(error))
    return (
        (position, record) if isinstance(record, dict) else Reject(position, MALFORMED, "the line is not a JSON object")
    )


FORMAT = records_format(
    "jsonl",
    and_compressed(".jsonl", ".ndjson"),
    lambda uri, columns, payload: records_of(uri),
    records_of,
    begins=BEGINS,
)
