"""Captions as JSON lines: every line is rows or rejects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import Everything, read_all

from nnn_core.errors import InputError
from nnn_core.rejects import Reject


def read_lines(tmp_path: Path, data: bytes, **columns: object) -> Everything:
    path = tmp_path / "captions.jsonl"
    path.write_bytes(data)
    return read_all(path, **columns)  # type: ignore[arg-type]


def read_records(tmp_path: Path, records: list[object], **columns: object) -> Everything:
    return read_lines(tmp_path, "".join(json.dumps(r) + "\n" for r in records).encode(), **columns)


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
    assert found.rejects == [Reject("f", "pair id is no text", "field 'image' is of type float")]


def test_a_pair_field_that_no_line_has_is_an_error(tmp_path: Path) -> None:
    """A misspelt name would silently pair nothing."""
    records = [{"id": "a", "image": None, "caption": "x"}, {"id": "b", "caption": "y"}]
    with pytest.raises(InputError, match=r"captions\.jsonl': none of its 2 records has a field 'imgae' \(--pair-id"):
        read_records(tmp_path, records, pair_id="imgae")
    assert read_records(tmp_path, [], pair_id="image").ids == []
