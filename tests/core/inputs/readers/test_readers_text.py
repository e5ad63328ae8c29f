"""What holds for every format of text: lines, ids, and the formats' own names."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import Everything, read_all
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.errors import InputError
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns, holds_vectors
from nnn_core.inputs.readers._records import caption_rows, is_blank, text_of
from nnn_core.inputs.rejects import Reject


def read_lines(tmp_path: Path, suffix: str, data: bytes, modality: str = "text", **columns: object) -> Everything:
    path = tmp_path / f"captions.{suffix}"
    path.write_bytes(data)
    return read_all(path, modality, **columns)  # type: ignore[arg-type]


def read_records(tmp_path: Path, records: list[object], **columns: object) -> Everything:
    return read_lines(tmp_path, "jsonl", "".join(json.dumps(r) + "\n" for r in records).encode(), **columns)


@pytest.mark.parametrize("order", [("id", "key"), ("key", "image_path"), ("id", "image_path")])
def test_the_first_default_id_is_taken(tmp_path: Path, order: tuple[str, str]) -> None:
    data = f"{order[1]}\t{order[0]}\tcaption\nsecond\tfirst\tx\n".encode()
    assert read_lines(tmp_path, "tsv", data).ids == ["first"]
    record = {order[1]: "second", order[0]: "first", "caption": "x"}
    assert read_records(tmp_path, [record]).ids == ["first"]


NOTHING = ["", " ", "\u3000", "\ufeff", "\u200b", "\0", "\u200b \u2060\xad", "\u3164", "\u2800", "\ufe0f", "\r\x1f"]


@pytest.mark.parametrize("caption", NOTHING)
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_captions_of_nothing_that_shows_are_empty(tmp_path: Path, caption: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "jsonl":
        path.write_text(
            "".join(json.dumps({"id": row, "caption": text}) + "\n" for row, text in (("a", caption), ("b", "x")))
        )
    elif suffix == "csv":
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows([("id", "caption"), ("a", caption), ("b", "x")])
    else:
        pq.write_table(pa.table({"id": ["a", "b"], "caption": [caption, "x"]}), path)
    found = read_all(path)
    assert (found.ids, found.reasons) == (["b"], [("a", "empty caption")])


@pytest.mark.parametrize("text", ["\u200bx", "\u2764\ufe0f", "\u0301a", "\u3042", "\U0001f468\u200d\U0001f469", "."])
def test_what_shows_is_a_caption(text: str) -> None:
    assert not is_blank(text)


def test_references_without_ids_are_numbered(tmp_path: Path) -> None:
    found = read_lines(tmp_path, "tsv", b"caption\none\n\ntwo\n", require_id=False)
    assert (found.ids, found.items) == (["line 2", "line 4"], ["one", "two"])
    found = read_records(tmp_path, [{"caption": "one"}, {"caption": ["a", "b"]}], require_id=False)
    assert found.ids == ["line 1", "line 2#0", "line 2#1"]
    assert found.pair_ids == ["", "", ""]


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_an_id_column_of_the_other_side_is_not_asked_for(tmp_path: Path, suffix: str) -> None:
    data = {"tsv": b"caption\nx\n", "jsonl": b'{"caption": "x"}\n'}[suffix]
    found = read_lines(tmp_path, suffix, data, id="photo", require_id=False, inherited=("id",))
    assert (found.ids, found.pair_ids) == ([f"line {2 if suffix == 'tsv' else 1}"], [""])
    data = {"tsv": b"id\tcaption\na\tx\n", "jsonl": b'{"id": "a", "caption": "x"}\n'}[suffix]
    assert read_lines(tmp_path, suffix, data, id="photo", require_id=False, inherited=("id",)).ids == ["a"]


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
    assert [row.item for row in accepted] == [c for c in captions if isinstance(c, str) and not is_blank(c)]
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


@pytest.mark.parametrize("name", ["x.doc", "x", "x.tar.bak", "tar"])
def test_unknown_formats_list_the_known(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"no known format\. .*\.jsonl, .*\.npy, .*\.parquet, .*\.tar, .*\.tsv"):
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
