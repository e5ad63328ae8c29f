"""A version whose files are as published may still have been published wrong: the check says how."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tables import publish

from nnn_core import storage
from nnn_core.artifacts import to_parquet
from nnn_core.digests import sha256
from nnn_core.table.lifecycle.check import _problems_of, check_table
from nnn_core.table.manifest import Manifest, manifest_uri, read_manifest
from nnn_core.table.parts import BiasSettings


@pytest.fixture
def table(tmp_path: Path) -> str:
    uri = str(tmp_path / "table")
    publish(uri)
    return uri


def replaced(table: pa.Table, name: str, values: object) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.set_column(index, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def with_nan(table: pa.Table) -> pa.Table:
    means = table.column("mean_k").to_pylist()
    means[1][0] = float("nan")
    return replaced(table, "mean_k", means)


def swapped(table: pa.Table) -> pa.Table:
    return table.take(pa.array([1, 0, *range(2, table.num_rows)]))


def with_other_bias(table: pa.Table) -> pa.Table:
    bias = table.column("bias").to_numpy().copy()
    bias[2] = np.nextafter(bias[2], np.float32(9))
    return replaced(table, "bias", bias)


def with_other_id(table: pa.Table) -> pa.Table:
    ids = table.column("id").to_pylist()
    return replaced(table, "id", [*ids[:1], ids[1] + "!", *ids[2:]])


TAMPERED: list[tuple[Callable[[pa.Table], pa.Table], str]] = [
    (lambda table: table.drop_columns(["bias"]), "has the columns id (string), mean_k"),
    (lambda table: table.set_column(1, "bias", table.column("bias").cast(pa.float64())), "bias (double)"),
    (lambda table: table.replace_schema_metadata(None), "has a footer with other settings"),
    (lambda table: table.replace_schema_metadata({b"nnn_bias_table": b'{"k": 4}'}), "has a footer with other settings"),
    (lambda table: table.slice(1), "the manifest says 13"),
    (lambda table: replaced(table, "bias", [None, *table.column("bias").to_pylist()[1:]]), "rows without"),
    (swapped, "ids that are not sorted"),
    (with_other_id, "other ids than the manifest ("),
    (with_nan, "NaN or infinite"),
    (with_other_bias, "not alpha times the mean"),
]  # fmt: skip


@pytest.mark.parametrize(("tamper", "problem"), TAMPERED, ids=[problem for _, problem in TAMPERED])
def test_content_that_contradicts_the_manifest(
    table: str, tamper: Callable[[pa.Table], pa.Table], problem: str
) -> None:
    manifest = read_manifest(table)
    part = manifest.files[0]
    assert part.rows == 13
    whole = part.read(table)
    assert list(_problems_of(whole, part, manifest.settings)) == []
    assert problem in "; ".join(_problems_of(tamper(whole), part, manifest.settings))


@pytest.mark.parametrize(
    ("field", "problem"),
    [("min_id", "not those in the manifest"), ("max_id", "not those in the manifest"), ("id_digest", "digests")],
)
def test_a_manifest_that_contradicts_the_content(table: str, field: str, problem: str) -> None:
    manifest = read_manifest(table)
    part = dataclasses.replace(manifest.files[0], **{field: "7"})
    assert problem in "; ".join(_problems_of(manifest.files[0].read(table), part, manifest.settings))


@pytest.mark.parametrize("field", ["bias_min", "bias_max", "bias_sum"])
def test_statistics_of_the_manifest_are_those_of_the_rows(table: str, field: str) -> None:
    manifest = read_manifest(table)
    part = dataclasses.replace(manifest.files[0], **{field: getattr(manifest.files[0], field) + 1e-9})
    (problem,) = _problems_of(manifest.files[0].read(table), part, manifest.settings)
    assert problem == "has biases whose range or sum differs from the manifest"


def republish(table: str, change: Callable[[Manifest], Manifest]) -> None:
    """A manifest that is damaged in no byte, and wrong."""
    changed = change(read_manifest(table))
    Path(manifest_uri(table, 1)).write_bytes(changed.to_json())


def test_files_that_are_not_in_order(table: str) -> None:
    republish(table, lambda manifest: dataclasses.replace(manifest, files=manifest.files[::-1]))
    (bad,) = check_table(table).bad
    assert (bad.path, bad.state) == ("versions/000001.json", "damaged")
    assert "so the table's ids are not sorted" in bad.problem


@pytest.mark.parametrize("data", [b"no parquet", b""])
def test_a_file_that_was_published_broken(table: str, data: bytes) -> None:
    path = "versions/000001/part-00009-0123456789abcdef.parquet"
    storage.create(storage.join(table, path), data)

    def change(manifest: Manifest) -> Manifest:
        part = dataclasses.replace(manifest.files[0], path=path, sha256=sha256(data), bytes=len(data))
        return dataclasses.replace(manifest, files=(part, *manifest.files[1:]))

    republish(table, change)
    (bad,) = check_table(table).bad
    assert (bad.path, bad.state, "is not a Parquet file" in bad.problem) == (path, "damaged", True)


def test_a_file_that_was_published_with_a_wrong_bias(table: str) -> None:
    part = read_manifest(table).files[0]
    data = to_parquet(with_other_bias(part.read(table)))
    path = "versions/000001/part-00009-0123456789abcdef.parquet"
    storage.create(storage.join(table, path), data)

    def change(manifest: Manifest) -> Manifest:
        other = dataclasses.replace(part, path=path, sha256=sha256(data), bytes=len(data))
        return dataclasses.replace(manifest, files=(other, *manifest.files[1:]))

    republish(table, change)
    (bad,) = check_table(table).bad
    assert (
        "has biases that are not alpha times the mean of the k nearest. It was published in this state" in bad.problem
    )


def test_a_stray_file_says_what_it_is(table: str) -> None:
    """Its footer repeats the manifest's essentials, but nothing that differs between versions with equal rows."""
    manifest = read_manifest(table)
    path = Path(table) / manifest.files[0].path
    found = BiasSettings.essentials_of(pq.read_schema(path))
    assert found == {
        "format": "nnn-bias-table/1",
        "k": 4,
        "alpha": 0.75,
        "grid": [1, 2, 4],
        "candidate_modality": "image",
        "reference_modality": "text",
        "exclude_own_pairs": False,
        "encoder": {"kind": "precomputed"},
        "bank_digest": "b" * 64,
    }
    publish(table, 2, k=1)
    again = publish(table, 3)
    assert [part.sha256 for part in again.files] == [part.sha256 for part in manifest.files]


@pytest.mark.parametrize("metadata", [None, {}, {"nnn_bias_table": "{"}, {"nnn_bias_table": "[]"}, {"other": "{}"}])
def test_a_file_that_says_nothing(metadata: dict[str, str] | None) -> None:
    assert BiasSettings.essentials_of(pa.schema({"id": pa.string()}, metadata=metadata)) is None


def test_the_schema_is_that_of_the_settings(table: str) -> None:
    manifest = read_manifest(table)
    for part in manifest.files:
        stored, expected = pq.read_schema(Path(table) / part.path), manifest.settings.schema
        assert stored.equals(expected)
        assert stored.metadata == expected.metadata
