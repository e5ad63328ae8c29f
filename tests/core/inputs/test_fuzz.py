"""Random damage to valid files: every parser refuses with an error of its own, or rejects rows, and nothing else.

``make fuzz`` runs every parser for ``NNN_FUZZ_SECONDS`` (60). What Hypothesis finds it shrinks, and prints.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import random
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import hostile
import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
import zstandard
from fakes import FormulaEncoder, make_shard, make_tar
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tables import make_manifest

from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders._decoding import upright
from nnn_core.encoders.encoding import encode_rows
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.readers import Columns, holds_vectors, read_rows
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.table.manifest import Manifest

pytestmark = pytest.mark.fuzz

SECONDS = float(os.environ.get("NNN_FUZZ_SECONDS", "60"))
ROUND = 100

#: Files that are made of each of Hypothesis' examples, which take longer than most parsers do.
VARIANTS = 20

Parse = Callable[[bytes], None]

#: One change to a file: what kind, and with which bytes. Where comes from a seed, which is faster.
MUTATION = st.tuples(
    st.sampled_from(["flip", "cut", "drop", "copy", "put", "number", "splice"]),
    st.one_of(
        st.binary(min_size=1, max_size=12),
        st.sampled_from([b"\xff" * 8, bytes(8), b"\x7f" + b"\xff" * 7, b"\x80", b'"', b"\n", b"[", b"{", b"9" * 30]),
    ),
)


def mutate(data: bytes, other: bytes, mutations: list[tuple[str, bytes]], where: random.Random) -> bytes:
    """Apply changes one after another."""
    for kind, piece in mutations:
        begin = int(where.random() * len(data))
        end = begin + int(where.random() * min(len(data) - begin, 600))
        if kind == "flip" and data:
            data = data[:begin] + bytes([data[begin] ^ (1 << piece[0] % 8)]) + data[begin + 1 :]
        elif kind == "cut":
            data = data[:begin]
        elif kind == "drop":
            data = data[:begin] + data[end:]
        elif kind == "copy":
            data = data[:end] + data[begin:end] + data[end:]
        elif kind == "put":
            data = data[:begin] + piece + data[begin:]
        elif kind == "number":
            data = data[:begin] + piece + data[begin + len(piece) :]
        elif kind == "splice":
            data = data[:begin] + other[int(where.random() * len(other)) :]
    return data


def fuzz(seeds: list[bytes], parse: Parse) -> None:
    """Parse damaged seeds until the time is up; the seeds themselves must be good."""
    for data in seeds:
        parse(data)
    examples, begin, number = 0, time.monotonic(), 0

    def once(place: int, other: int, mutations: list[tuple[str, bytes]], where: int) -> None:
        nonlocal examples
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for variant in range(VARIANTS):
                examples += 1
                parse(mutate(seeds[place], seeds[other], mutations, random.Random(where + variant)))

    while time.monotonic() - begin < SECONDS:
        number += 1
        places = st.integers(0, len(seeds) - 1)
        strategy = given(places, places, st.lists(MUTATION, min_size=1, max_size=5), st.integers(0, 1 << 40))
        limits = settings(
            max_examples=ROUND,
            database=None,
            deadline=None,
            derandomize=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(limits(strategy(once)))()
    print(f"{examples:,} examples in {time.monotonic() - begin:.0f} s")
    assert examples > 20


def reads(path: Path, **columns: object) -> Parse:
    """Read a file of some format in both modalities, with every row accounted for."""

    def parse(data: bytes) -> None:
        path.write_bytes(data)
        for modality in ("image", "text"):
            try:
                (name,) = list_shards(str(path), "--candidates")
                shard = describe_shard(name)
                wanted = Columns(**columns)  # type: ignore[arg-type]
                batches = read_rows(shard, modality, wanted)  # type: ignore[arg-type]
                if not holds_vectors(shard, modality, wanted):  # type: ignore[arg-type]
                    batches = encode_rows(batches, modality, FormulaEncoder())  # type: ignore[arg-type]
                for rows in batches:
                    assert len(rows.ids) == len(rows.pair_ids) == len(rows.items)
                    "".join([*rows.ids, *rows.pair_ids]).encode()
            except InputError as error:
                assert str(path.parent) in str(error)  # noqa: PT017

    return parse


def test_webdataset(tmp_path: Path) -> None:
    samples = [*hostile.SAMPLES, ("e.0.jpg", b"x"), ("e.json", b'{"url": "u", "meta": {"caption": ["c"]}}')]
    seeds = [make_tar(samples, kind) for kind in (1, 2)] + [data for data, *_ in hostile.odd_members().values()]
    seeds += [data for data, rows, _ in hostile.header_bombs().values() if rows is not None and len(data) < 10_000]
    fuzz(seeds, reads(tmp_path / "shard.tar"))


def test_webdataset_with_fields(tmp_path: Path) -> None:
    records = [b'{"url": "u", "meta": {"caption": ["c", "d"]}}', b'{"url": 7, "meta": [{"caption": "c"}]}']
    members = [(f"{number}.{suffix}", data) for number, data in enumerate(records) for suffix in ("json", "jpg")]
    (tmp_path / "shard.parquet").write_bytes(hostile.table({"key": ["0", "2"], "url": ["a", "b"]}))
    names = {"id": "url", "caption": "meta.caption", "pair_id": "url"}
    fuzz([make_tar(members, kind) for kind in (1, 2)], reads(tmp_path / "shard.tar", **names))


def test_gzipped_webdataset(tmp_path: Path) -> None:
    whole = make_tar(hostile.SAMPLES, 2)
    fuzz([gzip.compress(whole, level) for level in (0, 6)], reads(tmp_path / "shard.tar.gz"))


def test_npy(tmp_path: Path) -> None:
    (tmp_path / "metadata_0.parquet").write_bytes(hostile.table({"id": ["a", "b", "c"]}))
    seeds = []
    for kind in (np.float16, np.float32, np.float64):
        sink = io.BytesIO()
        np.save(sink, np.ones((3, 4), kind))
        seeds.append(sink.getvalue())
    fuzz(seeds, reads(tmp_path / "img_emb_0.npy"))


def test_parquet(tmp_path: Path) -> None:
    keys = ["a", "b", "c"]
    seeds = [
        hostile.table({"id": keys, "vector": [[1.0, 2.0]] * 3}),
        hostile.table({"id": keys, "caption": ["x", "y", None], "jpg": [b"1", None, b"3"]}),
        hostile.table({"key": keys, "caption": [["x"], [], None], "image": [{"bytes": b"1", "path": "p"}] * 3}),
        hostile.table({"key": [1, 2, 3], "caption": ["x" * 300] * 3}, compression="zstd", data_page_version="2.0"),
    ]
    fuzz(seeds, reads(tmp_path / "shard.parquet"))


@pytest.mark.parametrize("columns", [{"vector": "vector"}, {"caption": "caption", "image": "image"}])
def test_arrow(tmp_path: Path, columns: dict[str, str]) -> None:
    table = {
        "id": ["a", "b", "c", None],
        "caption": pa.array(["x", None, "y", "x"]).dictionary_encode(),
        "vector": pa.array([[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32(), 2)),
        "image": [{"bytes": b"1", "path": "p"}] * 3 + [None],
    }
    forms = [(None, False), (None, True), ("zstd", False), ("lz4", True)]
    fuzz([hostile.arrow(table, *form) for form in forms], reads(tmp_path / "a.arrow", **columns))


def test_files_without_a_suffix(tmp_path: Path) -> None:
    lines = b'{"id": "a", "caption": "x"}\n{"id": "b", "caption": "y"}\n'
    seeds = [hostile.table({"id": ["a"], "caption": ["x"]}), hostile.arrow({"id": ["a"], "caption": ["x"]}), lines]
    seeds += [make_tar(hostile.SAMPLES, 2), gzip.compress(lines), hostile.encoded(hostile.rgb(), "JPEG")]
    fuzz(seeds, reads(tmp_path / "part-00000", require_id=False))


def test_zstandard(tmp_path: Path) -> None:
    data = b'{"id": "a", "caption": "x"}\n' * 20
    packers = (zstandard.ZstdCompressor(), zstandard.ZstdCompressor(write_checksum=True, write_content_size=False))
    fuzz([packer.compress(data) for packer in packers], reads(tmp_path / "a.jsonl.zst"))


def test_images_in_base64(tmp_path: Path) -> None:
    images = [base64.b64encode(data).decode() for data in (b"\xff\xd8\xff", b"\x89PNG")]
    lines = [json.dumps({"id": row, "image": text}) for row, text in enumerate([*images, "data:image/png;base64,AAAA"])]
    fuzz(["\n".join(lines).encode()], reads(tmp_path / "a.jsonl", image="image"))


def test_bfloat16(tmp_path: Path) -> None:
    fuzz(
        [hostile.npy(b"{'descr': '<V2', 'fortran_order': False, 'shape': (3, 2), }", bytes(12))],
        reads(tmp_path / "a.npy", require_id=False),
    )


@pytest.mark.parametrize("suffix", ["tsv", "csv", "tsv.gz", "csv.gz"])
def test_delimited(tmp_path: Path, suffix: str) -> None:
    mark = "\t" if "tsv" in suffix else ","
    text = (
        "\n".join(mark.join(fields) for fields in (["id", "caption"], ["a", '"x ""y""\n z"'], ["b", "é"], ["c", ""]))
        + "\n"
    )
    data = text.encode()
    fuzz([gzip.compress(data) if suffix.endswith("gz") else data], reads(tmp_path / f"captions.{suffix}"))


def test_delimited_without_a_header(tmp_path: Path) -> None:
    fuzz([b"a cat\thttp://a\na dog\thttp://b\n"], reads(tmp_path / "captions.tsv", id="#2", caption="#1"))


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "txt"])
def test_lines(tmp_path: Path, suffix: str) -> None:
    records = [{"id": "a", "caption": "x"}, {"id": 2, "caption": ["y", "z"]}, {"id": "c", "caption": None}]
    data = "".join(json.dumps(record) + "\n" for record in records).encode()
    fuzz([gzip.compress(data) if suffix.endswith("gz") else data], reads(tmp_path / f"captions.{suffix}"))


def test_json(tmp_path: Path) -> None:
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [{"id": 5, "image_id": 1, "caption": "x"}, {"id": 6, "image_id": 2, "caption": "y"}],
    }
    sentences = [{"raw": "x", "sentid": 1}, {"raw": "y", "sentid": 2}]
    splits = {"images": [{"filename": "a.jpg", "imgid": 1, "split": "train", "sentences": sentences}]}
    fuzz([json.dumps(record).encode() for record in (coco, splits)], reads(tmp_path / "captions.json"))


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
def test_vectors_of_records(tmp_path: Path, suffix: str) -> None:
    forms: list[object] = [[1.0, 2.0], "[1, 2]", {"values": [1, 2]}, "AACAPwAAAEA=", [{"v": 1}, {"v": 2}]]
    records = [{"_id": {"n": row}, "vector": form} for row, form in enumerate(forms)]
    if suffix == "csv":
        data = b'_id,vector\n1,"[1, 2]"\n2,"[3 4]"\n3,AACAPwAAAEA=\n'
        fuzz([data], reads(tmp_path / "a.csv", id="_id", vector="vector"))
        return
    lines = "".join(json.dumps(record) + "\n" for record in records)
    text = lines if suffix == "jsonl" else json.dumps(records)
    fuzz([text.encode()], reads(tmp_path / f"a.{suffix}", id="_id.n", vector="vector"))


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "h5"])
def test_several_arrays(tmp_path: Path, suffix: str) -> None:
    arrays = {"emb": np.ones((3, 4), np.float32), "labels": np.arange(3)}
    sink = io.BytesIO()
    if suffix == "npz":
        np.savez_compressed(sink, **arrays)  # type: ignore[arg-type]
    elif suffix == "safetensors":
        sink.write(safetensors.numpy.save(arrays))
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(sink, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    fuzz([sink.getvalue()], reads(tmp_path / f"a.{suffix}", require_id=False))


def test_a_parquet_file_with_nulls_of_fixed_size(tmp_path: Path) -> None:
    column = pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))
    fuzz([hostile.table({"id": ["a", "b", "c"], "vector": column})], reads(tmp_path / "a.parquet"))


def test_text_that_may_be_a_table(tmp_path: Path) -> None:
    seeds = [b"image,caption\na.jpg,x\nb.jpg,y\n", b"a.jpg#0\tx\nb.jpg#0\ty\n"]
    fuzz(seeds, reads(tmp_path / "a.txt", caption="caption", id="image"))


def test_image_decoding() -> None:
    def parse(data: bytes) -> None:
        try:
            with upright(data) as image:
                image.resize((8, 8)).convert("RGB").tobytes()
        except ValueError as error:
            assert str(error)  # noqa: PT017
            assert "object at 0x" not in str(error)  # noqa: PT017

    fuzz(list(hostile.good_images().values()), parse)


def test_manifest() -> None:
    manifest = make_manifest()

    def parse(data: bytes) -> None:
        try:
            assert Manifest.from_json(data, "table/versions/000001.json") == manifest
        except CorruptArtifactError as error:
            assert "000001.json" in str(error)  # noqa: PT017

    fuzz([manifest.to_json()], parse)


def test_completion_mark() -> None:
    shards = tuple(replace(make_shard(f"s{number}", 3), id_sample=("a",)) for number in range(2))
    rejects = RejectSummary(7, 1, (("no id", 1, "'a' in b"),), "work/rejects/x.jsonl")

    def parse(data: bytes) -> None:
        try:
            EmbeddedInput.from_json(data, "work/embedded", "work/rejects", "shard.tar", "work/embedded/mark.json")
        except CorruptArtifactError as error:
            assert "mark.json" in str(error)  # noqa: PT017

    fuzz([EmbeddedInput("shard.tar", "0" * 64, shards, rejects, False).to_json("mark.json")], parse)
