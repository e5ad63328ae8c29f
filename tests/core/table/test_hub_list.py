"""The list of hubs that a version carries: what is on it, in which order, and who can read it."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import duckdb
import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import GRID, IDS, MEANS, publish

from nnn_core import records
from nnn_core.digests import sha256
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.table.histogram import WIDTH
from nnn_core.table.hubs import MOST_HUBS, SCHEMA, HubList, Means, describe_hubs
from nnn_core.table.lifecycle.check import check_table
from nnn_core.table.lifecycle.expiry import expire
from nnn_core.table.lifecycle.rollback import rollback
from nnn_core.table.manifest import Manifest, commit_version, read_manifest
from nnn_core.table.reading import load_bias_table, reweight


def means_of(values: np.ndarray, first: int = 0) -> Means:
    return Means.of(pa.array([f"c{row + first:06d}" for row in range(len(values))]), values)


@given(st.lists(st.lists(st.integers(-20, 20), max_size=40), max_size=5), st.randoms())
def test_parts_add_up_to_the_whole_in_any_order(parts: list[list[int]], random: object) -> None:
    values = [np.array(part, np.float32) / 32 for part in parts]
    starts = np.cumsum([0, *map(len, values)])
    pieces = [means_of(each, int(first)) for each, first in zip(values, starts, strict=False)]
    random.shuffle(pieces)  # type: ignore[attr-defined]
    whole = means_of(np.concatenate([np.zeros(0, np.float32), *values]))
    added = sum(pieces, Means())
    assert (added.counts.counts == whole.counts.counts).all()
    assert added.highest == whole.highest
    assert added.hubs().equals(whole.hubs())


def test_what_lies_far_above_the_median_is_a_hub() -> None:
    values = np.random.default_rng(0).normal(0.25, 0.03, 20_000).astype(np.float32)
    values[[5, 77]] = 0.6, 0.9
    found = means_of(values).hubs()
    wide = values.astype(np.float64)
    scale = np.median(np.abs(wide - np.median(wide))) / 0.6745
    deviations = (wide - np.median(wide)) / scale
    assert found.column("id").to_pylist()[:2] == ["c000077", "c000005"]
    worst = np.sort(deviations)[::-1][: len(found)]
    np.testing.assert_allclose(found.column("deviations").to_numpy(), worst, rtol=1e-2)
    # Whoever is missing is no further from the median than a bin beyond the limit.
    assert (deviations > 3.5 + 2 * WIDTH / scale).sum() <= len(found) <= (deviations > 3.5 - 2 * WIDTH / scale).sum()


def test_the_list_ends_and_ties_go_by_id() -> None:
    values = np.full(3 * MOST_HUBS, 0.1, np.float32)
    values[1::2] = 0.8  # half as many again as a list holds
    found = means_of(values)
    assert len(found.highest) == MOST_HUBS
    assert [name for _, name in found.highest] == [f"c{row:06d}" for row in range(1, 2 * MOST_HUBS, 2)]
    assert means_of(np.full(9, 0.5, np.float32)).hubs().num_rows == Means().hubs().num_rows == 0


FOUND = pa.Table.from_arrays(
    [pa.array(["a", "b"]), pa.array([0.9, 0.8], pa.float32()), pa.array([9, 8], pa.float32())],
    names=["id", "mean", "deviations"],
)
ROWS = describe_hubs(FOUND, {"a": 4}, {"b": [(0.75, "q1"), (0.5, "q0")]})


def test_everybody_reads_the_list(tmp_path: Path) -> None:
    listed = HubList.write(str(tmp_path), 1, 4, ROWS, None)
    path = tmp_path / listed.path
    assert (listed.rows, listed.bytes, path.name.startswith("_hubs-")) == (2, path.stat().st_size, True)
    expected = [("a", 4, None), ("b", 0, ["q1", "q0"])]
    assert duckdb.sql(f"select id, n_10, \"references\" from '{path}'").fetchall() == expected
    assert [(row["id"], row["n_10"], row["references"]) for row in polars.read_parquet(path).to_dicts()] == expected
    frame = pandas.read_parquet(path, engine="fastparquet")
    assert frame["id"].tolist() == ["a", "b"]
    assert frame["mean"].tolist() == pytest.approx([0.9, 0.8])
    assert frame["scores"].tolist()[1] == pytest.approx([0.75, 0.5])
    assert pandas.read_parquet(io.BytesIO(path.read_bytes()))["n_10"].tolist() == [4, 0]


def test_the_same_list_is_not_written_twice_and_a_damaged_one_is(tmp_path: Path) -> None:
    first = HubList.write(str(tmp_path), 1, 4, ROWS, None)
    assert HubList.write(str(tmp_path), 2, 4, ROWS, first) == first
    assert first.read(str(tmp_path)).equals(ROWS)
    (tmp_path / first.path).write_bytes(b"x")
    with pytest.raises(CorruptArtifactError, match="is damaged: 1 bytes"):
        first.read(str(tmp_path))
    second = HubList.write(str(tmp_path), 2, 4, ROWS, first)
    assert (second.path.split("/")[1], second.sha256) == ("000002", first.sha256)
    (tmp_path / second.path).unlink()
    with pytest.raises(InputError, match="Without it the version is incomplete"):
        second.read(str(tmp_path))


@pytest.fixture
def table(tmp_path: Path) -> tuple[str, Manifest]:
    return str(tmp_path), publish(str(tmp_path), with_hubs=True)


def test_a_version_is_checked_with_its_list(table: tuple[str, Manifest]) -> None:
    uri, manifest = table
    assert manifest.hubs is not None
    assert read_manifest(uri) == manifest
    assert check_table(uri).verdict == "whole"
    assert [file.path for file in check_table(uri).files][-1] == manifest.hubs.path
    (Path(uri) / manifest.hubs.path).unlink()
    (bad,) = check_table(uri).bad
    assert (bad.path, bad.state) == (manifest.hubs.path, "missing")
    # Whoever reads biases needs no list.
    assert load_bias_table(uri).ids.to_pylist() == IDS


@pytest.mark.parametrize(
    ("rows", "k", "problem"),
    [
        (ROWS.drop_columns(["scores"]), 4, "has the columns"),
        (ROWS, 2, "lists hubs for k = 2"),
        (ROWS.take([1, 0]), 4, "not in order of their means"),
    ],
)
def test_a_list_that_contradicts_its_manifest(tmp_path: Path, rows: pa.Table, k: int, problem: str) -> None:
    uri = str(tmp_path)
    first = publish(uri)
    listed = HubList.write(uri, 2, k, rows, None)
    commit_version(uri, dataclasses.replace(first, version=2, hubs=listed))
    (bad,) = check_table(uri).bad
    assert problem in bad.problem


def test_another_alpha_keeps_the_list_and_another_k_makes_one(table: tuple[str, Manifest]) -> None:
    uri, first = table
    assert reweight(uri, alpha=0.5).hubs == first.hubs
    third = reweight(uri, k=1)
    assert third.hubs is not None
    assert (third.hubs.k, third.hubs.path.split("/")[1]) == (1, "000003")
    means = MEANS[:, GRID.index(1)]
    assert third.hubs.read(uri).equals(describe_hubs(Means.of(pa.array(IDS), means).hubs(), None, {}))
    assert check_table(uri).verdict == "whole"
    assert rollback(uri, 1).hubs == first.hubs


def test_a_list_goes_with_its_version(table: tuple[str, Manifest]) -> None:
    uri, first = table
    assert first.hubs is not None
    reweight(uri, k=1)
    reweight(uri, k=2)
    (Path(uri) / "versions/000001/_hubs-0123456789abcdef.parquet").write_bytes(b"left by a job that was killed")
    later = 1e12
    done = expire(uri, 1, 3600.0, now=later)
    assert {first.hubs.path, "versions/000001/_hubs-0123456789abcdef.parquet"} <= {*done.files}
    assert check_table(uri).verdict == "whole"


def test_a_version_of_an_earlier_release_has_no_list(tmp_path: Path) -> None:
    manifest = publish(uri := str(tmp_path))
    record = json.loads(manifest.to_json())
    del record["hubs"], record["checksum"]
    checksum = sha256(records.to_json(record, separators=(",", ":"), ensure_ascii=False))
    assert Manifest.from_json(records.to_page({**record, "checksum": checksum}), "x") == manifest
    assert reweight(uri, alpha=0.75) == manifest
    assert check_table(uri).verdict == "whole"


def test_the_schema_is_that_of_the_documentation() -> None:
    assert SCHEMA.names == ["id", "mean", "deviations", "n_10", "references", "scores"]
