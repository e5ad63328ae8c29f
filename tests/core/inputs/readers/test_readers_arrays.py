"""Vectors in files of several arrays: those of numpy, safetensors and HDF5."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from fakes import read_all

from nnn_core.errors import InputError
from nnn_core.inputs.readers import format_of, outline_of
from nnn_core.inputs.shards import ShardName

VECTORS = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float16)
OTHERS = np.arange(10, dtype=np.float32).reshape(5, 2)
IDS = [f"u{row}" for row in range(5)]


def write(path: Path, arrays: dict[str, Any]) -> Path:
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    elif path.suffix == ".safetensors":
        numbers = {name: array for name, array in arrays.items() if np.asarray(array).dtype.kind != "U"}
        safetensors.numpy.save_file(numbers, path)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                text = np.asarray(array).dtype.kind == "U"
                file.create_dataset(name, data=np.asarray(array, object) if text else array)
    return path


SUFFIXES = pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".h5"])


@SUFFIXES
def test_the_table_beside_the_arrays_has_the_ids(tmp_path: Path, suffix: str) -> None:
    """The layout of DataComp."""
    path = write(tmp_path / f"00ab{suffix}", {"b32_img": OTHERS, "l14_img": VECTORS})
    pq.write_table(pa.table({"uid": IDS, "text": ["x"] * 5}), tmp_path / "00ab.parquet")
    found = read_all(path, id="uid", vector="l14_img")
    assert (found.ids, found.rejects) == (IDS, [])
    np.testing.assert_array_equal(found.items, VECTORS)
    shapes = {"b32_img: float32[5, 2]", "l14_img: float16[5, 4]"}
    assert set(format_of(str(path)).outline(str(path)).columns) == shapes
    with pytest.raises(InputError, match=r"holds .*l14_img: float16\[5, 4\].*. Name the vectors with --vector"):
        read_all(path, id="uid")
    with pytest.raises(InputError, match=r"has no column 'l14' \(--vector-column\)"):
        read_all(path, id="uid", vector="l14")


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_ids_in_an_array(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", {"emb": VECTORS, "names": np.array(IDS), "of": np.arange(5)})
    found = read_all(path, id="names", pair_id="of")
    assert (found.ids, found.pair_ids) == (IDS, list("01234"))
    with pytest.raises(InputError, match=r"has no column for the id; it has: .*names"):
        read_all(path)


@SUFFIXES
def test_the_only_array_of_vectors_is_taken(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", {"emb": VECTORS, "labels": np.arange(5)})
    found = read_all(path, require_id=False)
    np.testing.assert_array_equal(found.items, VECTORS)
    assert found.ids == [f"row {row}" for row in range(5)]
    with pytest.raises(InputError, match=r"labels: int64\[5\] does not hold rows of floating-point numbers"):
        read_all(path, require_id=False, vector="labels")


@SUFFIXES
def test_damage_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", {"emb": np.random.default_rng(1).standard_normal((64, 8))})
    data = path.read_bytes()
    for length in range(0, len(data) - 1, max(1, len(data) // 40)):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=rf"a\{suffix}'"):
            read_all(path, require_id=False)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_bfloat16_is_read_as_float32(tmp_path: Path, suffix: str) -> None:
    """As JAX's ml_dtypes has numpy write it, and torch safetensors."""
    path, vectors = tmp_path / f"a{suffix}", torch.from_numpy(VECTORS.astype(np.float32)).to(torch.bfloat16)
    if suffix == ".safetensors":
        safetensors.torch.save_file({"emb": vectors}, path)
    else:
        ml_dtypes = pytest.importorskip("ml_dtypes")
        array = vectors.float().numpy().astype(ml_dtypes.bfloat16)
        np.save(path, array) if suffix == ".npy" else np.savez(path, emb=array)
    found = read_all(path, require_id=False)
    np.testing.assert_array_equal(found.items, vectors.float().numpy())
    assert outline_of(ShardName(str(path))).columns[0].removeprefix("emb: ") in ("bfloat16[5, 4]", "bfloat16[4]")


def test_types_of_eight_bits_are_refused_with_what_to_do(tmp_path: Path) -> None:
    safetensors.torch.save_file({"emb": torch.ones(2, 2).to(torch.float8_e4m3fn)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"not supported: it has values of type F8_E4M3. Write its vectors again"):
        read_all(tmp_path / "a.safetensors", require_id=False, vector="emb")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "touched",))

    np.savez(tmp_path / "a.npz", emb=VECTORS, id=np.array([Evil()] * 5, object))
    with pytest.raises(InputError, match="Object arrays cannot be loaded"):
        read_all(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="File is not a zip file"):
        read_all(tmp_path / "b.npz")
    assert not (tmp_path / "touched").exists()


def test_a_bomb_is_not_read(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("emb.npy", "w") as stream,
    ):
        sink = io.BytesIO()
        np.lib.format.write_array_header_1_0(sink, {"descr": "<f4", "fortran_order": False, "shape": (1 << 18, 80)})
        stream.write(sink.getvalue())
        for _ in range(80):
            stream.write(bytes(1 << 20))
    with pytest.raises(InputError, match=r"'emb\.npy' has 8.* bytes in .*, and was taken for a decompression bomb"):
        read_all(tmp_path / "a.npz", require_id=False)


def test_what_lies_in_other_files_is_not_followed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    write(tmp_path / "secret.h5", {"emb": OTHERS})
    (tmp_path / "raw").write_bytes(OTHERS.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "emb")
        file.create_dataset("raw", (5, 2), "f4", external=[(str(tmp_path / "raw"), 0, 40)])
        layout = h5py.VirtualLayout((5, 2), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "emb", (5, 2))
        file.create_virtual_dataset("virtual", layout)
        file["own"] = VECTORS
    np.testing.assert_array_equal(read_all(tmp_path / "a.h5", require_id=False).items, VECTORS)
    for name in ("link", "raw", "virtual"):
        with pytest.raises(InputError, match="has no column"):
            read_all(tmp_path / "a.h5", require_id=False, vector=name)
