"""Captions as plain text, one a line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from fakes import Everything, read_all

from nnn_core.errors import InputError
from nnn_core.inputs.readers import _records as records


def read_text(tmp_path: Path, data: bytes, name: str = "a.txt", **columns: object) -> Everything:
    (tmp_path / name).write_bytes(data)
    return read_all(tmp_path / name, **columns)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_every_line_is_a_caption(tmp_path: Path, name: str) -> None:
    data = b"\xef\xbb\xbfa cat\r\n\n  two  \n \nlast"
    found = read_text(tmp_path, gzip.compress(data) if name.endswith("gz") else data, name, require_id=False)
    assert (found.ids, found.items) == (["line 1", "line 3", "line 5"], ["a cat", "  two  ", "last"])
    assert found.pair_ids == ["", "", ""]
    assert found.reasons == [("line 4", "empty caption")]


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
    with pytest.raises(InputError, match=r"a\.txt' is plain text.*no columns that --id-column or --pair-id-column"):
        read_text(tmp_path, b"x\n", **columns)


def test_an_id_column_of_the_other_side_is_not_asked_for(tmp_path: Path) -> None:
    assert read_text(tmp_path, b"x\n", id="url", require_id=False, inherited=("id",)).ids == ["line 1"]


def test_images_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"a\.txt' holds captions"):
        read_all(tmp_path / "a.txt", "image")
