"""Further columns by id, from files of every kind that has them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nnn_core.errors import ConfigError, InputError
from nnn_core.inputs.readers import Columns, payload
from nnn_core.inputs.readers.payload import Payload

TITLES = ["a", None, 'ü\t"x"']
RECORDS = [{"id": f"c{row}", "title": title, "n": row} for row, title in enumerate(TITLES)]


def parquet(path: Path, **columns: object) -> str:
    pq.write_table(pa.table({"id": [f"c{row}" for row in range(3)], **columns}), path)
    return str(path)


def read(uri: str, *names: str, columns: Columns | None = None) -> list[dict[str, object]]:
    return Payload(uri, columns or Columns(), tuple(names)).read(uri).to_pylist()


def test_every_format_gives_the_same(tmp_path: Path) -> None:
    frame = pandas.DataFrame(RECORDS)
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_csv(tmp_path / "x.csv", index=False)
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    np.save(tmp_path / "img_emb_0.npy", np.eye(3, dtype=np.float32))
    frame.to_parquet(tmp_path / "metadata_0.parquet")
    expected = [{"id": record["id"], "title": record["title"]} for record in RECORDS]
    for name in ("x.parquet", "x.csv", "x.jsonl", "img_emb_0.npy"):
        uri = str(tmp_path / name)
        assert read(uri, "title") == expected
        Payload(uri, Columns(), ("title",), "--show").check()
        found = list(Payload(uri, Columns(), ("title",), "--show").find(frozenset({"c0", "c2", "elsewhere"})))
        assert found == [expected[0], expected[2]]
        with pytest.raises(InputError, match=r"has no column 'titel'; it has: id, title, n"):
            Payload(
                uri,
                Columns(),
                (
                    "title",
                    "titel",
                ),
                "--show",
            ).check()
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


def test_of_a_large_file_only_what_is_wanted_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch by batch, none after the last row that is wanted; records of text one by one."""
    frame = pandas.DataFrame({"id": [f"c{row}" for row in range(60)], "title": ["x"] * 60})
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_json(tmp_path / "x.jsonl", orient="records", lines=True)
    held, batches, good = list[int](), payload._batches, payload._good

    def small_batches(uri: str, columns: Columns, names: tuple[str, ...]) -> Iterator[pa.Table]:
        for piece in batches(uri, columns, names, 10):
            held.append(piece.num_rows)
            yield piece

    def records(kind: str, uri: str) -> Iterator[dict[str, object]]:
        for record in good(kind, uri):
            held.append(1)
            yield record

    monkeypatch.setattr(payload, "_batches", small_batches)
    monkeypatch.setattr(payload, "_good", records)
    for name, most in (("x.parquet", [10] * 3), ("x.jsonl", [1] * 25)):
        found = Payload(str(tmp_path / name), Columns(), ("title",), "--show").find(frozenset({"c7", "c24"}))
        assert [row["id"] for row in found] == ["c7", "c24"]
        assert held == most
        held.clear()


def test_a_field_that_few_records_have_is_there(tmp_path: Path) -> None:
    rows = [{"id": f"c{row}"} for row in range(200)] + [{"id": "c200", "meta": {"title": "x"}}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    uri = str(tmp_path / "x.jsonl")
    Payload(uri, Columns(), ("meta.title",), "--show").check()
    assert list(Payload(uri, Columns(), ("meta.title",), "--show").find(frozenset({"c1", "c200"}))) == [
        {"id": "c1", "meta.title": None},
        {"id": "c200", "meta.title": "x"},
    ]
    with pytest.raises(InputError, match=r"has no column 'meta.url'; it has: id\."):
        Payload(uri, Columns(), ("meta.url",), "--show").check()


def test_ids_of_records_are_those_of_their_candidates(tmp_path: Path) -> None:
    """They may lie deep and be numbers in some records, beside broken lines, which are no candidates."""
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"meta": {"id": 1}, "t": "a"}\n{broken\n{"meta": {"id": "b"}, "t": "c", "more": 1}\n{"more": "x"}\n'
    )
    expected = [{"id": "1", "t": "a"}, {"id": "b", "t": "c"}]
    nested = Columns(id="meta.id")
    assert list(Payload(str(path), nested, ("t",)).find(frozenset({"1", "b"}))) == expected
    assert read(str(path), "t", columns=nested)[:2] == expected
    with pytest.raises(InputError, match="columns more cannot be read"):
        read(str(path), "more", columns=nested)
