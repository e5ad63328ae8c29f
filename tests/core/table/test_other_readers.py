"""Readers outside this program: DuckDB, Polars, pandas and fastparquet by the manifest's list of files, and Delta."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import polars
import pyarrow.parquet as pq
import pytest
from tables import IDS, MEANS, data_files, publish

from nnn_core import storage
from nnn_core.consumers.rerank import Reranker
from nnn_core.errors import ConfigError, CorruptArtifactError, InputError, StorageError
from nnn_core.table.lifecycle._delta_log import delta_files
from nnn_core.table.lifecycle._pins import find_pins
from nnn_core.table.lifecycle.check import check_table
from nnn_core.table.lifecycle.difference import Difference
from nnn_core.table.lifecycle.expiry import expire
from nnn_core.table.lifecycle.registration import register
from nnn_core.table.lifecycle.rollback import rollback
from nnn_core.table.manifest import list_versions, manifest_uri, read_manifest
from nnn_core.table.reading import load_bias_table

deltalake = pytest.importorskip("deltalake")


@pytest.fixture
def table(tmp_path: Path) -> str:
    uri = str(tmp_path / "table")
    publish(uri)
    publish(uri, 2, k=1)
    return uri


def files_of(table: str, version: int) -> list[str]:
    """As somebody finds them who knows nothing but JSON."""
    manifest = json.loads(Path(manifest_uri(table, version)).read_text())
    return [f"{table}/{file['path']}" for file in manifest["files"]]


def expected(column: int) -> list[float]:
    bias: list[float] = (0.75 * MEANS[:, column].astype(np.float64)).astype(np.float32).tolist()
    return bias


@pytest.mark.parametrize(("version", "column"), [(1, 2), (2, 0)])
def test_duckdb(table: str, version: int, column: int) -> None:
    found = duckdb.sql(f"SELECT id, bias, mean_k FROM read_parquet({files_of(table, version)}) ORDER BY id").fetchall()
    assert [row[0] for row in found] == IDS
    assert [row[1] for row in found] == expected(column)
    assert [list(row[2]) for row in found] == MEANS.tolist()


def test_duckdb_joins_and_filters(table: str) -> None:
    """What a warehouse does: the bias of the rows that it has, and the worst hubs."""
    files = files_of(table, 1)
    duckdb.sql(f"SELECT bias FROM read_parquet({files}) WHERE id = '{IDS[17]}'").fetchall()
    ((bias,),) = duckdb.sql(f"SELECT bias FROM read_parquet({files}) WHERE id = '{IDS[17]}'").fetchall()
    assert bias == expected(2)[17]
    hubs = duckdb.sql(f"SELECT id FROM read_parquet({files}) ORDER BY bias DESC, id LIMIT 3").fetchall()
    order = np.argsort(-np.array(expected(2)), kind="stable")[:3]
    assert [row_id for (row_id,) in hubs] == [IDS[row] for row in order]


@pytest.mark.parametrize("read", [polars.read_parquet, lambda files: polars.scan_parquet(files).collect()])
def test_polars(table: str, read: object) -> None:
    found = read(files_of(table, 1)).sort("id")  # type: ignore[operator]
    assert found["id"].to_list() == IDS
    assert found["bias"].to_list() == expected(2)
    assert [list(means) for means in found["mean_k"].to_list()] == MEANS.tolist()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves files open
def test_fastparquet(table: str) -> None:
    """What reads Parquet without Arrow: it knows fewer encodings."""
    fastparquet = pytest.importorskip("fastparquet")
    found = fastparquet.ParquetFile(files_of(table, 1)).to_pandas().sort_values("id")
    assert found["id"].to_list() == IDS
    assert found["bias"].to_list() == expected(2)
    assert [list(means) for means in found["mean_k"]] == MEANS.tolist()


def test_pandas(table: str) -> None:
    pandas = pytest.importorskip("pandas")
    found = pandas.read_parquet(files_of(table, 1), engine="pyarrow").sort_values("id")
    assert found["id"].to_list() == IDS
    assert found["bias"].to_list() == expected(2)
    assert [means.tolist() for means in found["mean_k"]] == MEANS.tolist()


@pytest.mark.parametrize("kind", ["part", "delta", "rerank"])
def test_files_that_others_read_hold_old_encodings_only(table: str, tmp_path: Path, kind: str) -> None:
    """Those of Parquet 1.0: Spark below 4.3 and fastparquet refuse others."""
    path = files_of(table, 1)[0]
    if kind == "delta":
        Difference.of(table, 1, 2, path := str(tmp_path / "delta.parquet"))
    if kind == "rerank":
        read = load_bias_table(table)
        Path(path := str(tmp_path / "biases.parquet")).write_bytes(Reranker.of(read.ids, read.bias).to_bytes(slice(9)))
    footer = pq.read_metadata(path).row_group(0)
    found = {encoding for column in range(footer.num_columns) for encoding in footer.column(column).encodings}
    assert found <= {"PLAIN", "RLE"}


def read_delta(table: str, version: int | None = None) -> list[tuple[str, float]]:
    """Through deltalake's own dataset, queried by DuckDB."""
    rows = deltalake.DeltaTable(table, version=version).to_pyarrow_dataset()
    found: list[tuple[str, float]] = duckdb.from_arrow(rows).project("id, bias").order("id").fetchall()
    return found


def test_a_version_is_a_delta_table(table: str) -> None:
    before = data_files(table)
    done = register(table, 1)
    assert (done.version, done.files, done.added) == (1, 3, 3)
    assert read_delta(table) == list(zip(IDS, expected(2), strict=True))
    means = deltalake.DeltaTable(table).to_pyarrow_table(columns=["id", "mean_k"]).sort_by("id")
    assert means.column("mean_k").to_pylist() == MEANS.tolist()
    # Polars takes no array of fixed length for the list that a Delta schema has.
    assert polars.scan_delta(table).select("id", "bias").collect().sort("id").rows() == read_delta(table)
    assert register(table).version == 2
    assert read_delta(table) == list(zip(IDS, expected(0), strict=True))
    assert read_delta(table, done.delta_version) == list(zip(IDS, expected(2), strict=True))
    assert data_files(table) == before
    assert not find_pins(table)


def test_what_is_registered_already(table: str) -> None:
    first = register(table, 1)
    again = register(table, 1)
    assert (again.delta_version, again.added) == (first.delta_version, 0)
    register(table, 2)
    rollback(table, 1)
    assert register(table).added == 3
    assert delta_files(table) == {part.path for part in read_manifest(table, 1).files}
    assert read_delta(table) == list(zip(IDS, expected(2), strict=True))


def test_versions_that_share_files(table: str) -> None:
    """Only what differs is added and removed."""
    rows = read_manifest(table)
    publish(table, 3, k=1, files=1)
    register(table, 2)
    register(table, 3)
    assert delta_files(table) == {part.path for part in read_manifest(table, 3).files}
    assert {part.path for part in rows.files}.isdisjoint(delta_files(table))
    assert len(read_delta(table)) == len(IDS)


def test_expiry_leaves_what_the_delta_table_names(table: str) -> None:
    register(table, 1)
    later = time.time() + 30 * 86400
    assert expire(table, 1, 86400, later).versions == (1,)
    assert list_versions(table) == [2]
    assert read_delta(table) == list(zip(IDS, expected(2), strict=True))
    register(table)
    assert len(expire(table, 1, 86400, later).files) == 3
    assert read_delta(table) == list(zip(IDS, expected(0), strict=True))
    assert not check_table(table).bad


def test_a_vacuum_by_default_harms_no_version(table: str) -> None:
    register(table, 1)
    register(table, 2)
    deltalake.DeltaTable(table).vacuum(dry_run=False)
    deltalake.DeltaTable(table).vacuum(dry_run=False, full=True)
    assert not check_table(table, 1).bad + check_table(table, 2).bad


def test_a_damaged_log_stops_expiry(table: str) -> None:
    register(table, 1)
    path = min((Path(table) / "_delta_log").glob("*.json"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptArtifactError, match="is not a readable Delta log"):
        expire(table, 1, 86400, time.time() + 30 * 86400)
    assert list_versions(table) == [1, 2]


def test_what_cannot_be_registered(table: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no version 7"):
        register(table, 7)
    (Path(table) / "_delta_log").write_bytes(b"a file")
    with pytest.raises(StorageError, match="cannot write the Delta log"):
        register(table)
    assert list(find_pins(table).values()) == [2]  # nobody knows whether the log arrived
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(ConfigError, match=r"\.\[delta\]"):
        register(table)
    assert storage.exists(manifest_uri(table, 2))


def test_a_delta_table_on_s3(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """deltalake has a client of its own, which reads the same credentials."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", os.environ["FSSPEC_S3_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    publish(s3)
    publish(s3, 2, k=1)
    register(s3, 1)
    assert read_delta(s3) == list(zip(IDS, expected(2), strict=True))
    assert register(s3).added == 3
    assert read_delta(s3) == list(zip(IDS, expected(0), strict=True))
    assert delta_files(s3) == {part.path for part in read_manifest(s3, 2).files}
    assert not find_pins(s3)
