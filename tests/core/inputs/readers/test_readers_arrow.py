"""Arrow files and streams, as pyarrow, Polars, Feather and Hugging Face's datasets write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pyarrow as pa
import pyarrow.feather
import pytest
from fakes import read_all

from nnn_core.errors import InputError
from nnn_core.inputs.readers import _arrow, outline_of
from nnn_core.inputs.shards import ShardName

IDS = [f"r{row}" for row in range(7)]
VECTORS = np.random.default_rng(2).standard_normal((7, 4)).astype(np.float32)
TABLE = pa.table(
    {
        "id": IDS,
        "caption": [f"caption {row}" for row in range(7)],
        "vector": pa.array(VECTORS.tolist(), pa.list_(pa.float32(), 4)),
        "image": [{"bytes": b"image %d" % row, "path": None} for row in range(7)],
    }
)


def as_file(path: Path, table: pa.Table, compression: str | None = None) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(path, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=3)


def as_stream(path: Path, table: pa.Table) -> None:
    """As Hugging Face's ``save_to_disk`` writes it."""
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


WRITERS: dict[str, Callable[[Path, pa.Table], None]] = {
    "file": as_file,
    "zstd": lambda path, table: as_file(path, table, "zstd"),
    "stream": as_stream,
    "feather": lambda path, table: pyarrow.feather.write_feather(table, path, chunksize=3),
    "polars": lambda path, table: polars.from_arrow(table).write_ipc(path),  # type: ignore[union-attr]
    "polars stream": lambda path, table: polars.from_arrow(table).write_ipc_stream(path),  # type: ignore[union-attr]
}
ALL_WRITERS = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@pytest.mark.parametrize("suffix", ["arrow", "feather", "ipc"])
@ALL_WRITERS
def test_what_others_write_is_read(tmp_path: Path, write: Callable[[Path, pa.Table], None], suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write(path, TABLE)
    captions, images = read_all(path, caption="caption"), read_all(path, "image", image="image")
    assert (captions.ids, captions.items, captions.rejects) == (IDS, TABLE["caption"].to_pylist(), [])
    assert (images.ids, images.items) == (IDS, [b"image %d" % row for row in range(7)])
    vectors = read_all(path, vector="vector")
    assert (vectors.ids, vectors.rejects) == (IDS, [])
    np.testing.assert_array_equal(vectors.items, VECTORS)
    outline = outline_of(ShardName(str(path)))
    assert outline.rows == 7
    assert [column.partition(":")[0] for column in outline.columns] == TABLE.column_names


@ALL_WRITERS
def test_nulls_are_rejects(tmp_path: Path, write: Callable[[Path, pa.Table], None]) -> None:
    table = pa.table(
        {
            "id": ["a", None, "c", "d"],
            "vector": pa.array([[1.0, 2.0], [1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        }
    )
    write(tmp_path / "a.arrow", table)
    found = read_all(tmp_path / "a.arrow")
    assert found.ids == ["a", "d"]
    np.testing.assert_array_equal(found.items, [[1, 2], [3, 4]])
    assert found.reasons == [("row 1", "no id"), ("c", "vector is null")]


def test_views_and_dictionaries(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "id": pa.array(IDS, pa.string_view()),
        "caption": pa.array(["x", "y", "x", None, "y", "x", "x"]).dictionary_encode(),
        "image": pa.array([b"i"] * 7, pa.binary_view()),
    }
    as_file(tmp_path / "a.arrow", pa.table(columns))
    found = read_all(tmp_path / "a.arrow")
    assert (found.items, found.reasons) == (["x", "y", "x", "y", "x", "x"], [("r3", "no caption")])
    assert read_all(tmp_path / "a.arrow", "image").items == [b"i"] * 7


@ALL_WRITERS
def test_a_part_without_rows_is_nothing(tmp_path: Path, write: Callable[[Path, pa.Table], None]) -> None:
    write(tmp_path / "a.arrow", TABLE.slice(0, 0))
    assert read_all(tmp_path / "a.arrow", vector="vector").ids == []


@pytest.mark.parametrize("kind", ["file", "zstd", "stream", "feather"])
def test_a_file_cut_short_is_an_error(tmp_path: Path, kind: str) -> None:
    """Also where a stream is cut between groups of rows, which Arrow takes for its end."""
    WRITERS[kind](tmp_path / "whole.arrow", TABLE)
    data = (tmp_path / "whole.arrow").read_bytes()
    for length in range(8, len(data), 8):
        (tmp_path / "a.arrow").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"a\.arrow'"):
            read_all(tmp_path / "a.arrow", vector="vector")


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_the_bound_counts_what_arrow_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str | None
) -> None:
    table = TABLE.append_column("zeros", pa.array([bytes(10_000)] * 7))
    as_file(tmp_path / "a.arrow", table, compression)
    with (tmp_path / "a.arrow").open("rb") as stream:
        groups = _arrow.ArrowTable(stream, "a.arrow").sizes("id")
    assert [rows for rows, _ in groups] == [3, 3, 1]
    for (_, size), batch in zip(groups, table.to_batches(3), strict=True):
        assert batch.nbytes <= size <= batch.nbytes + 64 * 20
    monkeypatch.setattr(_arrow, "GROUP_BYTES", 30_000)
    with pytest.raises(InputError, match=r"has 3\d,\d+ bytes in one group of rows \(limit: 30,000\)"):
        read_all(tmp_path / "a.arrow")


@pytest.mark.parametrize("data", [b"", b"FEA1 and more", b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", b"\xff" * 40])
def test_what_is_no_arrow_is_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.feather").write_bytes(data)
    message = (
        "Feather version 1, which is not supported. Write it again" if data.startswith(b"FEA1") else "not a readable"
    )
    with pytest.raises(InputError, match=rf"a\.feather' is {message}"):
        read_all(tmp_path / "a.feather")
