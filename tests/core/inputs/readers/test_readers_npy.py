"""clip-retrieval pairs: vectors in a .npy and their ids in Parquet."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import Everything, read_all
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.errors import InputError
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns, holds_vectors
from nnn_core.inputs.readers import _npy as npy


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "img_emb_0.npy"


def write_ids(path: Path, **columns: object) -> None:
    pq.write_table(pa.table(columns), path.parent / "metadata_0.parquet")


def read_pair(path: Path, vectors: npt.NDArray[np.generic], ids: object, **columns: object) -> Everything:
    np.save(path, vectors)
    write_ids(path, id=ids)
    return read_all(path, "image", **columns)


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_vectors_of_every_float(path: Path, kind: str, version: tuple[int, int]) -> None:
    vectors = (np.arange(21).reshape(7, 3) / 8).astype(kind)
    with path.open("wb") as stream:
        np.lib.format.write_array(stream, vectors, version)
    write_ids(path, id=[f"r{n}" for n in range(7)])
    found = read_all(path, "image")
    assert found.ids == found.pair_ids == [f"r{n}" for n in range(7)]
    np.testing.assert_array_equal(np.array(found.items), vectors)
    assert holds_vectors(describe_shard(str(path)), "text", Columns())


@given(st.integers(0, 30), st.integers(1, 40), st.sets(st.integers(0, 29)))
def test_every_row_is_read_or_rejected(path: Path, rows: int, step: int, without: set[int]) -> None:
    vectors = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    ids = pa.array([None if row in without else f"r{row}" for row in range(rows)], pa.string())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(npy, "BATCH_ROWS", step)
        found = read_pair(path, vectors, ids)
    kept = [row for row in range(rows) if row not in without]
    assert found.ids == [f"r{row}" for row in kept]
    assert [list(item) for item in found.items] == vectors[kept].tolist()
    assert found.reasons == [(f"row {row}", "no id") for row in range(rows) if row in without]


def test_batches_are_bounded_in_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npy, "BATCH_BYTES", 100)
    vectors = np.random.default_rng(0).standard_normal((9, 10)).astype(np.float32)
    found = read_pair(path, vectors, [str(n) for n in range(9)])
    np.testing.assert_array_equal(np.array(found.items), vectors)


def test_ids_and_pair_ids(path: Path) -> None:
    np.save(path, np.eye(3, dtype=np.float32))
    write_ids(path, caption=["x", "y", "z"], image_path=["a", "b", None], pair=[7, None, 9], key=[1, 2, 3])
    found = read_all(path, "text", pair_id="pair")
    assert (found.ids, found.pair_ids) == (["1", "2", "3"], ["7", "", "9"])
    found = read_all(path, "text", id="image_path")
    assert (found.ids, found.reasons) == (["a", "b"], [("row 2", "no id")])


def test_ids_of_every_type(path: Path) -> None:
    for ids in (pa.array(["7", "8"], pa.string_view()), pa.array(["7", "8"], pa.large_string()), pa.array([7, 8])):
        assert read_pair(path, np.eye(2, dtype=np.float32), ids).ids == ["7", "8"]
    assert len(read_pair(path, np.eye(2, dtype=np.float32), pa.nulls(2)).rejects) == 2


@pytest.mark.parametrize("column", ["id", "pair"])
def test_numbers_with_a_point_are_no_ids(path: Path, column: str) -> None:
    """A reader of spreadsheets makes such of whole numbers with gaps; they would match nothing."""
    np.save(path, np.eye(2, dtype=np.float32))
    write_ids(path, **{"id": ["a", "b"], "pair": ["A", "B"], column: [1.0, None]})
    with pytest.raises(InputError, match=rf"metadata_0\.parquet': column '{column}' is of type double. Ids must be"):
        read_all(path, "image", pair_id="pair")


def test_an_empty_id_is_no_id(path: Path) -> None:
    assert read_pair(path, np.eye(2, dtype=np.float32), ["", "b"]).reasons == [("row 0", "no id")]


def test_references_without_ids_are_numbered(path: Path) -> None:
    np.save(path, np.eye(3, dtype=np.float32))
    write_ids(path, caption=["x", "y", "z"])
    assert read_all(path, "text", require_id=False).ids == ["row 0", "row 1", "row 2"]
    assert read_all(path, "text", require_id=False).pair_ids == ["", "", ""]
    write_ids(path, id=["a", None, "c"])
    assert read_all(path, "text", require_id=False).ids == ["a", "row 1", "c"]
    assert read_all(path, "text", require_id=False).pair_ids == ["a", "", "c"]


@pytest.mark.parametrize(("present", "flag"), [("name", "--id-column"), ("caption", "--id-column")])
def test_missing_columns_name_the_flag(path: Path, present: str, flag: str) -> None:
    np.save(path, np.eye(1, dtype=np.float32))
    write_ids(path, **{present: ["x"]})
    with pytest.raises(InputError, match=rf"metadata_0\.parquet.*it has: {present}\..*{flag}"):
        read_all(path, "image")
    with pytest.raises(InputError, match=rf"metadata_0\.parquet' has no column 'uid' \({flag}\)"):
        read_all(path, "image", id="uid")


@pytest.mark.parametrize("ids", [2, 4])
def test_lengths_must_agree(path: Path, ids: int) -> None:
    with pytest.raises(InputError) as caught:
        read_pair(path, np.eye(3, dtype=np.float32), [str(n) for n in range(ids)])
    message = str(caught.value)
    assert "img_emb_0.npy' has 3 vectors" in message
    assert f"metadata_0.parquet' has {ids} rows" in message


def test_objects_are_never_unpickled(path: Path, tmp_path: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "canary"),)

    array = np.empty((2, 1), object)
    array[:, 0] = [Canary(), Canary()]
    np.save(path, array, allow_pickle=True)
    write_ids(path, id=["a", "b"])
    with pytest.raises(InputError, match=r"img_emb_0\.npy' holds object of shape \(2, 1\)"):
        read_all(path, "image")
    assert not (tmp_path / "canary").exists()
    path.write_bytes(path.read_bytes()[128:])
    with pytest.raises(InputError, match="not a readable"):
        read_all(path, "image")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, np.float32),
        np.zeros((2, 2, 2), np.float32),
        np.zeros((2, 2), np.int64),
        np.zeros((2, 2), np.complex64),
        np.zeros((2, 2), [("x", "<f4")]),
        np.array([["a", "b"]] * 2),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_other_arrays_are_refused(path: Path, array: npt.NDArray[np.generic]) -> None:
    with pytest.raises(
        InputError, match="hold rows of float16, bfloat16, float32 or float64 vectors in C order"
    ) as caught:
        read_pair(path, array, ["a", "b"])
    assert str(array.dtype) in str(caught.value)
    assert str(array.shape) in str(caught.value)


def test_fortran_order_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match=r"shape \(3, 2\) in Fortran order"):
        read_pair(path, np.asfortranarray(np.arange(6.0).reshape(3, 2)), ["a", "b", "c"])


def test_vectors_without_coordinates(path: Path) -> None:
    """An InputError or rows without length, not a crash."""
    found = read_pair(path, np.zeros((2, 0), np.float32), ["a", "b"])
    assert found.ids == ["a", "b"]
    assert np.array(found.items).shape == (2, 0)


def test_no_rows(path: Path) -> None:
    found = read_pair(path, np.zeros((0, 4), np.float32), pa.array([], pa.string()))
    assert (found.ids, found.rejects) == ([], [])


def test_truncation_is_always_an_error(path: Path) -> None:
    np.save(path, np.arange(20, dtype=np.float32).reshape(5, 4))
    write_ids(path, id=list("abcde"))
    whole = path.read_bytes()
    assert len(whole) == 128 + 80
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"img_emb_0\.npy' (is not a readable|is damaged)"):
            read_all(path, "image")
    assert len(whole) - 1 == length


def test_bytes_beyond_the_last_row_are_an_error(path: Path) -> None:
    np.save(path, np.eye(2, dtype=np.float32))
    write_ids(path, id=["a", "b"])
    path.write_bytes(path.read_bytes() + b"\0" * 8)
    with pytest.raises(InputError, match="promises 2 x 2 values of float32, but 24 bytes follow"):
        read_all(path, "image")


def test_a_cut_after_some_batches_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npy, "BATCH_ROWS", 2)
    np.save(path, np.arange(20, dtype=np.float32).reshape(5, 4))
    write_ids(path, id=list("abcde"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        InputError, match="is damaged: its header promises 5 x 4 values of float32, but 79 bytes follow"
    ):
        read_all(path, "image")


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"PK\x03\x04", b"\x93NUMPY\x09\x00" + b"x" * 100])
def test_what_is_no_array_is_an_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    write_ids(path, id=["a"])
    with pytest.raises(InputError, match=r"img_emb_0\.npy' is not a readable \.npy file"):
        read_all(path, "image")


def header(text: str) -> bytes:
    padded = text.encode("latin1").ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "(" * 100,
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 99999999999999999999)}",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (2, 4)}",
        "{'descr': ['x'], 'fortran_order': False, 'shape': (2, 4)}",
        "__import__('os').mkdir('canary')",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }'",
        "{'descr': '''<f4, 'fortran_order': False, 'shape': (2, 4), }",
    ],
    ids=lambda text: text[:12] + text[-14:],
)
def test_odd_headers_are_errors(path: Path, text: str) -> None:
    path.write_bytes(header(text) + bytes(32))
    write_ids(path, id=["a", "b"])
    with pytest.raises(InputError, match=r"img_emb_0\.npy'"):
        read_all(path, "image")
    assert not Path("canary").exists()


def test_a_flipped_bit_of_the_header_is_an_error_or_harmless(path: Path) -> None:
    sink = io.BytesIO()
    np.save(sink, np.arange(8, dtype=np.float32).reshape(2, 4))
    whole = sink.getvalue()
    write_ids(path, id=["a", "b"])
    refused = 0
    for position in range(128):
        for bit in range(8):
            data = bytearray(whole)
            data[position] ^= 1 << bit
            path.write_bytes(bytes(data))
            try:
                found = read_all(path, "image")
            except InputError:
                refused += 1
            else:
                assert len(found.ids) == 2
    assert refused > 400


def test_a_broken_companion_names_itself(path: Path) -> None:
    np.save(path, np.eye(1, dtype=np.float32))
    (path.parent / "metadata_0.parquet").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"metadata_0\.parquet' is not a readable Parquet file"):
        read_all(path, "image")
