"""Small tables say the same in every format, and what is no table is refused by the name of its flag."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nnn_core.errors import InputError
from nnn_core.evaluation.attributes import read_attributes
from nnn_core.evaluation.judgements import read_judgements
from nnn_core.inputs.readers.tables import read_table

ROWS = [("q1", "7", 1.0, "é"), ("q2", "8", None, ""), ("q3", "9", 2.5, "a b")]
NAMES = ("query_id", "candidate_id", "grade", "note")


def delimited(mark: str) -> bytes:
    lines = [NAMES, *((*row[:2], "" if row[2] is None else str(row[2]), row[3]) for row in ROWS)]
    return "".join(mark.join(line) + "\r\n" for line in lines).encode()


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: [row[place] or None for row in ROWS] for place, name in enumerate(NAMES)}), sink)
    return bytes(sink.getvalue())


LINES = "".join(
    json.dumps({name: row[place] or None for place, name in enumerate(NAMES)}) + "\n" for row in ROWS
).encode()
FILES = {"parquet": parquet(), "tsv": delimited("\t"), "csv": delimited(","), "jsonl": LINES, "ndjson": LINES}
FILES |= {f"{suffix}.gz": gzip.compress(data) for suffix, data in FILES.items() if suffix != "parquet"}


@pytest.mark.parametrize("suffix", FILES)
def test_every_format_says_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table.{suffix.upper()}"
    path.write_bytes(FILES[suffix])
    assert read_table(str(path), "--relevance").to_pylist() == [
        {name: row[place] or None for place, name in enumerate(NAMES)} for row in ROWS
    ]
    assert read_judgements(str(path)) == {"q1": {"7": 1.0}, "q3": {"9": 2.5}}
    assert read_attributes(str(path))["note"] == {"7": "é", "9": "a b"}


def test_fields_that_only_some_lines_have(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_text('{"id": "a", "relevant": ["x", "y"]}\n\n{"id": 2, "relevant": ["z"]}\n{"other": true, "id": 3}\n')
    with pytest.raises(InputError, match=r"--relevance '.*table.jsonl' is not a readable table"):
        read_judgements(str(path))  # ids of two types
    path.write_text('{"id": "a", "relevant": ["x", "y"]}\n\n{"id": "b", "relevant": ["z"]}\n{"other": true}\n')
    assert read_judgements(str(path)) == {"a": {"x": 1.0, "y": 1.0}, "b": {"z": 1.0}}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "x.txt",
            b"id\n",
            "--attributes '.*' has no known format. Its suffix must be one of .parquet, .pq, .parq, .tsv",
        ),
        ("x.parquet.gz", b"id\n", "has no known format"),
        ("x.parquet", b"PAR1", "--attributes '.*' is not a readable table: .* Restore or correct it"),
        ("x.tsv", b"id\tgrade\na\tgood\n", "is not a readable table: .*good"),
        ("x.tsv", b"id\tgrade\na\n", "is not a readable table: a line has 1 fields, and the first line has 2"),
        ("x.tsv", b"id\tname\na\t\xff\n", "is not a readable table: line 2: not UTF-8"),
        ("x.csv", b'id,name\na,"b\n', "is not a readable table: line 2: malformed row"),
        ("x.jsonl", b"{", "is not a readable table: line 1: malformed JSON"),
        ("x.jsonl", b"[]", "is not a readable table: line 1: malformed row"),
        ("x.jsonl.gz", b"{}", "cannot be decompressed"),
        ("x.tsv", b"", "has no column 'id' or 'candidate_id'"),
        ("x.tsv", b"id\na\n", "has only the column of ids"),
    ],
)
def test_what_is_no_table(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_attributes(str(tmp_path / name))
