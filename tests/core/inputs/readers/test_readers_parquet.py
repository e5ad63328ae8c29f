"""Parquet: captions, and vectors in every kind of list."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import Everything, read_all
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.errors import InputError
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns, holds_vectors, outline_of
from nnn_core.inputs.readers import _columnar as reader
from nnn_core.inputs.readers import _image_columns as image_columns
from nnn_core.inputs.shards import ShardName

FLOATS = {pa.float16(): np.float16, pa.float32(): np.float32, pa.float64(): np.float64}
KINDS = {
    "list": pa.list_,
    "large_list": pa.large_list,
    "fixed_size_list": lambda value: pa.list_(value, 3),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shard.parquet"


def read_table(path: Path, columns: dict[str, object], modality: str = "text", **names: object) -> Everything:
    pq.write_table(pa.table(columns), path, row_group_size=4)
    return read_all(path, modality, **names)  # type: ignore[arg-type]


def lists(values: list[object], kind: str = "list", value: pa.DataType | None = None) -> pa.Array:
    value = value or pa.float32()
    if value == pa.float16():
        rows = [None if row is None else [None if x is None else np.float16(x) for x in row] for row in values]
        return pa.array(rows, KINDS[kind](value))
    return pa.array(values, KINDS[kind](value))


@pytest.mark.parametrize("value", FLOATS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_of_every_kind(path: Path, kind: str, value: pa.DataType) -> None:
    rows = [[0.5, -1.0, float(number)] for number in range(11)]
    found = read_table(path, {"id": [f"r{n}" for n in range(11)], "vector": lists(rows, kind, value)})
    assert found.ids == found.pair_ids == [f"r{n}" for n in range(11)]
    assert np.array(found.items).tolist() == rows
    assert np.array(found.items).dtype == FLOATS[value]
    assert found.rejects == []


@pytest.mark.parametrize("value", FLOATS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_null_coordinates_become_nan(path: Path, kind: str, value: pa.DataType) -> None:
    """Which the check of vectors rejects."""
    rows = [[1.0, 2.0, 3.0], [4.0, None, 6.0], [None, None, None]]
    found = read_table(path, {"id": list("abc"), "vector": lists(rows, kind, value)})
    items = np.array(found.items, np.float64)
    np.testing.assert_array_equal(items, [[1, 2, 3], [4, np.nan, 6], [np.nan] * 3])


@pytest.mark.parametrize("value", FLOATS, ids=str)
@pytest.mark.parametrize("kind", ["list", "large_list"])
def test_null_rows_are_rejected(path: Path, kind: str, value: pa.DataType) -> None:
    rows = [[1.0, 2.0, 3.0], None, [4.0, None, 6.0], [7.0, 8.0, 9.0], None]
    found = read_table(path, {"id": list("abcde"), "vector": lists(rows, kind, value)})
    assert found.ids == ["a", "c", "d"]
    assert found.reasons == [("b", "vector is null"), ("e", "vector is null")]


@pytest.mark.parametrize("kind", ["list", "large_list"])
def test_wrong_lengths(path: Path, kind: str) -> None:
    rows = [[1.0], [1.0, 2.0], [3.0, 4.0], [], [5.0, 6.0], [7.0, 8.0, 9.0], None]
    found = read_table(path, {"id": list("abcdefg"), "vector": lists(rows, kind)})
    assert found.ids == ["b", "c", "e"]
    assert np.array(found.items).tolist() == [[1, 2], [3, 4], [5, 6]]
    reasons = [(name, "vector has the wrong dimension") for name in "adf"] + [("g", "vector is null")]
    assert found.reasons == reasons
    assert found.rejects[0].detail == "1, most rows have 2"


def test_the_dimension_is_that_of_the_whole_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the first batch."""
    monkeypatch.setattr(reader, "BATCH_ROWS", 2)
    rows = [[1.0], [1.0], [1.0], *[[1.0, 2.0]] * 4]
    found = read_table(path, {"id": list("abcdefg"), "vector": lists(rows)})
    assert found.ids == list("defg")
    assert [name for name, _ in found.reasons] == list("abc")


@given(st.lists(st.one_of(st.none(), st.integers(0, 3)), max_size=14), st.sampled_from(["list", "large_list"]))
def test_every_row_is_read_or_rejected(path: Path, lengths: list[int | None], kind: str) -> None:
    rows = [None if length is None else [float(row)] * length for row, length in enumerate(lengths)]
    ids = [f"r{row}" if row % 4 else None for row in range(len(rows))]
    pq.write_table(pa.table({"id": pa.array(ids, pa.string()), "vector": lists(rows, kind)}), path, row_group_size=3)
    found = read_all(path)
    assert len(found.ids) + len(found.rejects) == len(rows)
    present = [length for length in lengths if length is not None]
    dim = min(present, key=lambda length: (-present.count(length), length), default=0)
    good = [row for row, length in enumerate(lengths) if length == dim and ids[row] is not None]
    assert found.ids == [ids[row] for row in good]
    assert [list(item) for item in found.items] == [rows[row] for row in good]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_batches_keep_rows_together(path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(reader, "BATCH_ROWS", batch)
    ids = [None if n in (4, 9) else f"r{n}" for n in range(12)]
    found = read_table(
        path,
        {"id": ids, "p": [f"p{n}" for n in range(12)], "vector": lists([[float(n), 1.0] for n in range(12)])},
        pair_id="p",
    )
    kept = [n for n in range(12) if n not in (4, 9)]
    assert found.ids == [f"r{n}" for n in kept]
    assert found.pair_ids == [f"p{n}" for n in kept]
    assert np.array(found.items)[:, 0].tolist() == kept
    assert found.reasons == [("row 4", "no id"), ("row 9", "no id")]


def test_references_without_ids_are_numbered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BATCH_ROWS", 2)
    vector = lists([[1.0]] * 5)
    assert read_table(path, {"vector": vector}, require_id=False).ids == [f"row {n}" for n in range(5)]
    named = read_table(path, {"id": ["a", None, "c", None, ""], "vector": vector}, require_id=False)
    assert named.ids == ["a", "row 1", "c", "row 3", "row 4"]
    assert named.pair_ids == ["a", "", "c", "", ""]


@pytest.mark.parametrize("payload", ["vector", "caption"])
def test_a_pair_column_without_a_value_is_no_pair(path: Path, payload: str) -> None:
    """Not the row's own id: the row belongs to no candidate."""
    values = lists([[1.0]] * 3) if payload == "vector" else ["x", "y", "z"]
    found = read_table(path, {"id": list("abc"), "pair": ["A", None, ""], payload: values}, pair_id="pair")
    assert found.pair_ids == ["A", "", ""]


@pytest.mark.parametrize("payload", ["vector", "caption"])
def test_an_empty_id_is_no_id(path: Path, payload: str) -> None:
    """As in every other format."""
    values = lists([[1.0], [2.0]]) if payload == "vector" else ["x", "y"]
    found = read_table(path, {"id": ["", "b"], payload: values})
    assert found.ids == ["b"]
    assert found.reasons == [("row 0", "no id")]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array(["7", "8"], pa.large_string()),
        pa.array(["7", "8"], pa.string_view()),
        pa.array([7, 8], pa.int64()),
        pa.array([7, 8], pa.uint8()),
        pa.array(["7", "8"]).dictionary_encode(),
    ],
    ids=lambda ids: str(ids.type),
)
def test_ids_are_strings_or_whole_numbers(path: Path, ids: pa.Array) -> None:
    assert read_table(path, {"id": ids, "vector": lists([[1.0], [2.0]])}).ids == ["7", "8"]


def test_a_column_without_any_value_is_one_of_missing_ids(path: Path) -> None:
    """Arrow gives it a type of its own."""
    found = read_table(path, {"id": ["a", "b"], "pair": pa.nulls(2), "vector": lists([[1.0], [2.0]])}, pair_id="pair")
    assert found.pair_ids == ["", ""]
    assert read_table(path, {"id": pa.nulls(1), "vector": lists([[1.0]])}).reasons == [("row 0", "no id")]
    assert read_table(path, {"id": pa.nulls(1), "vector": lists([[1.0]])}, require_id=False).ids == ["row 0"]


@pytest.mark.parametrize("ids", [pa.array([1.5, 2.0]), pa.array([True, False]), pa.array([b"a", b"b"])])
def test_other_ids_are_refused(path: Path, ids: pa.Array) -> None:
    said = rf"column 'id' is of type {ids.type}. Ids must be strings or whole numbers\. Name .* with --reference-id-"
    with pytest.raises(InputError, match=said):
        read_table(path, {"id": ids, "vector": lists([[1.0], [2.0]])}, side="reference-")


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        (pa.array([1.0, 2.0]), "of type double, not a list of floats. Name the column of the vectors with FLAG"),
        (pa.array([[1], [2]], pa.list_(pa.uint8())), "a list of uint8, not of floats. Unsigned bytes .* with FLAG"),
        (pa.array([1, 2]), "of type int64, not a list of floats"),
        (pa.array([[[1.0]], [[2.0]]]), "a list of list<.*>, not of floats. Write the vectors as .* with FLAG"),
    ],
)
def test_vectors_that_are_none(path: Path, vector: pa.Array, words: str) -> None:
    said = words.replace("FLAG", "--validation-vector-column")
    with pytest.raises(InputError, match=f"shard.parquet': column 'vector' is {said}"):
        read_table(path, {"id": ["a", "b"], "vector": vector}, side="validation-")


@pytest.mark.parametrize(
    ("present", "names", "flag"),
    [
        (("name", "vector"), {}, "--id-column"),
        (("id", "vector"), {"id": "uid"}, "--id-column"),
        (("id", "vector"), {"pair_id": "image"}, "--pair-id-column"),
        (("id", "vector"), {"vector": "emb"}, "--vector-column"),
        (("id", "words"), {}, "--caption-column"),
        (("id", "vector"), {"caption": "title"}, "--caption-column"),
        (("name", "caption"), {}, "--id-column"),
    ],
)
def test_missing_columns_name_the_flag(path: Path, present: tuple[str, str], names: dict[str, str], flag: str) -> None:
    payload = lists([[1.0]]) if present[1] == "vector" else ["x"]
    with pytest.raises(InputError) as caught:
        read_table(path, {present[0]: ["a"], present[1]: payload}, **names)
    message = str(caught.value)
    assert flag in message
    assert "shard.parquet" in message
    assert f"it has: {', '.join(present)}" in message
    assert all(repr(name) in message for name in names.values())


def test_captions(path: Path) -> None:
    captions = ["one", None, "", "  ", "five", "six"]
    found = read_table(path, {"id": ["a", "b", "c", "d", None, "f"], "caption": captions, "p": list("ABCDEF")})
    assert (found.ids, found.pair_ids, found.items) == (["a", "f"], ["a", "f"], ["one", "six"])
    assert found.reasons == [
        ("b", "no caption"),
        ("c", "empty caption"),
        ("d", "empty caption"),
        ("row 4", "no id"),
    ]
    assert read_all(path, pair_id="p").pair_ids == ["A", "F"]


def test_lists_of_captions(path: Path) -> None:
    captions = pa.array([["x", "y"], [], None, ["z", None]])
    found = read_table(path, {"id": list("abcd"), "caption": captions})
    assert (found.ids, found.pair_ids) == (["a#0", "a#1", "d#0"], ["a", "a", "d"])
    assert found.reasons == [("b", "no caption"), ("c", "no caption"), ("d#1", "no caption")]


@pytest.mark.parametrize("captions", [pa.array([1, 2]), pa.array([b"x", b"y"])])
def test_captions_that_are_no_text(path: Path, captions: pa.Array) -> None:
    found = read_table(path, {"id": ["a", "b"], "caption": captions})
    assert [reason for _, reason in found.reasons] == ["no caption"] * 2
    assert "the caption is of type" in found.rejects[0].detail


def test_a_compact_column_of_captions(path: Path) -> None:
    found = read_table(path, {"id": ["a", "b"], "caption": pa.array(["x", "x"]).dictionary_encode()})
    assert found.items == ["x", "x"]


@pytest.mark.parametrize("column", ["id", "caption"])
def test_text_that_is_not_utf8_names_the_file(path: Path, column: str) -> None:
    broken = pa.array([b"fine", b"\xff\xfe"]).view(pa.string())
    table = {"id": ["a", "b"], "caption": ["x", "y"], column: broken}
    with pytest.raises(InputError, match=r"shard\.parquet"):
        read_table(path, table)


@pytest.mark.parametrize(
    ("present", "names", "vectors"),
    [
        (("vector",), {}, True),
        (("embedding",), {}, True),
        (("caption",), {}, False),
        (("vector", "caption"), {"vector": "vector"}, True),
        (("vector", "caption"), {"caption": "caption"}, False),
        (("vector", "title"), {"caption": "title"}, False),
        (("emb", "caption"), {"vector": "emb"}, True),
        (("nothing",), {}, False),
    ],
)
def test_which_of_both_a_file_holds(path: Path, present: tuple[str, ...], names: dict[str, str], vectors: bool) -> None:
    columns = {name: lists([[1.0]]) if name in ("vector", "embedding", "emb") else ["x"] for name in present}
    pq.write_table(pa.table({"id": ["a"], **columns}), path)
    assert holds_vectors(describe_shard(str(path)), "text", Columns(**names)) is vectors


@pytest.mark.parametrize(
    ("present", "names", "vectors"),
    [
        (("caption",), {"vector": "emb"}, False),
        (("embedding",), {"caption": "title"}, True),
        (("title",), {"vector": "emb", "caption": "title"}, False),
        (("emb",), {"vector": "emb", "caption": "title"}, True),
        (("emb", "caption"), {"vector": "emb"}, True),
    ],
)
def test_names_of_the_other_side_do_not_say_what_a_file_holds(
    path: Path, present: tuple[str, ...], names: dict[str, str], vectors: bool
) -> None:
    columns = {name: lists([[1.0]]) if name in ("embedding", "emb") else ["x"] for name in present}
    pq.write_table(pa.table({"id": ["a"], **columns}), path)
    inherited = Columns(**names, require_id=False, inherited=("vector", "caption"))
    assert holds_vectors(describe_shard(str(path)), "text", inherited) is vectors


@pytest.mark.parametrize(("present", "vectors"), [("title", False), ("emb", True)])
def test_of_two_names_the_one_that_is_there_counts(path: Path, present: str, vectors: bool) -> None:
    pq.write_table(pa.table({"id": ["a"], present: lists([[1.0]]) if vectors else ["x"]}), path)
    assert holds_vectors(describe_shard(str(path)), "text", Columns(vector="emb", caption="title")) is vectors


def test_an_id_column_of_the_other_side_is_not_asked_for(path: Path) -> None:
    names = {"id": "photo", "require_id": False, "inherited": ("id",)}
    assert read_table(path, {"caption": ["x"]}, **names).ids == ["row 0"]
    assert read_table(path, {"id": ["a"], "caption": ["x"]}, **names).ids == ["a"]
    assert read_table(path, {"id": ["a"], "photo": ["b"], "caption": ["x"]}, **names).ids == ["b"]
    with pytest.raises(InputError, match="'photo'"):
        read_table(path, {"caption": ["x"]}, id="photo", require_id=False)


@pytest.mark.parametrize("names", [{}, {"vector": "vector", "caption": "caption"}])
def test_a_file_of_both_needs_a_word(path: Path, names: dict[str, str]) -> None:
    pq.write_table(pa.table({"id": ["a"], "vector": lists([[1.0]]), "caption": ["x"]}), path)
    with pytest.raises(InputError, match="Choose one with --caption-column or --vector-column"):
        holds_vectors(describe_shard(str(path)), "text", Columns(**names))


def test_the_first_default_vector_is_taken(path: Path) -> None:
    found = read_table(path, {"id": ["a"], "embedding": lists([[1.0]]), "vector": lists([[2.0]])})
    assert np.array(found.items).tolist() == [[2.0]]


def test_images_cannot_be_read_from_captions(path: Path) -> None:
    with pytest.raises(InputError, match=r"shard\.parquet' holds captions, but images are expected"):
        read_table(path, {"id": ["a"], "caption": ["x"]}, "image")


def test_vectors_are_of_either_modality(path: Path) -> None:
    assert read_table(path, {"id": ["a"], "vector": lists([[1.0]])}, "image").ids == ["a"]


def test_no_rows(path: Path) -> None:
    for kind in KINDS:
        assert read_table(path, {"id": pa.array([], pa.string()), "vector": lists([], kind)}).ids == []


@pytest.mark.parametrize("damage", ["cut", "footer", "magic", "page", "empty", "text"])
def test_broken_files_name_themselves(path: Path, damage: str) -> None:
    rng = np.random.default_rng(0)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rng.standard_normal(4000)), 4)
    pq.write_table(pa.table({"id": [str(n) for n in range(1000)], "vector": vectors}), path, compression="zstd")
    data = bytearray(path.read_bytes())
    if damage == "page":
        data[100:400] = bytes(300)
    elif damage == "footer":
        data[-60:-40] = b"\xff" * 20
    elif damage == "magic":
        data[-1] ^= 1
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"id,vector\n"}.get(damage, bytes(data)))
    with pytest.raises(InputError, match=r"shard\.parquet' is not a readable Parquet file"):
        read_all(path)


def test_truncation_is_always_an_error(path: Path) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "vector": lists([[1.0, 2.0], [3.0, 4.0]])}), path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="not a readable Parquet file"):
            read_all(path)


@pytest.mark.parametrize("name", ["id", "vector"])
def test_a_column_that_is_there_twice_names_the_file(path: Path, name: str) -> None:
    columns = [("id", pa.array(["a"])), ("vector", lists([[1.0]]))]
    columns += [pair for pair in columns if pair[0] == name]
    pq.write_table(pa.Table.from_arrays([array for _, array in columns], [label for label, _ in columns]), path)
    with pytest.raises(InputError, match=r"shard\.parquet"):
        read_all(path)


IMG2DATASET = {
    "url": ["http://a", "http://b", "http://c"],
    "caption": ["x", "y", "z"],
    "key": ["000000000", "000000001", "000000002"],
    "status": ["success", "failed_to_download", "failed_to_resize"],
    "error_message": [None, "HTTP Error 404: Not Found", None],
    "jpg": [b"image", None, None],
}


def test_images_of_img2dataset(path: Path) -> None:
    found = read_table(path, IMG2DATASET, "image")
    assert (found.ids, found.pair_ids, found.items) == (["000000000"], ["000000000"], [b"image"])
    assert found.reasons == [("000000001", "image is null"), ("000000002", "image is null")]
    assert found.rejects[0].detail == "status 'failed_to_download', error_message 'HTTP Error 404: Not Found'"
    assert found.rejects[1].detail == "status 'failed_to_resize'"
    assert read_all(path, "image", id="url").ids == ["http://a"]
    assert read_all(path, "text").items == ["x", "y", "z"]


@pytest.mark.parametrize("name", ["image", "jpg", "jpeg", "png", "webp"])
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
def test_images_of_every_name_and_type(path: Path, name: str, kind: pa.DataType) -> None:
    table = {"id": list("abc"), name: pa.array([b"1", None, b""], kind)}
    found = read_table(path, table, "image")
    assert (found.ids, found.items, found.reasons) == (["a", "c"], [b"1", b""], [("b", "image is null")])


def test_images_of_hugging_face(path: Path) -> None:
    """Nothing outside the file is opened, whatever the path says."""
    structs = [
        {"bytes": b"1", "path": "a.jpg"},
        {"bytes": None, "path": "/etc/passwd"},
        None,
        {"bytes": None, "path": None},
    ]
    found = read_table(path, {"id": list("abcd"), "image": structs}, "image")
    assert (found.ids, found.items) == (["a"], [b"1"])
    assert found.reasons == [(name, "image is null") for name in "bcd"]
    assert [reject.detail for reject in found.rejects] == [
        "only its path '/etc/passwd' is given, and paths are not followed",
        "",
        "",
    ]


def test_an_image_without_an_id_is_a_reject(path: Path) -> None:
    table = {"id": ["a", None], "jpg": [b"1", b"2"]}
    assert read_table(path, table, "image").reasons == [("row 1", "no id")]
    assert read_table(path, table, "image", require_id=False).ids == ["a", "row 1"]


def test_a_named_image_column(path: Path) -> None:
    table = {"id": ["a"], "photo": [b"1"], "jpg": [b"2"], "url": ["http://a"]}
    assert read_table(path, table, "image").items == [b"2"]
    assert read_table(path, table, "image", image="photo").items == [b"1"]
    with pytest.raises(InputError, match=r"no column 'img' \(--image-column\)"):
        read_table(path, table, "image", image="img")
    assert read_table(path, table, "image", image="url").reasons == [("a", "it is not an image in base64")]


def test_a_column_of_that_name_but_no_images_is_none(path: Path) -> None:
    """Such as the path of the image that a vector or a caption belongs to."""
    table = {"id": ["a"], "image": ["a.jpg"], "jpg": [b"1"]}
    assert read_table(path, table, "image").items == [b"1"]
    found = read_table(path, {"id": ["a"], "image": ["a.jpg"], "vector": lists([[1.0]])}, "image")
    assert np.array(found.items).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("present", "names", "vectors"),
    [
        (("vector", "jpg"), {"vector": "vector"}, True),
        (("vector", "jpg"), {"image": "jpg"}, False),
        (("emb", "jpg"), {"vector": "emb"}, True),
        (("vector", "caption"), {}, True),
        (("vector", "jpg"), {"image": "jpg", "inherited": ("image",)}, False),
        (("vector", "png"), {"image": "jpg", "inherited": ("image",)}, None),
        (("vector", "jpg"), {}, None),
        (("vector", "jpg"), {"vector": "vector", "image": "jpg"}, None),
        (("vector", "jpg", "caption"), {"caption": "caption"}, None),
    ],
)
def test_images_or_vectors(path: Path, present: tuple[str, ...], names: dict[str, str], vectors: bool | None) -> None:
    kinds = {"jpg": [b"1"], "png": [b"1"], "caption": ["x"]}
    columns = {name: kinds.get(name, lists([[1.0]])) for name in present}
    pq.write_table(pa.table({"id": ["a"], **columns}), path)
    if vectors is not None:
        assert holds_vectors(describe_shard(str(path)), "image", Columns(**names)) is vectors
        return
    with pytest.raises(InputError, match=r"both an image and a vector column. Choose one .*--image-column or --vector"):
        holds_vectors(describe_shard(str(path)), "image", Columns(**names))


def test_images_are_read_few_at_a_time_where_they_are_large(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"id": [f"r{n}" for n in range(40)], "jpg": [bytes([n]) * 10_000 for n in range(40)]}
    pq.write_table(pa.table(table), path, row_group_size=20, use_dictionary=False, compression="none")
    sizes: list[int] = []
    read = image_columns.image_row
    monkeypatch.setattr(image_columns, "image_row", lambda *args: sizes.append(args[2].num_rows) or read(*args))
    monkeypatch.setattr(image_columns, "BATCH_BYTES", 50_000)
    found = read_all(path, "image")
    assert found.items == table["jpg"]
    assert max(sizes) <= 5
    monkeypatch.setattr(image_columns, "BATCH_BYTES", 1 << 20)
    monkeypatch.setattr(image_columns, "_MOST_BYTES", 450_000)
    sizes.clear()
    assert read_all(path, "image").items == table["jpg"]
    assert max(sizes) == 2


def test_an_image_beyond_the_limit_is_a_reject(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_columns, "IMAGE_BYTES", 3)
    found = read_table(path, {"id": list("ab"), "jpg": [b"123", b"1234"]}, "image")
    assert (found.ids, found.reasons) == (["a"], [("b", "too large")])


@pytest.mark.parametrize(
    ("column", "captions", "reasons"),
    [
        ("meta.text", ["one"], ["no caption", "no caption"]),
        ("listed.text", ["x", "y"], ["no caption", "no caption"]),
        ("listed.0.text", ["x"], ["no caption", "no caption"]),
        ("dotted.name", ["d", "e", "f"], []),
        ("meta.none", [], ["no caption"] * 3),
    ],
)
def test_captions_by_path(path: Path, column: str, captions: list[str], reasons: list[str]) -> None:
    table = {
        "id": list("abc"),
        "meta": [{"text": "one"}, {"text": None}, None],
        "listed": [[{"text": "x"}, {"text": "y"}], [], None],
        "dotted.name": ["d", "e", "f"],
    }
    found = read_table(path, table, caption=column)
    assert found.items == captions
    assert [reason for _, reason in found.reasons] == reasons
    with pytest.raises(InputError, match=r"no column 'more\.text' \(--caption-column\)"):
        read_all(path, caption="more.text")


#: Two columns of one row; the description of the second has a list of counts of the wrong length.
ABORTS = (
    "c-nnZO;5r=5S?AIq9F!Iw&^B4aG~)42qYLaaF`+xBPb;?=&?b9;0IVh2uFX9Kgb{8#k)Vi*%pyR;~aKp-^_da_M?fdoCt{>v0E2h"
    "KpbE*$^gI>AmTz#5f~Mk(98qaW3Iv6Sd6OM2~HztjKg2#`CsI@!REiovRD8^8+UHI53UG-h$Oke`!`9bo76<h4P&e0jwb!#;}X-k"
    "G-b*HQ$%C|w5U}5g6mxO^o5nT!s}LLiu{3~oq()xC=y$f7AObn65o5QbY7YD!q$ENr=-6#om*l3lYumi2)0@m?c?A~#v9vLQRpFs"
    "gF&1j&d}~*6|sk9zl64p*icCs@ze)?W(?9G^T+c6i5^l?saAZ@7pdSXItm<IU)fo=eKf_!LiIanJ4(N%>L*LF70J2u{nc>YDk_Tv"
    "-roiK&eBDx1V&=ydQa2tB;6T}(yr$XXNl*oH>P_`<O`W>CMQ$$V(QU8=vy@Dt9=1!ZgSW"
)


def test_a_description_at_which_arrow_ends_the_process(path: Path) -> None:
    path.write_bytes(zlib.decompress(base64.b85decode(ABORTS)))
    with pytest.raises(InputError, match="histogram size mismatch"):
        read_all(path)
    with pytest.raises(InputError, match="histogram size mismatch"):
        outline_of(ShardName(str(path)))
