"""Vectors as records have them: in JSON, in text, in bytes, and in the objects of other programs."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import Everything, read_all
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nnn_core.errors import InputError
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns, holds_vectors
from nnn_core.inputs.readers._records import UnusableRowError
from nnn_core.inputs.readers._vectors import vector_of

VECTORS = np.random.default_rng(5).standard_normal((3, 4)).astype(np.float32)
IDS = ["a", "b", "c"]


def write_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def check(found: Everything, vectors: Any = VECTORS) -> None:
    assert (found.ids, found.rejects) == (IDS, [])
    np.testing.assert_array_equal(np.asarray(found.items, np.float32), vectors)


FORMS = {
    "list": lambda vector: vector.tolist(),
    "base64": lambda vector: base64.b64encode(vector.tobytes()).decode(),
    "pgvector": lambda vector: "[" + ",".join(map(repr, vector.tolist())) + "]",
    "numpy": lambda vector: np.array2string(vector, floatmode="unique", max_line_width=30),
    "postgres": lambda vector: "{" + ", ".join(map(repr, vector.tolist())) + "}",
    "spark": lambda vector: {"type": 1, "values": vector.tolist()},
    "bigquery": lambda vector: {"list": [{"element": number} for number in vector.tolist()]},
    "bigquery api": lambda vector: [{"v": repr(number)} for number in vector.tolist()],
    "openai": lambda vector: {"object": "embedding", "index": 0, "embedding": vector.tolist()},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["a.jsonl", "list.json", "lines.json"])
def test_json(tmp_path: Path, form: str, name: str) -> None:
    records = [{"id": row, "vector": FORMS[form](vector)} for row, vector in zip(IDS, VECTORS, strict=True)]
    path = write_lines(tmp_path / name, records)
    if name == "list.json":
        path.write_text(json.dumps(records, indent=1))
    for modality in ("image", "text"):
        assert holds_vectors(describe_shard(str(path)), modality, Columns())  # type: ignore[arg-type]
        check(read_all(path, modality))  # type: ignore[arg-type]


def test_a_nested_field(tmp_path: Path) -> None:
    """As Weaviate and MongoDB write it."""
    records = [
        {"_id": {"$oid": row}, "vectors": {"default": list(map(float, v))}} for row, v in zip(IDS, VECTORS, strict=True)
    ]
    check(read_all(write_lines(tmp_path / "a.jsonl", records), id="_id.$oid", vector="vectors.default"))


@pytest.mark.parametrize("form", ["pgvector", "numpy", "postgres", "base64"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_text_of_tables(tmp_path: Path, form: str, suffix: str) -> None:
    with (tmp_path / f"a.{suffix}").open("w", newline="") as stream:
        writer = csv.writer(stream, "excel" if suffix == "csv" else "excel-tab")
        writer.writerows(
            [("id", "emb"), *((row, FORMS[form](vector)) for row, vector in zip(IDS, VECTORS, strict=True))]
        )
    check(read_all(tmp_path / f"a.{suffix}", vector="emb"))


PARQUET = {
    "text": pa.array([FORMS["pgvector"](vector) for vector in VECTORS]),
    "blob": pa.array([vector.tobytes() for vector in VECTORS]),
    "fixed blob": pa.array([vector.tobytes() for vector in VECTORS], pa.binary(16)),
    "spark": pa.array([{"type": 1, "size": None, "indices": None, "values": vector.tolist()} for vector in VECTORS]),
    "structs": pa.array([[{"element": number} for number in vector.tolist()] for vector in VECTORS]),
}


@pytest.mark.parametrize("form", PARQUET)
def test_columns_of_parquet(tmp_path: Path, form: str) -> None:
    pq.write_table(pa.table({"id": IDS, "vector": PARQUET[form]}), tmp_path / "a.pq")
    check(read_all(tmp_path / "a.pq"))


def test_signed_bytes_are_numbers_and_unsigned_ones_are_refused(tmp_path: Path) -> None:
    codes = (VECTORS * 40).astype(np.int8)
    for kind, values in ((pa.int8(), codes), (pa.uint8(), codes.view(np.uint8))):
        column = pa.array(values.tolist(), pa.list_(kind))
        pq.write_table(pa.table({"id": IDS, "vector": column}), tmp_path / f"{kind}.parquet")
    check(read_all(tmp_path / "int8.parquet"), codes)
    with pytest.raises(InputError, match=r"is a list of uint8, not of floats.*may be quantised values or packed bits"):
        read_all(tmp_path / "uint8.parquet")


def test_rejects(tmp_path: Path) -> None:
    odd: list[Any] = [
        [1.0, 2.0],
        None,
        [1.0, 2.0, 3.0],
        "[1, 2",
        "[1 2 ... 3]",
        {"indices": [1], "values": [1.0]},
        [True, 1],
        7,
    ]
    records = [{"id": str(row), "vector": value} for row, value in enumerate([*odd, [0.5, 1], [3, None], {"x": 1}])]
    found = read_all(write_lines(tmp_path / "a.jsonl", [*records, {"id": "no"}]))
    assert found.ids == ["0", "8", "9"]
    bad = "vector is not a list of numbers"
    reasons = ["vector is null", "vector has the wrong dimension", bad, bad, bad, bad, bad, bad, "no vector"]
    assert [reason for _, reason in found.reasons] == reasons


def test_captions_beside_vectors_are_captions_unless_vectors_are_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"id": row, "caption": "x", "embedding": [1.0]} for row in IDS])
    assert read_all(path).items == ["x"] * 3
    check(read_all(path, vector="embedding"), np.ones((3, 1)))
    assert read_all(path, vector="emb", inherited=("vector",)).items == ["x"] * 3
    with pytest.raises(InputError, match="has no field for the id in its first records"):
        read_all(write_lines(tmp_path / "b.jsonl", [{"embedding": [1.0]}]))


def test_lists_of_captions(tmp_path: Path) -> None:
    """As BLIP and LAVIS have them; an image may have several."""
    records = [{"image": "a.jpg", "caption": ["one", "two"]}, {"image": "b.jpg", "caption": "three"}, "odd"]
    (tmp_path / "a.json").write_text(json.dumps(records))
    found = read_all(tmp_path / "a.json", pair_id="image", require_id=False)
    assert (found.pair_ids, found.items) == (["a.jpg", "a.jpg", "b.jpg"], ["one", "two", "three"])
    assert found.reasons == [("row 2", "malformed row")]


@given(arrays.arrays(np.float32, st.integers(1, 9), elements=st.floats(width=32, allow_nan=False)))
def test_every_form_gives_the_numbers_back(vector: Any) -> None:
    for form in ("list", "base64", "pgvector", "postgres", "spark", "bigquery"):
        np.testing.assert_array_equal(vector_of(FORMS[form](vector)).astype(np.float32), vector)


@given(st.text(max_size=20))
def test_any_text_is_numbers_or_refused(text: str) -> None:
    try:
        assert vector_of(text).dtype.kind == "f"
    except UnusableRowError as error:
        assert error.reason in {"vector is null", "vector is not a list of numbers"}  # noqa: PT017


def test_what_polars_writes(tmp_path: Path) -> None:
    frame = polars.DataFrame({"id": IDS, "vector": [vector.tolist() for vector in VECTORS]})
    frame.write_ndjson(tmp_path / "a.ndjson")
    check(read_all(tmp_path / "a.ndjson"))
