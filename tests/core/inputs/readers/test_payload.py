"""Further columns by id, from files of every kind that has them."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nnn_core.errors import ConfigError, InputError
from nnn_core.inputs.readers import Columns
from nnn_core.inputs.readers.payload import read_payload

TITLES = ["a", None, 'ü\t"x"']
RECORDS = [{"id": f"c{row}", "title": title, "n": row} for row, title in enumerate(TITLES)]


def parquet(path: Path, **columns: object) -> str:
    pq.write_table(pa.table({"id": [f"c{row}" for row in range(3)], **columns}), path)
    return str(path)


def read(uri: str, *names: str, columns: Columns | None = None) -> list[dict[str, object]]:
    return read_payload(uri, uri, columns or Columns(), names).to_pylist()


def test_every_format_gives_the_same(tmp_path: Path) -> None:
    frame = pandas.DataFrame(RECORDS)
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_csv(tmp_path / "x.csv", index=False)
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    np.save(tmp_path / "img_emb_0.npy", np.eye(3, dtype=np.float32))
    frame.to_parquet(tmp_path / "metadata_0.parquet")
    expected = [{"id": record["id"], "title": record["title"]} for record in RECORDS]
    for name in ("x.parquet", "x.csv", "x.jsonl", "img_emb_0.npy"):
        assert read(str(tmp_path / name), "title") == expected
    assert read(str(tmp_path / "x.parquet"), "n", "title")[2] == {"id": "c2", "n": 2, "title": TITLES[2]}


def test_what_json_has_no_word_for_becomes_text(tmp_path: Path) -> None:
    day = datetime.date(2026, 1, 2)
    uri = parquet(
        tmp_path / "x.parquet",
        day=[day] * 3,
        kind=pa.array(["a", "b", "a"]).dictionary_encode(),
        tags=[["x"], [], None],
        meta=[{"price": 1.5}] * 3,
        raw=[b"1"] * 3,
    )
    first = read(uri, "day", "kind", "tags", "meta", "meta.price")[0]
    assert first == {
        "id": "c0",
        "day": "2026-01-02",
        "kind": "a",
        "tags": ["x"],
        "meta": {"price": 1.5},
        "meta.price": 1.5,
    }
    with pytest.raises(InputError, match="'raw' is of type binary"):
        read(uri, "raw")


def test_what_has_no_further_columns(tmp_path: Path) -> None:
    uri = parquet(tmp_path / "x.parquet", title=TITLES)
    with pytest.raises(InputError, match="has no column 'titel'; it has: id, title"):
        read(uri, "titel")
    with pytest.raises(ConfigError, match="--id-column @row is not a column"):
        read(uri, "title", columns=Columns(id="@row"))
    np.save(tmp_path / "alone.npy", np.eye(3, dtype=np.float32))
    with pytest.raises(InputError, match="has no further columns"):
        read(str(tmp_path / "alone.npy"), "title")
    numbers = parquet(tmp_path / "y.parquet", sku=pa.array([7, 8, 9], pa.int64()), title=TITLES)
    assert [row["id"] for row in read(numbers, "title", columns=Columns(id="sku"))] == ["7", "8", "9"]
