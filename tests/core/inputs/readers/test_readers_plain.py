"""Captions as plain text, one a line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from fakes import Everything, packed, read_all

from nnn_core.errors import InputError
from nnn_core.inputs.readers import _records as records

CAPTIONS = ["A child , climbing", 'A "girl" .', "A dog"]


def read_text(tmp_path: Path, data: bytes, name: str = "a.txt", **columns: object) -> Everything:
    (tmp_path / name).write_bytes(data)
    return read_all(tmp_path / name, **columns)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst"])
def test_every_line_is_a_caption(tmp_path: Path, name: str) -> None:
    data = b"\xef\xbb\xbfa cat\r\n\n  two  \n \nlast\n\r\n\n"
    found = read_text(tmp_path, packed(name, data), name, require_id=False)
    assert (found.ids, found.items) == (["line 1", "line 3", "line 5"], ["a cat", "  two  ", "last"])
    assert found.pair_ids == ["", "", ""]
    assert found.reasons == [("line 4", "empty caption")]
    assert found.left_out == {"empty line": 1}  # not those at the end


@pytest.mark.parametrize("first", [b"a\rb", b"x" * 200_000])
def test_first_lines_that_no_table_has_are_captions(tmp_path: Path, first: bytes) -> None:
    found = read_text(tmp_path, first + b"\ngood\n", require_id=False)
    assert (found.items, found.rejects) == ([first.decode(), "good"], [])


def test_rejects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LINE_BYTES", 10)
    found = read_text(tmp_path, b"\xff\n" + b"x" * 50 + b"\ngood\n", require_id=False)
    assert found.items == ["good"]
    assert found.reasons == [("line 1", "not UTF-8"), ("line 2", "row too long")]


def test_candidates_need_ids(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt' has no column for the id.*--id-column @sha256 .*@row"):
        read_text(tmp_path, b"x\n")
    assert read_text(tmp_path, b"x\n", id="@row").ids == ["a.txt#1"]


@pytest.mark.parametrize("columns", [{"id": "url"}, {"pair_id": "image", "require_id": False}])
def test_there_are_no_columns_to_name(tmp_path: Path, columns: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"a\.txt' is plain text.*so --id-column, --pair-id-column and"):
        read_text(tmp_path, b"x\n", **columns)


def test_a_table_by_another_name_is_read_by_its_columns(tmp_path: Path) -> None:
    """Flickr8k as Kaggle has it."""
    rows = [("a.jpg", 'A child in a "pink" dress , climbing'), ("a.jpg", "two\nlines"), ("b.jpg", "a dog")]
    sink = io.StringIO()
    csv.writer(sink).writerows([("image", "caption"), *rows])
    data = sink.getvalue().encode()
    found = read_text(tmp_path, data, pair_id="image", caption="caption", require_id=False)
    assert list(zip(found.pair_ids, found.items, strict=True)) == rows
    assert found.ids == ["line 2", "line 3", "line 5"]
    message = (
        r"a\.txt' is a table of 2 columns between commas \(image, caption\), not plain captions.*"
        r"--reference-caption-column caption --reference-pair-id-column image"
    )
    with pytest.raises(InputError, match=message):
        read_text(tmp_path, data, require_id=False, side="reference-")


def test_a_table_without_a_header_is_read_by_position(tmp_path: Path) -> None:
    """Flickr8k.token.txt, and results_20130124.token."""
    data = b'a.jpg#0\tA child , climbing\na.jpg#1\tA "girl" .\nb.jpg#0\tA dog\n'
    found = read_text(tmp_path, data, id="#1", caption="#2")
    assert (found.ids, found.items) == (
        ["a.jpg#0", "a.jpg#1", "b.jpg#0"],
        ["A child , climbing", 'A "girl" .', "A dog"],
    )
    with pytest.raises(InputError, match=r"between tabs \(#1, #2\).*--caption-column '#2' --id-column '#1'"):
        read_text(tmp_path, data)


@pytest.mark.parametrize(
    "lines", [["a man, standing", "a cat, sitting"], ["one\ttab", "none"], ["Caption, the", "x"], ["a\tb"]]
)
def test_captions_with_separators_stay_captions(tmp_path: Path, lines: list[str]) -> None:
    assert read_text(tmp_path, "\n".join(lines).encode(), require_id=False).items == lines


def test_an_id_column_of_the_other_side_is_not_asked_for(tmp_path: Path) -> None:
    assert read_text(tmp_path, b"x\n", id="url", require_id=False, inherited=("id",)).ids == ["line 1"]


def test_images_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"a\.txt' holds captions"):
        read_all(tmp_path / "a.txt", "image")
