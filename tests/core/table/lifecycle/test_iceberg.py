"""Versions as Iceberg tables, written and read by pyiceberg with a catalog in SQLite."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from tables import data_files, publish, publish_two_for_iceberg, rows_of

from nnn_core.digests import sha256
from nnn_core.errors import ConfigError, CorruptArtifactError, InputError, StorageError
from nnn_core.table.lifecycle._pins import find_pins
from nnn_core.table.lifecycle.check import check_table
from nnn_core.table.lifecycle.expiry import expire
from nnn_core.table.lifecycle.iceberg import _iceberg_versions, register_iceberg
from nnn_core.table.lifecycle.rollback import rollback
from nnn_core.table.manifest import list_versions, manifest_uri

catalogs = pytest.importorskip("pyiceberg.catalog")

LATER = time.time() + 30 * 86400


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return publish_two_for_iceberg(tmp_path, monkeypatch)


def read_iceberg() -> list[dict[str, object]]:
    found = catalogs.load_catalog("test").load_table("search.bias").scan().to_arrow()
    return found.sort_by("id").to_pylist()  # type: ignore[no-any-return]


def test_a_version_is_an_iceberg_table(table: str) -> None:
    before = data_files(table)
    done = register_iceberg(table, "test", "search.bias", 1)
    assert (done.version, done.files) == (1, 3)
    assert read_iceberg() == rows_of(4)
    second = register_iceberg(table, "test", "search.bias")
    assert read_iceberg() == rows_of(1)
    iceberg = catalogs.load_catalog("test").load_table("search.bias")
    assert iceberg.scan(snapshot_id=done.snapshot).to_arrow().sort_by("id").to_pylist() == rows_of(4)
    said = iceberg.current_snapshot().summary.additional_properties
    manifest = Path(manifest_uri(table, 2)).read_bytes()
    record = json.loads(manifest)
    assert said["nnn.version"] == "2"
    assert (int(said["nnn.k"]), float(said["nnn.alpha"])) == (record["settings"]["k"], record["settings"]["alpha"])
    assert (said["nnn.bank_digest"], said["nnn.id_digest"]) == (record["settings"]["bank_digest"], record["id_digest"])
    assert said["nnn.manifest_sha256"] == sha256(manifest)
    assert register_iceberg(table, "test", "search.bias") == second
    assert data_files(table) == before
    assert not find_pins(table)


def test_expiry_keeps_the_version_that_iceberg_readers_see(table: str) -> None:
    register_iceberg(table, "test", "search.bias", 1)
    assert _iceberg_versions(table) == {1}
    assert expire(table, 1, 86400, LATER).versions == ()
    register_iceberg(table, "test", "search.bias")
    register_iceberg(table, "test", "search.bias", 2)
    rollback(table, 1)
    register_iceberg(table, "test", "search.bias")
    assert 3 in _iceberg_versions(table)
    expire(table, 1, 86400, LATER)
    assert 3 in list_versions(table)
    assert read_iceberg() == rows_of(4)
    assert not check_table(table).bad


def test_what_cannot_be_registered(table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no version 7"):
        register_iceberg(table, "test", "search.bias", 7)
    with pytest.raises(ConfigError, match=r"NAMESPACE\.TABLE"):
        register_iceberg(table, "test", "bias")
    with pytest.raises(ConfigError, match="--catalog 'nowhere'"):
        register_iceberg(table, "nowhere", "search.bias")
    register_iceberg(table, "test", "search.bias")
    other = str(tmp_path / "other")
    publish(other)
    with pytest.raises(ConfigError, match="is an Iceberg table at"):
        register_iceberg(other, "test", "search.bias")
    monkeypatch.setenv("PYICEBERG_CATALOG__TEST__URI", f"sqlite:///{tmp_path}/no/folder/catalog.db")
    monkeypatch.setattr(catalogs, "_ENV_CONFIG", catalogs.Config())
    with pytest.raises(StorageError, match="cannot write the Iceberg table"):
        register_iceberg(table, "test", "search.bias")
    monkeypatch.setitem(sys.modules, "pyiceberg.catalog", None)
    with pytest.raises(ConfigError, match=r"\.\[iceberg\]"):
        register_iceberg(table, "test", "search.bias")


def test_damaged_metadata_stop_expiry(table: str) -> None:
    register_iceberg(table, "test", "search.bias", 1)
    path = max((Path(table) / "_iceberg" / "metadata").glob("*.metadata.json"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptArtifactError, match="is not readable Iceberg metadata"):
        expire(table, 1, 86400, LATER)
    assert list_versions(table) == [1, 2]
