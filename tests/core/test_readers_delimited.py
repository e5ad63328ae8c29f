"""Captions in TSV and CSV: every record is rows or rejects."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import Everything, read_all

from nnn_core.errors import InputError


def read_lines(tmp_path: Path, suffix: str, data: bytes, modality: str = "text", **columns: object) -> Everything:
    path = tmp_path / f"captions.{suffix}"
    path.write_bytes(data)
    return read_all(path, modality, **columns)  # type: ignore[arg-type]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_tsv(tmp_path: Path, end: bytes, mark: bytes) -> None:
    data = mark + end.join([b"id\tcaption", b'7\t"a" cat', b"", b"x\t\xc3\xa9t\xc3\xa9 "])
    found = read_lines(tmp_path, "tsv", data)
    assert (found.ids, found.pair_ids, found.items) == (["7", "x"], ["7", "x"], ['"a" cat', "été "])
    assert found.rejects == []


def test_tsv_rejects(tmp_path: Path) -> None:
    lines = [b"id\tcaption", b"a\tgood", b"b", b"c\td\te", b"\xff\tx", b"d\t\xff", b"e\t", b"f\t  ", b"\tno id", b"\t"]
    found = read_lines(tmp_path, "tsv", b"\n".join(lines))
    assert found.ids == ["a"]
    assert found.reasons == [
        ("line 3", "malformed row"),
        ("line 4", "malformed row"),
        ("line 5", "not UTF-8"),
        ("line 6", "not UTF-8"),
        ("e", "empty caption"),
        ("f", "empty caption"),
        ("line 9", "no id"),
        ("line 10", "no id"),
    ]
    assert found.rejects[1].detail == "3 fields, the first line has 2"


def test_tsv_columns(tmp_path: Path) -> None:
    data = b"url\ttitle\tkey\timage\nu\tt\tk\ti\n"
    found = read_lines(tmp_path, "tsv", data, caption="title", pair_id="image")
    assert (found.ids, found.pair_ids, found.items) == (["k"], ["i"], ["t"])
    found = read_lines(tmp_path, "tsv", data, caption="title", id="url")
    assert (found.ids, found.pair_ids) == (["u"], ["u"])


@pytest.mark.parametrize(
    ("header", "columns", "flag", "name"),
    [
        ("name\tcaption", {}, "--id-column", "the id"),
        ("id\ttext", {}, "--caption-column", "the caption"),
        ("id\tcaption", {"id": "uid"}, "--id-column", "'uid'"),
        ("id\tcaption", {"caption": "title"}, "--caption-column", "'title'"),
        ("id\tcaption", {"pair_id": "image"}, "--pair-id-column", "'image'"),
        ("", {}, "--id-column", "the id"),
    ],
)
def test_missing_columns_name_the_flag(
    tmp_path: Path, header: str, columns: dict[str, str], flag: str, name: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_lines(tmp_path, "tsv", f"{header}\n1\t2\n".encode(), **columns)
    message = str(caught.value)
    assert "captions.tsv" in message
    assert flag in message
    assert name in message
    assert ", ".join(header.split("\t")) in message


def test_pair_ids_of_tsv(tmp_path: Path) -> None:
    data = b"id\timage\tcaption\na\tA\tx\nb\t\ty\n"
    assert read_lines(tmp_path, "tsv", data, pair_id="image").pair_ids == ["A", ""]
    assert read_lines(tmp_path, "tsv", b"caption\nx\n", require_id=False).pair_ids == [""]
