"""Captions as JSON lines: every line is rows or rejects."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from fakes import Everything, packed, read_all

from nnn_core.errors import InputError
from nnn_core.inputs.readers import _records as records
from nnn_core.inputs.readers import format_of
from nnn_core.inputs.rejects import Reject


def read_lines(tmp_path: Path, data: bytes, **columns: object) -> Everything:
    path = tmp_path / "captions.jsonl"
    path.write_bytes(data)
    return read_all(path, **columns)  # type: ignore[arg-type]


def read_records(tmp_path: Path, lines: list[object], **columns: object) -> Everything:
    return read_lines(tmp_path, "".join(json.dumps(line) + "\n" for line in lines).encode(), **columns)


def test_jsonl(tmp_path: Path) -> None:
    records = [{"id": 7, "caption": "seven"}, {"key": "k", "caption": "été"}, {"id": "x", "caption": ["a", "b"]}]
    found = read_records(tmp_path, records)
    assert found.ids == ["7", "k", "x#0", "x#1"]
    assert found.pair_ids == ["7", "k", "x", "x"]
    assert found.items == ["seven", "été", "a", "b"]


def test_jsonl_rejects(tmp_path: Path) -> None:
    lines = [
        b'{"id": "a", "caption": "good"}',
        b"{",
        b"[1]",
        b"7",
        b'{"caption": "no id"}',
        b'{"id": "", "caption": "no id"}',
        b'{"id": 1.5, "caption": "no id"}',
        b'{"id": true, "caption": "no id"}',
        b'{"id": null, "caption": "no id"}',
        b'{"id": "b"}',
        b'{"id": "c", "caption": null}',
        b'{"id": "d", "caption": {"en": "x"}}',
        b'{"id": "e", "caption": " \\n"}',
        b'{"id": "f", "caption": []}',
        b'{"id": "g", "caption": ["x", 3, ["y"]]}',
        b'{"id": "\xff", "caption": "x"}',
        b'{"id": "\\ud800", "caption": "x"}',
        b'{"id": "h", "caption": "\\udfff"}',
        b"[" * 200_000,
        b'{"id": "i", "caption": "x", "n": ' + b"9" * 5000 + b"}",
    ]
    found = read_lines(tmp_path, b"\n".join(lines))
    assert found.ids == ["a", "g#0"]
    assert found.reasons == [
        ("line 2", "malformed JSON"),
        ("line 3", "malformed row"),
        ("line 4", "malformed row"),
        ("line 5", "no id"),
        ("line 6", "no id"),
        ("line 7", "no id"),
        ("line 8", "no id"),
        ("line 9", "no id"),
        ("b", "no caption"),
        ("c", "no caption"),
        ("d", "no caption"),
        ("e", "empty caption"),
        ("f", "no caption"),
        ("g#1", "no caption"),
        ("g#2", "no caption"),
        ("line 16", "not UTF-8"),
        (r"'\ud800'", "not UTF-8"),
        ("'h'", "not UTF-8"),
        ("line 19", "malformed JSON"),
        ("line 20", "malformed JSON"),
    ]


def test_a_broken_pair_id_is_rejected(tmp_path: Path) -> None:
    found = read_lines(tmp_path, b'{"id": "a", "image": "\\udc00", "caption": "x"}', pair_id="image")
    assert found.ids == []
    assert found.reasons == [("'a'", "not UTF-8")]


def test_pair_ids_of_json(tmp_path: Path) -> None:
    records = [
        {"id": "a", "image": "A", "caption": "x"},
        {"id": "b", "image": 7, "caption": ["x", "y"]},
        {"id": "c", "caption": "x"},
        {"id": "d", "image": None, "caption": "x"},
        {"id": "e", "image": "", "caption": "x"},
        {"id": "f", "image": 7.0, "caption": "x"},
    ]
    found = read_records(tmp_path, records, pair_id="image")
    assert found.pair_ids == ["A", "7", "7", "", "", ""]
    assert found.rejects == [Reject("f", "pair id is not text", "field 'image' is of type float")]


def test_a_pair_field_that_no_line_has_is_an_error(tmp_path: Path) -> None:
    """A misspelt name would silently pair nothing."""
    records = [{"id": "a", "image": None, "caption": "x"}, {"id": "b", "caption": "y"}]
    with pytest.raises(InputError, match=r"captions\.jsonl': none of its 2 records has a field 'imgae' \(--pair-id"):
        read_records(tmp_path, records, pair_id="imgae")
    assert read_records(tmp_path, [], pair_id="image").ids == []


def test_a_line_that_is_too_long_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LINE_BYTES", 100)
    lines = [{"id": n, "caption": "x" * (1000 if n == 1 else 1)} for n in range(3)]
    found = read_records(tmp_path, lines)
    assert found.ids == ["0", "2"]
    assert found.rejects == [Reject("line 2", "row too long", "more than 100 bytes; it was skipped")]


def test_a_long_line_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb", 1) as stream:
        for _ in range(60):
            stream.write(b"0123456789abcdef" * (1 << 16))
        stream.write(b'\n{"id": 1, "caption": "x"}')
    tracemalloc.start()
    found = read_all(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.ids, found.reasons) == (["1"], [("line 1", "row too long")])
    assert peak < 40 << 20


@pytest.mark.parametrize("suffix", ["jsonl.gz", "ndjson", "ndjson.gz", "jsonl.zst", "ndjson.zst"])
def test_other_suffixes(tmp_path: Path, suffix: str) -> None:
    data = b'{"id": "a", "caption": "x"}\n'
    path = tmp_path / f"captions.{suffix}"
    path.write_bytes(packed(path.name, data))
    assert read_all(path).ids == ["a"]


def test_outline_names_the_fields_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for text, columns in (('{"url": 1, "text": 2}\n{"x": 3}', ("url", "text")), ("[", ()), ("", ())):
        path.write_text(text)
        assert format_of(str(path)).outline(str(path)).columns == columns
