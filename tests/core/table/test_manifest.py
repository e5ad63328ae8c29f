"""A version exists when its manifest does; a manifest that was touched is noticed."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tables import GATES, make_manifest

from nnn_core.digests import add_set_digests
from nnn_core.embedded.side import Side
from nnn_core.errors import ConflictError, CorruptArtifactError, InputError, StorageError
from nnn_core.table.manifest import (
    Manifest,
    commit_version,
    current_manifest,
    list_versions,
    manifest_uri,
    prepare_table,
    read_manifest,
)


@pytest.fixture
def table(tmp_path: Path) -> str:
    return str(tmp_path / "table")


def test_round_trip(table: str) -> None:
    manifest = make_manifest()
    assert commit_version(table, manifest) == manifest
    assert read_manifest(table) == manifest
    assert current_manifest(table) == manifest
    data = Path(manifest_uri(table, 1)).read_bytes()
    assert data == manifest.to_json()
    assert Manifest.from_json(data, "x").to_json() == data


def test_gates_and_what_is_known_of_the_sides_are_kept(table: str) -> None:
    side = Side(6, 1, "c" * 64, ("sha256:1",), "AACAPw==", 4)
    manifest = dataclasses.replace(make_manifest(), candidates=side, gates=GATES)
    commit_version(table, manifest)
    assert read_manifest(table) == manifest
    record = json.loads(manifest.to_json())["gates"]
    assert record[0] == {
        "name": "alpha", "value": 3.0, "threshold": 2.0, "verdict": "fail", "accepted": True,
        "sentence": "alpha 3 differs from the previous one by a factor of 3 (limit: at most 2)",
    }  # fmt: skip


def test_other_gates_alone_are_no_new_version(table: str) -> None:
    commit_version(table, dataclasses.replace(make_manifest(1), gates=GATES))
    assert commit_version(table, make_manifest(2)).gates == GATES
    assert list_versions(table) == [1]
    assert make_manifest(1).says_the_same(dataclasses.replace(make_manifest(7), gates=GATES))
    assert not make_manifest(1).says_the_same(make_manifest(1, alpha=0.2))


def test_figures_of_the_whole_table() -> None:
    manifest = make_manifest(parts=3)
    record = json.loads(manifest.to_json())
    assert manifest.rows == record["rows"] == 9
    assert manifest.id_digest == record["id_digest"] == add_set_digests(part.id_digest for part in manifest.files)
    assert record["statistics"] == {"bias_min": -0.2, "bias_max": 2.3, "bias_mean": pytest.approx(1 / 9)}
    assert record["format"] == "nnn-bias-table/1"


def test_every_flipped_bit_is_noticed(table: str) -> None:
    """In white space too, where it would change nothing: what was touched is not what was published."""
    commit_version(table, make_manifest(parts=1))
    path = Path(manifest_uri(table, 1))
    whole = path.read_bytes()
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= 1 << position % 8
        path.write_bytes(bytes(data))
        with pytest.raises(CorruptArtifactError):
            read_manifest(table)


@pytest.mark.parametrize("change", [lambda data: data + b"\n", lambda data: data[:-1], lambda data: b" " + data])
def test_the_same_content_in_other_bytes_is_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(CorruptArtifactError, match="its content is the same, but not its bytes"):
        Manifest.from_json(change(make_manifest().to_json()), "x")


def test_a_manifest_under_the_name_of_another_version_is_refused(table: str) -> None:
    commit_version(table, make_manifest(1))
    Path(manifest_uri(table, 4)).write_bytes(Path(manifest_uri(table, 1)).read_bytes())
    with pytest.raises(CorruptArtifactError, match=r"000004\.json' is the manifest of version 1 under the name of"):
        read_manifest(table)
    assert read_manifest(table, 1) == make_manifest(1)


@pytest.mark.parametrize("length", [0, 1, 100, -2])
def test_a_manifest_that_was_cut_is_refused(table: str, length: int) -> None:
    commit_version(table, make_manifest())
    path = Path(manifest_uri(table, 1))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(
        CorruptArtifactError, match=r"000001\.json' is not a readable manifest.*older version.*move this file"
    ):
        read_manifest(table)


@pytest.mark.parametrize("data", [b"[]", b"7", b"null", b'"x"', b"{}", b'{"checksum": 1}', b"\xff\xfe"])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptArtifactError, match=r"'some\.json' is not a readable manifest"):
        Manifest.from_json(data, "some.json")


def test_another_format_is_refused() -> None:
    data = make_manifest().to_json().replace(b"nnn-bias-table/1", b"nnn-bias-table/9")
    with pytest.raises(
        CorruptArtifactError, match="format 'nnn-bias-table/9', and this release reads 'nnn-bias-table/1'"
    ):
        Manifest.from_json(data, "x")


def test_an_edit_is_noticed() -> None:
    record = json.loads(make_manifest().to_json())
    record["settings"]["alpha"] = 0.2
    with pytest.raises(CorruptArtifactError, match="its checksum does not match its content"):
        Manifest.from_json(json.dumps(record).encode(), "x")


def test_versions(table: str) -> None:
    assert list_versions(table) == []
    assert current_manifest(table) is None
    for version in (1, 2, 999_999, 1_000_001):
        commit_version(table, make_manifest(version, alpha=float(version)))
    for name in ("000003.json.tmp", "7.json", "x000004.json", ".000005.json.abc.tmp"):
        (Path(table) / "versions" / name).write_bytes(b"noise")
    (Path(table) / "versions" / "000006").mkdir()
    assert list_versions(table) == [1, 2, 999_999, 1_000_001]
    assert read_manifest(table).version == 1_000_001
    assert read_manifest(table, 2).settings.alpha == 2.0


def test_missing_tables_and_versions(table: str) -> None:
    with pytest.raises(InputError, match=r"table' has no bias table .*nnn refresh"):
        read_manifest(table)
    for version in (2, 4):
        commit_version(table, make_manifest(version, alpha=float(version)))
    with pytest.raises(InputError, match=r"table' has no version 3. It has versions 2 to 4 \(2 in all\)"):
        read_manifest(table, 3)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files come from /proc")
def test_the_disk_is_told_to_keep_the_names_of_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the data before the manifest has its name, that of the manifest after it."""
    synced, real, manifest = [], os.fsync, make_manifest()
    for path in manifest.paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "versions").mkdir(exist_ok=True)
    uri = manifest_uri(str(tmp_path), manifest.version)

    def fsync(descriptor: int) -> None:
        real(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            synced.append((str(path.relative_to(tmp_path)), Path(uri).exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    commit_version(str(tmp_path), manifest)
    folders = {str(Path(path).parent) for path in manifest.paths}
    assert {name for name, published in synced if not published} == {*folders, "versions", "."}
    assert synced[-1] == ("versions", True)


def test_to_commit_again_changes_nothing(table: str) -> None:
    manifest = make_manifest()
    commit_version(table, manifest)
    before = Path(manifest_uri(table, 1)).read_bytes()
    assert commit_version(table, manifest) == manifest
    assert list_versions(table) == [1]
    assert Path(manifest_uri(table, 1)).read_bytes() == before


def test_content_that_did_not_change_is_no_new_version(table: str) -> None:
    commit_version(table, make_manifest(1))
    assert commit_version(table, make_manifest(2)) == make_manifest(1)
    assert list_versions(table) == [1]
    assert commit_version(table, make_manifest(2, alpha=0.2)).version == 2
    assert commit_version(table, make_manifest(3)).version == 3  # back to the content of version 1
    assert list_versions(table) == [1, 2, 3]


def test_a_late_retry_of_a_commit_is_no_conflict(table: str) -> None:
    first = make_manifest(1)
    commit_version(table, first)
    commit_version(table, make_manifest(2, alpha=0.2))
    assert commit_version(table, first) == first
    assert list_versions(table) == [1, 2]


def test_a_number_that_is_taken_is_a_conflict(table: str) -> None:
    commit_version(table, make_manifest(1))
    before = Path(manifest_uri(table, 1)).read_bytes()
    with pytest.raises(ConflictError, match=r"version 1 of '.*table' was published by another job.*same command again"):
        commit_version(table, make_manifest(1, alpha=0.2))
    assert Path(manifest_uri(table, 1)).read_bytes() == before


def test_one_of_many_publishers_wins(table: str) -> None:
    barrier = threading.Barrier(8)

    def publish(number: int) -> int | None:
        barrier.wait()
        try:
            return int(commit_version(table, make_manifest(1, alpha=float(number))).settings.alpha)
        except ConflictError:
            return None

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(publish, range(8)))
    (winner,) = [outcome for outcome in outcomes if outcome is not None]
    assert outcomes[winner] == winner
    assert read_manifest(table).settings.alpha == winner


def test_bytes_depend_on_the_content_only() -> None:
    first = make_manifest()
    turned = dataclasses.replace(first.settings, encoder=dict(reversed(first.settings.encoder.items())))
    assert dataclasses.replace(first, settings=turned).to_json() == first.to_json()
    assert make_manifest(alpha=0.2).to_json() != first.to_json()


def test_prepare_table(table: str, tmp_path: Path) -> None:
    prepare_table(table)
    prepare_table(table)
    assert json.loads((Path(table) / "nnn-bias-table.json").read_bytes()) == {"format": "nnn-bias-table/1"}
    assert list_versions(table) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        prepare_table(str(tmp_path / "file" / "table"))


def test_a_table_where_a_file_lies_is_refused(tmp_path: Path) -> None:
    """Before the work, that is, not when its result is to be published."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write"):
        prepare_table(str(tmp_path / "file"))
