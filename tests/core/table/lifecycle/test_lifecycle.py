"""Rollback and expiry: what is current, what is kept, and what jobs and readers at work may rely on."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tables import IDS, MEANS, data_files, publish

from nnn_core import storage
from nnn_core.errors import ConfigError, ConflictError, CorruptArtifactError, InputError, StorageError
from nnn_core.table.lifecycle import expiry
from nnn_core.table.lifecycle._age import MIN_AGE
from nnn_core.table.lifecycle._pins import find_pins, pinned
from nnn_core.table.lifecycle.check import check_table
from nnn_core.table.lifecycle.expiry import Expiry, expire
from nnn_core.table.lifecycle.rollback import rollback
from nnn_core.table.manifest import commit_version, list_versions, manifest_uri, read_manifest
from nnn_core.table.reading import load_bias_table, reweight

DAY = 86400.0


def later(days: float = 30.0) -> float:
    return time.time() + days * DAY


def publish_many(table: str, versions: int = 5) -> None:
    """Versions that share no file."""
    for version in range(1, versions + 1):
        publish(table, version, alpha=version / 8)


def alpha_of(table: str) -> float:
    return load_bias_table(table).manifest.settings.alpha


@pytest.fixture
def table(tmp_path: Path) -> str:
    uri = str(tmp_path / "table")
    publish_many(uri)
    return uri


def test_a_rollback_is_a_new_version_of_old_files(table: str) -> None:
    before, old = data_files(table), read_manifest(table, 2)
    manifest = rollback(table, 2)
    assert manifest == dataclasses.replace(old, version=6) == read_manifest(table)
    assert alpha_of(table) == 2 / 8
    assert data_files(table) == before
    assert not find_pins(table)


def test_a_rollback_to_what_is_current_publishes_nothing(table: str) -> None:
    assert rollback(table, 5).version == 5
    assert rollback(table, 2).version == rollback(table, 2).version == rollback(table, 6).version == 6
    assert list_versions(table) == [1, 2, 3, 4, 5, 6]


def test_a_rollback_to_no_version_is_refused(table: str) -> None:
    with pytest.raises(InputError, match="has no version 9"):
        rollback(table, 9)
    assert not find_pins(table)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_damaged_version_is_not_rolled_back_to(table: str, harm: Callable[[Path], object]) -> None:
    harm(Path(table) / read_manifest(table, 2).files[1].path)
    with pytest.raises(CorruptArtifactError, match=r"version 2 of .* was not made the current one: 1 of its files"):
        rollback(table, 2)
    assert list_versions(table) == [1, 2, 3, 4, 5]


def test_a_rollback_meets_another_publisher(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typed conflict, and the pin is gone."""

    def check(uri: str, version: int, with_mark: bool) -> object:
        publish(table, 6, alpha=0.9)
        return check_table(uri, version, with_mark)

    monkeypatch.setattr("nnn_core.table.lifecycle.rollback.check_table", check)
    with pytest.raises(ConflictError, match=r"version 6 of .* was published by another job"):
        rollback(table, 1)
    assert alpha_of(table) == 0.9
    assert not find_pins(table)
    monkeypatch.undo()
    assert rollback(table, 1).version == 7


def test_a_rollback_to_a_version_that_expires_meanwhile(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(uri: str, version: int, with_mark: bool) -> object:
        found = check_table(uri, version, with_mark)
        expire(table, 1, DAY, later())
        return found

    monkeypatch.setattr("nnn_core.table.lifecycle.rollback.check_table", check)
    with pytest.raises(InputError, match=r"version 1 of .* was removed by nnn table expire"):
        rollback(table, 1)
    assert list_versions(table) == [5]


def test_a_pin_stays_where_nobody_knows_whether_the_manifest_arrived(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit(*_: object) -> None:
        raise StorageError("the answer was lost")

    monkeypatch.setattr("nnn_core.table.lifecycle.rollback.commit_version", commit)
    with pytest.raises(StorageError):
        rollback(table, 2)
    assert list(find_pins(table).values()) == [2]


def test_expiry_keeps_the_newest(table: str) -> None:
    files = {version: {part.path for part in read_manifest(table, version).files} for version in list_versions(table)}
    done = expire(table, 2, DAY, later())
    assert (done.versions, done.kept) == ((1, 2, 3), (4, 5))
    assert set(done.files) == files[1] | files[2] | files[3]
    assert list_versions(table) == [4, 5]
    assert data_files(table) == files[4] | files[5]
    assert not check_table(table, 4).bad + check_table(table, 5).bad
    assert expire(table, 2, DAY, later()) == Expiry((4, 5), (), (), 0)


def test_a_plan_removes_nothing(table: str) -> None:
    before = data_files(table)
    plan = Expiry.plan(table, 2, DAY, later())
    assert (list_versions(table), data_files(table)) == ([1, 2, 3, 4, 5], before)
    assert plan.bytes == sum((Path(table) / path).stat().st_size for path in plan.files) > 0
    assert expire(table, 2, DAY, later()) == plan


def test_files_that_a_kept_version_names_stay(table: str) -> None:
    """Version 6 is version 1 again, and the files lie in the folder of version 1."""
    rollback(table, 1)
    expire(table, 1, DAY, later())
    assert list_versions(table) == [6]
    assert data_files(table) == {part.path for part in read_manifest(table).files}
    assert not check_table(table).bad


def test_the_age_counts_from_when_a_version_was_replaced(table: str) -> None:
    now = time.time()
    for version, days in enumerate((9, 8, 3, 2, 1), start=1):
        os.utime(manifest_uri(table, version), (now, now - days * DAY))
    done = Expiry.plan(table, 1, 2.5 * DAY, now)
    # Version 2 is old, and was the current one until 3 days ago; version 3 until 2 days ago.
    assert (done.versions, done.kept) == ((1, 2), (3, 4, 5))
    assert done.files == ()  # written just now


def test_what_a_running_job_wrote_stays_however_old(table: str) -> None:
    """A refresh that began on top of version 5 works under the number 6, and its files have no manifest yet."""
    running = publish(str(Path(table).parent / "elsewhere"), 6, alpha=0.9)
    for part in running.files:
        storage.create(storage.join(table, part.path), (Path(table).parent / "elsewhere" / part.path).read_bytes())
    expire(table, 1, DAY, later())
    commit_version(table, running)
    assert not check_table(table).bad
    assert load_bias_table(table).ids.to_pylist() == IDS


def test_a_job_that_names_files_of_the_current_version_again(table: str) -> None:
    """It never loses them: either its base is still there, or it meets a conflict."""
    base = read_manifest(table)
    again = dataclasses.replace(base, version=6, dim=9)
    expire(table, 1, DAY, later())
    assert commit_version(table, again).version == 6
    assert not check_table(table).bad
    late = dataclasses.replace(base, version=6, dim=10)
    publish_more = [publish(table, version, alpha=version / 8) for version in (7, 8)]
    expire(table, 1, DAY, later())
    assert list_versions(table) == [publish_more[-1].version]
    with pytest.raises(ConflictError, match=r"version 6"):
        commit_version(table, late)  # its number is free as a name, and its files are gone
    assert list_versions(table) == [8]


def test_leftovers_go_when_they_are_old_and_their_number_is_taken(table: str) -> None:
    names = [
        "versions/000003/part-00009-0123456789abcdef.parquet",
        "versions/000006/part-00009-0123456789abcdef.parquet",
    ]
    for name in (*names, "versions/000003/notes.txt", "versions/other.parquet"):
        path = Path(table) / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert Expiry.plan(table, 5, DAY).files == ()  # written just now
    assert expire(table, 5, DAY, later()).files == (names[0],)
    assert not (Path(table) / names[0]).exists()
    assert all(
        (Path(table) / name).exists() for name in (names[1], "versions/000003/notes.txt", "versions/other.parquet")
    )


def test_what_was_half_written_goes_wherever_it_lies(table: str) -> None:
    half = [f"versions/{place}.0123456789abcdef.tmp" for place in (".000007.json", "000003/.part-1", "000006/.part-1")]
    foreign = ["versions/.000007.json.tmp", "versions/000003/part-1.0123456789abcdef.tmp"]
    for name in (*half, *foreign):
        path = Path(table) / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert Expiry.plan(table, 5, DAY).files == ()  # somebody may be writing it
    assert sorted(expire(table, 5, DAY, later()).files) == sorted(half)
    assert all((Path(table) / name).exists() for name in foreign)
    assert not any((Path(table) / name).exists() for name in half)


def test_a_pinned_version_stays(table: str) -> None:
    with pinned(table, 2):
        done = expire(table, 1, DAY)
        assert done.kept == (1, 2, 3, 4, 5)
        # Much later the pin is that of a job that was killed.
        os.utime(next(iter(find_pins(table))), (time.time(), later(28)))
        done = expire(table, 1, DAY, later(28.5))
        assert (done.kept, list_versions(table)) == ((2, 5), [2, 5])
        assert not check_table(table, 2).bad
        assert expire(table, 1, DAY, later()).kept == (5,)
        assert not find_pins(table)
    assert list_versions(table) == [5]


def test_files_of_a_version_that_is_pinned_while_its_manifest_goes(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rollback looked for the manifest just before it was removed, and has not committed yet."""
    real, remove = storage.remove, []

    def watched(uri: str) -> bool:
        if not remove:
            storage.create(storage.join(table, "versions", "000002.pin-0123456789abcdef"), b"")
        remove.append(uri)
        return real(uri)

    old = read_manifest(table, 2)
    monkeypatch.setattr(storage, "remove", watched)
    expire(table, 1, DAY, later())
    assert list_versions(table) == [5]
    commit_version(table, dataclasses.replace(old, version=6))
    assert not check_table(table).bad
    assert alpha_of(table) == 2 / 8


def test_files_of_a_version_that_is_named_again_while_its_manifest_goes(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rollback committed just before the manifest was removed, and its pin is gone."""
    real, again = storage.remove, []

    def watched(uri: str) -> bool:
        if not again:
            again.append(commit_version(table, dataclasses.replace(read_manifest(table, 2), version=6)))
        return real(uri)

    monkeypatch.setattr(storage, "remove", watched)
    done = expire(table, 1, DAY, later())
    assert list_versions(table) == [5, 6]
    assert not check_table(table).bad
    assert set(done.files).isdisjoint(part.path for part in again[0].files)


def test_manifests_go_before_files(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every moment all versions that are listed are whole, and a run that was killed is finished by the next."""
    real = storage.remove

    class Killed(Exception):
        pass

    for moment in range(100):

        def act(uri: str, left: list[None] = [None] * moment) -> bool:
            if not left:
                raise Killed
            left.pop()
            return real(uri)

        monkeypatch.setattr(storage, "remove", act)
        try:
            expire(table, 2, DAY, later())
        except Killed:
            for version in list_versions(table):
                assert not check_table(table, version).bad
            monkeypatch.undo()
        else:
            break
    assert moment > 3
    assert data_files(table) == {part.path for v in (4, 5) for part in read_manifest(table, v).files}


def test_a_damaged_manifest_that_stays_stops_expiry(table: str) -> None:
    path = Path(manifest_uri(table, 4))
    path.write_bytes(path.read_bytes()[:-2])
    before = data_files(table)
    with pytest.raises(CorruptArtifactError, match=r"000004\.json"):
        expire(table, 2, DAY, later())
    assert (list_versions(table), data_files(table)) == ([1, 2, 3, 4, 5], before)


def test_a_damaged_manifest_that_goes_is_in_nobodys_way(table: str) -> None:
    path = Path(manifest_uri(table, 2))
    path.write_bytes(path.read_bytes()[:-2])
    assert expire(table, 2, DAY, later()).versions == (1, 2, 3)
    assert data_files(table) == {part.path for v in (4, 5) for part in read_manifest(table, v).files}


@pytest.mark.parametrize(("keep", "age"), [(0, DAY), (-1, DAY), (1, 0.0), (1, MIN_AGE - 1), (1, float("nan"))])
def test_limits_that_would_harm_are_refused(table: str, keep: int, age: float) -> None:
    with pytest.raises(ConfigError):
        expire(table, keep, age, later())
    assert list_versions(table) == [1, 2, 3, 4, 5]


def test_no_table_to_expire(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no bias table"):
        Expiry.plan(str(tmp_path), 1, DAY)


def test_expiry_where_another_is_at_work(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file that the other removed first is no error."""
    real, started = expiry.find_pins, []

    def find(uri: str) -> dict[str, int]:
        if len(started) == 1:
            started.append("other")
            expire(uri, 1, DAY, later())
        started.append("pins")
        return real(uri)

    monkeypatch.setattr(expiry, "find_pins", find)
    expire(table, 1, DAY, later())
    assert "other" in started
    assert data_files(table) == {part.path for part in read_manifest(table).files}


def test_life_on_object_stores(store: str) -> None:
    """The same on S3 and Cloud Storage: publish, roll back, expire, check."""
    publish_many(store, 3)
    assert rollback(store, 1).version == 4
    assert Expiry.plan(store, 1, DAY).versions == ()
    done = expire(store, 1, DAY, later())
    assert (done.versions, list_versions(store)) == ((1, 2, 3), [4])
    assert len(done.files) == 6
    assert not check_table(store).bad
    assert load_bias_table(store).bias.tolist() == (MEANS[:, 2].astype("f8") / 8).astype("f4").tolist()
    assert reweight(store, k=1).version == 5
