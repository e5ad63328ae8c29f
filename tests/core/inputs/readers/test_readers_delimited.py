"""Captions in TSV and CSV: every record is rows or rejects."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars
import pytest
from fakes import Everything, packed, read_all
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.errors import InputError
from nnn_core.inputs.readers import _delimited as delimited
from nnn_core.inputs.readers import _records as records
from nnn_core.inputs.readers import format_of
from nnn_core.inputs.readers._records import is_blank


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
    assert found.rejects[1].detail == "the line has 3 fields, the first line has 2"


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


def test_another_separator_of_a_tsv_is_named(tmp_path: Path) -> None:
    for columns in ({"id": "@sha256"}, {"id": "id"}):
        with pytest.raises(InputError, match=r"one column \(fields of a \.csv are separated by commas"):
            read_lines(tmp_path, "tsv", b"id|caption\na|x\n", **columns)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_separator_of_a_csv_is_told_from_its_header(tmp_path: Path, separator: str) -> None:
    """As spreadsheets write it in many countries."""
    captions = [f"a{separator} b", 'the "big", cat', "two\nlines", "plain, text"]
    sink = io.StringIO()
    csv.writer(sink, delimiter=separator).writerows([("id", "caption"), *enumerate(captions)])
    found = read_lines(tmp_path, "csv", b"\xef\xbb\xbf" + sink.getvalue().encode())
    assert (found.ids, found.items) == (["0", "1", "2", "3"], captions)


def test_a_header_of_text_has_no_separator_but_commas(tmp_path: Path) -> None:
    data = b"a cat; 2 dogs\nshe said: x; y\n"
    assert read_lines(tmp_path, "csv", data, caption="#1", require_id=False).items == data.decode().splitlines()


def test_pair_ids_of_tsv(tmp_path: Path) -> None:
    data = b"id\timage\tcaption\na\tA\tx\nb\t\ty\n"
    assert read_lines(tmp_path, "tsv", data, pair_id="image").pair_ids == ["A", ""]
    assert read_lines(tmp_path, "tsv", b"caption\nx\n", require_id=False).pair_ids == [""]


def test_tsv_without_header(tmp_path: Path) -> None:
    """The layout of CC3M: caption, tab, address."""
    data = b"a cat\thttp://x/1.jpg\nzwei H\xc3\xbcte\thttp://x/2.jpg\nonly one\n\thttp://x/3.jpg\n"
    found = read_lines(tmp_path, "tsv", data, caption="#1", id="#2")
    assert (found.ids, found.items) == (["http://x/1.jpg", "http://x/2.jpg"], ["a cat", "zwei Hüte"])
    assert found.reasons == [("line 3", "malformed row"), ("http://x/3.jpg", "empty caption")]
    found = read_lines(tmp_path, "tsv", data, caption="#1", pair_id="#2", require_id=False)
    assert (found.ids[0], found.pair_ids[0]) == ("line 1", "http://x/1.jpg")
    assert read_lines(tmp_path, "tsv", b"", caption="#1", id="#2").ids == []


def test_a_byte_order_mark_is_no_part_of_the_first_caption(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbfa cat\tu\n"
    assert read_lines(tmp_path, "tsv", data, caption="#1", id="#2").items == ["a cat"]
    assert read_lines(tmp_path, "csv", data.replace(b"\t", b","), caption="#1", id="#2").items == ["a cat"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"caption": "#3", "id": "#2"}, r"no column '#3' \(--caption-column\).*; it has: #1, #2"),
        ({"caption": "#1", "id": "url"}, r"no column 'url' \(--id-column\).*; it has: #1, #2"),
        ({"caption": "#1"}, r"no column for the id; it has: #1, #2.*--id-column @sha256"),
        ({"id": "#2"}, r"no column for the caption; it has: #1, #2.*--caption-column"),
        ({"caption": "#0", "id": "#2"}, r"no column '#0'"),
    ],
)
def test_positions_that_cannot_be_read(tmp_path: Path, columns: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_lines(tmp_path, "tsv", b"a\tb\n", **columns)


def test_a_position_for_the_ids_of_the_other_side_says_nothing(tmp_path: Path) -> None:
    data = b"caption\nx\n"
    assert read_lines(tmp_path, "tsv", data, id="#2", require_id=False, inherited=("id",)).items == ["x"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv(tmp_path: Path, end: str) -> None:
    text = end.join(["\ufeffid,caption", '1,"a ""big"" cat, sitting"', "", f'2,"two{end}lines"', "3, plain "])
    found = read_lines(tmp_path, "csv", text.encode())
    assert found.ids == ["1", "2", "3"]
    assert found.items == ['a "big" cat, sitting', f"two{end}lines", " plain "]
    assert found.rejects == []


def test_csv_rejects(tmp_path: Path) -> None:
    lines = [
        b"id,caption",
        b"a,good",
        b"b",
        b"c,d,e",
        b'd,"x"y',
        b"\xff,x",
        b"e,\xff",
        b"f, ",
        b",x",
        b'g,"open',
        b"h,x",
    ]
    found = read_lines(tmp_path, "csv", b"\n".join(lines))
    assert found.ids == ["a"]
    assert found.reasons == [
        ("line 3", "malformed row"),
        ("line 4", "malformed row"),
        ("line 5", "malformed row"),
        (r"'\udcff'", "not UTF-8"),
        ("'e'", "not UTF-8"),
        ("f", "empty caption"),
        ("line 9", "no id"),
        ("line 10", "malformed row"),
        ("line 11", "malformed row"),
    ]
    assert found.rejects[-1].detail == "unexpected end of data"


def test_a_bare_carriage_return_in_a_first_line(tmp_path: Path) -> None:
    """Bare fields of a CSV cannot hold one; TSV knows no line breaks but its own."""
    found = read_lines(tmp_path, "csv", b"a\r,x\nb,y\n", id="#1", caption="#2")
    assert (found.ids, found.reasons) == (["b"], [("line 1", "malformed row")])
    assert found.rejects[0].detail == "new-line character seen in unquoted field"
    found = read_lines(tmp_path, "tsv", b"a\r\tx\nb\ty\n", id="#1", caption="#2")
    assert (found.ids, found.rejects) == (["a\r", "b"], [])


def test_csv_without_header(tmp_path: Path) -> None:
    found = read_lines(tmp_path, "csv", b'"a, b",1\nc,2\n', caption="#1", id="#2")
    assert (found.ids, found.items) == (["1", "2"], ["a, b", "c"])


def test_a_long_csv_field_is_a_caption(tmp_path: Path) -> None:
    """Longer than Python's own limit."""
    text = "x" * 200_000
    assert read_lines(tmp_path, "csv", f"id,caption\n1,{text}\n".encode()).items == [text]


@pytest.mark.parametrize("suffix", ["tsv", "csv"])
def test_what_is_too_long_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    for module in (records, delimited):
        monkeypatch.setattr(module, "LINE_BYTES", 100)
    monkeypatch.setattr(records, "_CHUNK_BYTES", 16)
    mark = b"\t" if suffix == "tsv" else b","
    lines = [b"id" + mark + b"caption", b"1" + mark + b"x" * 1000, b"2" + mark + b"y", b"3" + mark + b"z" * 99]
    found = read_lines(tmp_path, suffix, b"\n".join(lines))
    assert (found.ids, found.items) == (["2"], ["y"])
    assert found.reasons == [("line 2", "row too long"), ("line 4", "row too long")]


def test_a_csv_record_of_many_lines_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quote that nobody closed: every line that it swallows is a reject of its own."""
    monkeypatch.setattr(delimited, "LINE_BYTES", 100)
    found = read_lines(tmp_path, "csv", b'id,caption\n0,good\n1,"' + b"2,a line\n" * 30)
    assert found.ids[:1] == ["0"]
    assert len(found.ids) + len(found.rejects) == 31
    assert ("line 3", "row too long") in found.reasons


@pytest.mark.parametrize("suffix", ["tsv", "csv"])
def test_a_header_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(records, "LINE_BYTES", 100)
    monkeypatch.setattr(delimited, "LINE_BYTES", 100)
    with pytest.raises(InputError, match=rf"captions\.{suffix}': its header cannot be read: row too long"):
        read_lines(tmp_path, suffix, b"x" * 200 + b"\n1,2\n")


@pytest.mark.parametrize("suffix", ["tsv.gz", "csv.gz", "CSV.GZ", "tsv.zst", "csv.zst"])
def test_compressed(tmp_path: Path, suffix: str) -> None:
    mark = "\t" if "tsv" in suffix else ","
    data = packed(suffix, f"id{mark}caption\n1{mark}x\n".encode())
    assert read_lines(tmp_path, suffix, data).ids == ["1"]
    with pytest.raises(InputError, match=rf"captions\.{suffix}' cannot be decompressed"):
        read_lines(tmp_path, suffix, data[:-9])


@pytest.mark.parametrize(("suffix", "mark"), [("tsv", "\t"), ("csv", ",")])
def test_outline_names_the_columns(tmp_path: Path, suffix: str, mark: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_text(f"id{mark}caption\n")
    assert format_of(str(path)).outline(str(path)).columns == ("id", "caption")
    path.write_text("")
    assert format_of(str(path)).outline(str(path)).columns == ()


TEXT = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=6)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=8))
def test_what_python_writes_as_csv_is_read(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    sink = io.StringIO()
    csv.writer(sink).writerows([("id", "caption"), *rows])
    found = read_lines(tmp_path, "csv", sink.getvalue().encode())
    good = [(row_id, caption) for row_id, caption in rows if not is_blank(caption)]
    assert list(zip(found.ids, found.items, strict=True)) == good
    assert len(found.rejects) == len(rows) - len(good)


#: Captions as people have them: what a writer would quote, and what looks as if one had.
AWKWARD = st.sampled_from(
    ["plain", 'the "big" cat', '"Stay," he said', "two\nlines", "tab\there", '"all of it"', "a, b"]
)


@given(
    st.lists(AWKWARD, min_size=1, max_size=8), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
)
def test_what_python_writes_as_tsv_is_read(tmp_path: Path, captions: list[str], quoting: int) -> None:
    sink = io.StringIO()
    rows = [(f"i{number}", caption) for number, caption in enumerate(captions)]
    csv.writer(sink, "excel-tab", quoting=quoting).writerows([("id", "caption"), *rows])  # type: ignore[arg-type]
    found = read_lines(tmp_path, "tsv", sink.getvalue().encode())
    assert list(zip(found.ids, found.items, strict=True)) == rows
    assert found.rejects == []


@pytest.mark.parametrize("style", ["necessary", "always", "non_numeric"])
def test_what_polars_writes_as_tsv_is_read(tmp_path: Path, style: str) -> None:
    captions = ['the "big" cat', "two\nlines", "plain", '"Stay," he said', "tab\there"]
    frame = polars.DataFrame({"id": [1, 2, 3, 4, 5], "caption": captions})
    data = frame.write_csv(separator="\t", quote_style=style).encode()  # type: ignore[call-overload]
    assert read_lines(tmp_path, "tsv", data).items == captions


@given(st.lists(AWKWARD.filter(lambda text: not set(text) & set("\n\t")), min_size=1, max_size=8))
def test_bare_text_keeps_its_quotes(tmp_path: Path, captions: list[str]) -> None:
    """As the files of Conceptual Captions have it: nothing is quoted, so that marks are part of captions."""
    captions = ['one with "marks" inside', *captions]
    data = "".join(f"{caption}\thttp://x/{number}\n" for number, caption in enumerate(captions)).encode()
    assert read_lines(tmp_path, "tsv", data, caption="#1", id="#2").items == captions


def test_a_broken_row_does_not_change_what_the_others_show(tmp_path: Path) -> None:
    captions = [f'the "{number}" cat\nsits' for number in range(9)]
    sink = io.StringIO()
    csv.writer(sink, "excel-tab").writerows([("id", "caption"), *enumerate(captions)])
    lines = sink.getvalue().splitlines(keepends=True)
    found = read_lines(tmp_path, "tsv", "".join([*lines[:3], 'x\t"open" end\r\n', *lines[3:]]).encode())
    assert found.items == captions
    assert found.reasons == [("line 4", "malformed row")]


def test_lines_whose_quotes_happen_to_match_stay_lines(tmp_path: Path) -> None:
    found = read_lines(tmp_path, "tsv", b'id\tcaption\na\t"open at the start\nb\tshut at the end"\n')
    assert found.items == ['"open at the start', 'shut at the end"']


def test_marks_behind_a_backslash(tmp_path: Path) -> None:
    """As Spark writes CSV."""
    data = b'id,caption\n1,"a \\"big\\" cat, sitting"\n2,"so, plain"\n3,a dog\n'
    assert read_lines(tmp_path, "csv", data).items == ['a "big" cat, sitting', "so, plain", "a dog"]


def test_a_backslash_that_means_nothing_stays(tmp_path: Path) -> None:
    data = b'id,caption\n1,"a ""big"" cat, C:\\x"\n2,so \\ plain\n'
    assert read_lines(tmp_path, "csv", data).items == ['a "big" cat, C:\\x', "so \\ plain"]


@given(st.binary(max_size=60))
def test_any_bytes_are_rows_or_rejects(tmp_path: Path, data: bytes) -> None:
    for suffix in ("tsv", "csv"):
        found = read_lines(tmp_path, suffix, b"id,caption\tcaption\n" + data, caption="#1", require_id=False)
        assert all(isinstance(item, str) for item in found.items)
