"""Captions in TSV and JSON lines: every line is rows or rejects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import Everything, read_all
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.errors import InputError
from nnn_core.listing import describe_shard
from nnn_core.readers import Columns, holds_vectors
from nnn_core.readers.rows import caption_rows, text_of
from nnn_core.rejects import Reject


def read_lines(tmp_path: Path, suffix: str, data: bytes, modality: str = "text", **columns: object) -> Everything:
    path = tmp_path / f"captions.{suffix}"
    path.write_bytes(data)
    return read_all(path, modality, **columns)  # type: ignore[arg-type]


def read_records(tmp_path: Path, records: list[object], **columns: object) -> Everything:
    return read_lines(tmp_path, "jsonl", "".join(json.dumps(r) + "\n" for r in records).encode(), **columns)


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
    assert found.rejects[1].detail == "3 fields, the header has 2"


def test_tsv_columns(tmp_path: Path) -> None:
    data = b"url\ttitle\tkey\timage\nu\tt\tk\ti\n"
    found = read_lines(tmp_path, "tsv", data, caption="title", pair_id="image")
    assert (found.ids, found.pair_ids, found.items) == (["k"], ["i"], ["t"])
    found = read_lines(tmp_path, "tsv", data, caption="title", id="url")
    assert (found.ids, found.pair_ids) == (["u"], ["u"])


@pytest.mark.parametrize("order", [("id", "key"), ("key", "image_path"), ("id", "image_path")])
def test_the_first_default_id_is_taken(tmp_path: Path, order: tuple[str, str]) -> None:
    data = f"{order[1]}\t{order[0]}\tcaption\nsecond\tfirst\tx\n".encode()
    assert read_lines(tmp_path, "tsv", data).ids == ["first"]
    record = {order[1]: "second", order[0]: "first", "caption": "x"}
    assert read_records(tmp_path, [record]).ids == ["first"]


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


def test_references_without_ids_are_numbered(tmp_path: Path) -> None:
    found = read_lines(tmp_path, "tsv", b"caption\none\n\ntwo\n", require_id=False)
    assert (found.ids, found.items) == (["line 2", "line 4"], ["one", "two"])
    found = read_records(tmp_path, [{"caption": "one"}, {"caption": ["a", "b"]}], require_id=False)
    assert found.ids == ["line 1", "line 2#0", "line 2#1"]
    assert found.pair_ids == ["", "", ""]


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
    found = read_lines(tmp_path, "jsonl", b"\n".join(lines))
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


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_an_id_column_of_the_other_side_is_not_asked_for(tmp_path: Path, suffix: str) -> None:
    data = {"tsv": b"caption\nx\n", "jsonl": b'{"caption": "x"}\n'}[suffix]
    found = read_lines(tmp_path, suffix, data, id="photo", require_id=False, inherited=("id",))
    assert (found.ids, found.pair_ids) == ([f"line {2 if suffix == 'tsv' else 1}"], [""])
    data = {"tsv": b"id\tcaption\na\tx\n", "jsonl": b'{"id": "a", "caption": "x"}\n'}[suffix]
    assert read_lines(tmp_path, suffix, data, id="photo", require_id=False, inherited=("id",)).ids == ["a"]


def test_a_broken_pair_id_is_rejected(tmp_path: Path) -> None:
    found = read_lines(tmp_path, "jsonl", b'{"id": "a", "image": "\\udc00", "caption": "x"}', pair_id="image")
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


def test_pair_ids_of_tsv(tmp_path: Path) -> None:
    data = b"id\timage\tcaption\na\tA\tx\nb\t\ty\n"
    assert read_lines(tmp_path, "tsv", data, pair_id="image").pair_ids == ["A", ""]
    assert read_lines(tmp_path, "tsv", b"caption\nx\n", require_id=False).pair_ids == [""]


LINES = st.lists(
    st.one_of(
        st.binary(max_size=20).filter(lambda line: b"\n" not in line),
        st.fixed_dictionaries({}, optional={"id": st.text(max_size=3), "caption": st.text(max_size=3)}).map(
            lambda record: json.dumps(record).encode()
        ),
    ),
    max_size=20,
)


@given(LINES)
def test_every_line_is_a_row_or_a_reject(tmp_path: Path, lines: list[bytes]) -> None:
    lines_read = sum(1 for line in lines if line.rstrip(b"\r\n"))
    found = read_lines(tmp_path, "jsonl", b"\n".join(lines))
    assert len(found.ids) + len(found.rejects) == lines_read
    found = read_lines(tmp_path, "tsv", b"\n".join([b"id\tcaption", *lines]))
    assert len(found.ids) + len(found.rejects) == lines_read
    for name, text in zip(found.ids, found.items, strict=True):
        assert f"{name}\t{text}".encode() in [line.rstrip(b"\r\n") for line in lines]


@given(st.text(), st.one_of(st.none(), st.text(), st.lists(st.one_of(st.text(), st.none())), st.integers()))
def test_captions_of_one_value(row_id: str, value: object) -> None:
    rows = list(caption_rows(row_id, None, value))
    accepted = [row for row in rows if not isinstance(row, Reject)]
    captions = value if isinstance(value, list) else [value]
    assert [row.item for row in accepted] == [c for c in captions if isinstance(c, str) and c.strip()]
    assert len(rows) == max(1, len(captions))
    assert all(row.pair_id == row_id for row in accepted)
    assert len({row.id for row in accepted}) == len(accepted)


@pytest.mark.parametrize(
    ("value", "text"), [("x", "x"), ("", None), (7, "7"), (-1, "-1"), (True, None), (1.0, None), (None, None)]
)
def test_text_of(value: object, text: str | None) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_images_cannot_be_read_from_captions(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InputError, match=rf"captions\.{suffix}' holds captions.*--candidate-modality"):
        read_lines(tmp_path, suffix, b"id\tcaption\n", "image")


@pytest.mark.parametrize("name", ["x.doc", "x", "x.tar.7z", "tar"])
def test_unknown_formats_list_the_known(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"no known format; .*\.jsonl, .*\.npy, \.parquet, \.tar, .*\.tsv"):
        describe_shard(str(tmp_path / name))


@pytest.mark.parametrize("name", ["x.tsv", "x.jsonl", "x.tar"])
def test_captions_and_tars_hold_no_vectors(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert holds_vectors(describe_shard(str(tmp_path / name)), "text", Columns()) is False


def test_header_only(tmp_path: Path) -> None:
    found = read_lines(tmp_path, "tsv", b"id\tcaption\n")
    assert (found.ids, found.rejects) == ([], [])
    assert read_lines(tmp_path, "jsonl", b"").ids == []


@pytest.mark.parametrize(
    ("name", "text"), [("a.jsonl", '{"id": "1", "caption": "x"}\n'), ("a.tsv", "id\tcaption\n1\tx\n")]
)
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_all(tmp_path / name, "text").ids == ["1"]
