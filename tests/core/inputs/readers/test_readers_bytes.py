"""Files whose names say nothing, or the wrong thing, are told by their first bytes."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from fakes import make_tar, read_all
from PIL import Image

from nnn_core.errors import InputError
from nnn_core.inputs.inspection import Inspection
from nnn_core.inputs.listing import describe_shard, list_input
from nnn_core.inputs.readers import Columns, format_of, outline_of
from nnn_core.inputs.shards import ShardName

TABLE = pa.table({"id": ["a", "b"], "caption": ["x", "y"]})
RECORDS = [{"id": "a", "caption": "x"}, {"id": "b", "caption": "y"}]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    sink = io.BytesIO()
    write(sink)
    return sink.getvalue()


def image(kind: str) -> bytes:
    return saved(lambda sink: Image.new("RGB", (2, 2)).save(sink, kind))


LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
FILES = {
    "parquet": saved(lambda sink: pq.write_table(TABLE, sink)),
    "arrow": saved(lambda sink: polars.from_arrow(TABLE).write_ipc(sink)),  # type: ignore[union-attr]
    "tar": make_tar([("a.txt", b"x"), ("b.txt", b"y")]),
    "json": LINES,
}
FILES |= {"tar in gzip": gzip.compress(FILES["tar"]), "json in gzip": gzip.compress(LINES)}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", ["part-00000", "000000000000", "part-0-c000.snappy"])
def test_parts_without_a_known_suffix(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[kind])
    (shard,) = list_input(f"{tmp_path}/*", "--references").shards
    assert format_of(shard).name == kind.partition(" ")[0]
    found = read_all(tmp_path / name)
    assert (found.ids, found.items) == (["a", "b"], ["x", "y"])


def test_vectors_and_images_without_a_suffix(tmp_path: Path) -> None:
    vectors = np.eye(2, dtype=np.float32)
    (tmp_path / "v").write_bytes(saved(lambda sink: np.save(sink, vectors)))
    (tmp_path / "s").write_bytes(safetensors.numpy.save({"emb": vectors}))
    for name in "vs":
        np.testing.assert_array_equal(read_all(tmp_path / name, require_id=False).items, vectors)
    (tmp_path / "photos").mkdir()
    for name, kind in {"0a1f": "JPEG", "0b": "PNG", "0c": "WEBP", "0d": "AVIF"}.items():
        (tmp_path / "photos" / name).write_bytes(image(kind))
    (shard,) = list_input(f"{tmp_path}/photos/*", "--candidates").shards
    assert shard.members == ("0a1f", "0b", "0c", "0d")
    assert format_of(describe_shard(shard)).name == "image"


def test_text_of_a_form_that_nobody_can_tell(tmp_path: Path) -> None:
    (tmp_path / "part-0").write_text("a cat\na dog\n")
    with pytest.raises(InputError, match=r"part-0' has no known format. Its suffix must be one of "):
        list_input(f"{tmp_path}/part-*", "--references")


@pytest.mark.parametrize("name", ["a.npy", "a.tar", "a.csv", "a.safetensors"])
def test_a_name_that_is_wrong_is_said_to_be(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES["parquet"])
    hint = r"Its first bytes are those of a \.parquet file: name it \.parquet, if it is one"
    with pytest.raises(InputError, match=hint):
        read_all(tmp_path / name, require_id=False)
    try:
        (told,) = Inspection.of(str(tmp_path / name), None, Columns()).shards[0].missing
    except InputError as error:
        told = str(error)
    assert re.search(hint, told)


def test_a_right_name_draws_no_such_remark(tmp_path: Path) -> None:
    for name, data in {"a.parquet": FILES["parquet"], "a.jsonl": LINES, "a.json": LINES}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="'no'") as caught:
            read_all(tmp_path / name, pair_id="no")
        assert "first bytes" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.parquet", "a.tar", "a.npy", "a.txt", "a.jsonl", "a.csv", "a.arrow", "a.npz"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (POINTER, "is only a Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html><title>403</title>", "is a web page .perhaps an error page., not the file itself"),
    ],
)
def test_what_lies_in_place_of_a_file(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_all(tmp_path / name, require_id=False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            lzma.compress(FILES["tar"]),
            r"are those of a \.xz file: .* is compressed by a method other than gzip and Zstandard",
        ),
        (pickle.dumps([1.0], protocol=4), r"are those of a \.pkl file: .* is a pickle, which is not supported"),
    ],
)
def test_what_is_not_read_is_told_by_its_bytes_too(tmp_path: Path, data: bytes, message: str) -> None:
    for name in ("a.tar", "a.npy", "part-0"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=message if name != "part-0" else "which is not supported"):
            read_all(tmp_path / name, require_id=False)


def test_what_a_store_unpacked_or_packed_is_read(tmp_path: Path) -> None:
    """A download may be packed although its name does not say so."""
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(LINES))
    assert read_all(tmp_path / "a.jsonl").items == ["x", "y"]
    assert outline_of(ShardName(str(tmp_path / "a.jsonl"))).columns == ("id", "caption")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.pt", "is a pickle, which is not supported. It may run code"),
        ("A.PKL", "is a pickle"),
        ("a.lance", "is Lance, which is not supported. Write it as Parquet"),
        ("a.orc", "is ORC"),
        ("a.tfrecord", "is TFRecord"),
        ("a.zip", "is an archive, which is not supported. Unpack it"),
        ("a.tsv.bz2", "is compressed by a method other than gzip and Zstandard, which is not supported"),
        ("a.gif", "Convert it to PNG"),
    ],
)
def test_formats_that_are_not_read_say_what_to_do(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        format_of(name)
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=message):
        list_input(str(tmp_path / name), "--candidates")
