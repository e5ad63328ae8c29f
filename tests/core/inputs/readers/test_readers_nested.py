"""Fields by their path, in every format that has fields of fields; and columns without values or types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import Everything, read_all

from nnn_core.errors import InputError

RECORDS: list[dict[str, Any]] = [
    {
        "_id": {"$oid": f"o{row}"},
        "meta": {"id": row, "caption": f"caption {row}", "texts": [f"first {row}", "second"]},
        "embedding": {"values": [float(row), 1.0], "model": "m"},
        "images": [{"bytes": b"image %d" % row, "path": None}],
        "tags": [("caption", f"tag {row}"), ("of", f"i{row}")],
        "a.b": f"dotted {row}",
    }
    for row in range(3)
]
TYPES = {"tags": pa.map_(pa.string(), pa.string())}


def parquet(folder: Path) -> Path:
    columns = {name: pa.array([record[name] for record in RECORDS], TYPES.get(name)) for name in RECORDS[0]}
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return folder / "a.parquet"


def json_lines(folder: Path) -> Path:
    rows = [{**record, "tags": dict(record["tags"]), "images": None} for record in RECORDS]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "a.jsonl"


@pytest.mark.parametrize("write", [parquet, json_lines])
@pytest.mark.parametrize(
    ("columns", "ids", "pair_ids", "captions"),
    [
        ({"id": "_id.$oid", "caption": "meta.caption"}, "o{}", "o{}", "caption {}"),
        ({"id": "meta.id", "pair_id": "_id.$oid", "caption": "meta.texts.0"}, "{}", "o{}", "first {}"),
        ({"id": "a.b", "pair_id": "tags.of", "caption": "tags.caption"}, "dotted {}", "i{}", "tag {}"),
    ],
)
def test_captions(tmp_path: Path, write: Any, columns: dict[str, str], ids: str, pair_ids: str, captions: str) -> None:
    found = read_all(write(tmp_path), **columns)
    expected = [[form.format(row) for row in range(3)] for form in (ids, pair_ids, captions)]
    assert [found.ids, found.pair_ids, found.items] == expected
    assert found.rejects == []


def test_vectors_and_images_of_parquet(tmp_path: Path) -> None:
    found = read_all(parquet(tmp_path), id="_id.$oid", vector="embedding.values")
    np.testing.assert_array_equal(found.items, [record["embedding"]["values"] for record in RECORDS])
    assert found.ids == ["o0", "o1", "o2"]
    found = read_all(tmp_path / "a.parquet", "image", id="meta.id", image="images.0")
    assert (found.ids, found.items) == (["0", "1", "2"], [b"image 0", b"image 1", b"image 2"])


@pytest.mark.parametrize(
    "columns", [{"id": "meta.no"}, {"vector": "embedding.no"}, {"vector": "meta.id"}, {"pair_id": "_id.no"}]
)
def test_paths_that_lead_nowhere_are_named(tmp_path: Path, columns: dict[str, str]) -> None:
    (path,) = columns.values()
    with pytest.raises(InputError, match=path.rpartition(".")[2]):
        read_all(
            parquet(tmp_path),
            **{"id": "a.b", "caption": "a.b", **columns} if "vector" not in columns else {"id": "a.b", **columns},
        )


def nulls(folder: Path, by: str) -> Path:
    values = [[1.0, 2.0], None, [3.0, 4.0]]
    if by == "polars":
        frame = polars.DataFrame(
            {"id": ["a", "b", "c"], "vector": polars.Series(values, dtype=polars.Array(polars.Float32, 2))}
        )
        frame.write_parquet(folder / "a.parquet")
    else:
        kind = pa.list_(pa.float32(), 2) if by == "fixed" else pa.list_(pa.float32())
        pq.write_table(pa.table({"id": ["a", "b", "c"], "vector": pa.array(values, kind)}), folder / "a.parquet")
    return folder / "a.parquet"


@pytest.mark.parametrize("by", ["polars", "fixed", "plain"])
def test_null_vectors_are_rejects_whatever_the_list(tmp_path: Path, by: str) -> None:
    found = read_all(nulls(tmp_path, by))
    assert (found.ids, found.reasons) == (["a", "c"], [("b", "vector is null")])
    np.testing.assert_array_equal(found.items, [[1.0, 2.0], [3.0, 4.0]])


def test_every_type_of_a_column_survives_without_the_schema_of_arrow(tmp_path: Path) -> None:
    """Only lists of a fixed size with nulls are read so; the ids beside them are as they were."""
    kind = pa.list_(pa.float16(), 2)
    table = pa.table({
        "id": pa.array([1, 2], pa.uint64()),
        "pair": pa.array(["x", None]).dictionary_encode(),
        "vector": pa.array([np.array([1, 2], np.float16), None], kind),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    found = read_all(tmp_path / "a.parquet", pair_id="pair")
    assert (found.ids, found.pair_ids, found.reasons) == (["1"], ["x"], [("2", "vector is null")])


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize("name", ["vector", "caption", "image"])
def test_an_empty_part_is_nothing(tmp_path: Path, modality: Any, name: str) -> None:
    """As pandas and Dask write it: columns without a type."""
    table = pa.table({"id": pa.nulls(0), name: pa.nulls(0)})
    pq.write_table(table, tmp_path / "a.parquet")
    found = read_all(tmp_path / "a.parquet", modality)
    assert (found.ids, found.rejects) == ([], [])


@pytest.mark.parametrize(
    ("name", "modality", "reason"),
    [("vector", "text", "vector is null"), ("caption", "text", "no caption"), ("image", "image", "image is null")],
)
def test_a_column_of_nulls_alone_is_rejects(tmp_path: Path, name: str, modality: Any, reason: str) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], name: pa.nulls(2)}), tmp_path / "a.parquet")
    assert read_all(tmp_path / "a.parquet", modality).reasons == [("a", reason), ("b", reason)]


@pytest.mark.parametrize("shape", [(0,), (0, 4)])
def test_an_array_without_rows_is_nothing(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    assert read_all(tmp_path / "a.npy", require_id=False).ids == []


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "txt"])
def test_a_file_without_bytes_is_nothing(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(b"")
    found: Everything = read_all(tmp_path / f"a.{suffix}", require_id=False)
    assert (found.ids, found.rejects) == ([], [])
