"""``nnn work gc``: what no retained version needs goes, and nothing is computed twice because of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from jobs import TwoVersions, refresh_arguments

from nnn_core import storage
from nnn_core.errors import StorageError
from nnn_core.scoring.looks import looks_path
from nnn_core.table.lifecycle import cleaning, leases
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.table.lifecycle.leases import leased
from nnn_core.table.manifest import list_versions, manifest_uri
from pipelines.commands import cli

#: What no refresh would call its files.
FOREIGN = ("notes.txt", "backup.parquet", "0" * 39 + ".parquet", "0" * 40 + ".csv", "queries.parquet", "run-1.json.bak")

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def place(two_versions: TwoVersions, request: pytest.FixtureRequest) -> Path:
    """The folder of the tiny job, as it was after the version that the test asks for."""
    return two_versions.restore(request.param)


def after(version: int) -> pytest.MarkDecorator:
    """What ``place`` starts from."""
    return pytest.mark.parametrize("place", [version], indirect=True)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command with --json; returns its object."""

    def run(*arguments: str, code: int = 0) -> dict[str, Any]:
        assert cli.main([*arguments, "--json"]) == code
        out = capsys.readouterr().out
        return json.loads(out.splitlines()[-1]) if code == 0 else {}

    return run


def gc(place: Path, *flags: str) -> list[str]:
    return ["work", "gc", "--work", str(place / "work"), "--table", str(place / "table"), *flags]


def age(place: Path) -> None:
    """Everything was written a month ago."""
    then = time.time() - 30 * 86400
    for path in place.rglob("*"):
        os.utime(path, (then, then))


def refresh(place: Path, version: int) -> list[str]:
    return refresh_arguments(str(place), str(place), version)


@after(1)
def test_what_a_retained_version_needs_stays(
    call: Call, place: Path, two_versions: TwoVersions, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of another table that shares the folder: the two are cleaned together."""
    call("table", "reweight", "--table", str(place / "table"), "--alpha", "0.75")
    assert not call(*gc(place))["files"]  # all of it is young
    assert cli.main(gc(place)) == 0
    (told,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"nothing to remove: \d+ files are needed, 2 more are younger than --older-than", told)
    needs = Needs.of_current(str(place / "table"), str(place / "work"))
    assert needs
    names = next((place / "work" / "partials").iterdir()).name, f"{'0' * 40}.parquet"
    kept, gone = (place / "work" / looks_path(name, needs.k_max) for name in names)
    for path in (kept, gone):
        storage.create(str(path), b"looks")
    age(place)
    found = call(*gc(place, "--yes"))
    assert (found["unknown"], {path.split("/")[0] for path in found["files"]}) == ([], {"looks", "runs", "standing"})
    assert (kept.exists(), gone.exists()) == (True, False)
    other = str(place / "other")
    again, new = call(*refresh(place, 2), "--table", other, "--k", "2")["stages"], two_versions.summaries[1]["stages"]
    for stage in ("embed_candidates", "embed_references", "measure_vectors", "score_candidates"):
        counts = [[figures[stage][name] for name in ("computed", "reused")] for figures in (again, new)]
        assert counts[0] == counts[1], "what version 1 came to is not computed again"
    age(place)
    assert cli.main([*gc(place), "--yes"]) == 2
    assert (
        f"is also used by {other!r}, whose artefacts would be removed. Nothing was removed" in capsys.readouterr().err
    )
    removed = call(*gc(place, "--table", other, "--yes"))["files"]
    assert {path.split("/")[0] for path in removed} == {"runs", "standing"}
    # Nobody can tell whether it is gone for good, or its bucket is.
    shutil.rmtree(other)
    for broken in (StorageError("the bucket does not exist"), None):
        with mock.patch.object(cleaning, "list_versions", lambda table, broken=broken: list_or_raise(table, broken)):
            assert cli.main([*gc(place), "--yes"]) == 2
        error = capsys.readouterr().err
        assert f"{other!r} also uses --work" in error
    Path(error.partition("gone for good, delete '")[2].partition("'")[0]).unlink()
    assert {path.split("/")[0] for path in call(*gc(place))["files"]} == {"embedded", "merged", "partials"}


@pytest.mark.slow
@after(0)
def test_what_nobody_needs_goes(call: Call, place: Path) -> None:
    call(*refresh(place, 2))
    os.unlink(manifest_uri(str(place / "table"), 1))
    call(*refresh(place, 0))
    age(place)
    shown = call(*gc(place))
    kinds = {path.split("/")[0] for path in shown["files"]}
    assert kinds == {"embedded", "merged", "partials", "runs", "standing"}
    assert all((place / "work" / path).exists() for path in shown["files"])
    removed = call(*gc(place, "--yes"))
    assert removed["files"] == shown["files"]
    assert not any((place / "work" / path).exists() for path in shown["files"])
    again = call(*refresh(place, 0))
    assert again["stages"]["score_candidates"]["computed"] == 0
    # What went is computed again when it is asked for again.
    call(*refresh(place, 2), "--accept", "lost_candidates")


@after(2)
def test_a_version_without_a_record_is_named(call: Call, two_versions: TwoVersions, place: Path) -> None:
    (first,) = (two_versions.kept[1] / "work" / "needs").iterdir()
    (place / "work" / "needs" / first.name).unlink()
    age(place)
    found = call(*gc(place))
    assert found["unknown"] == [[str(place / "table"), 1]]
    call(*gc(place, "--older-than", "5m"), code=2)


@after(2)
def test_foreign_files_stay(call: Call, place: Path) -> None:
    foreign = [
        place / "work" / folder / name for folder in ("embedded", "partials", "runs", "evaluation") for name in FOREIGN
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"somebody else's")
    age(place)
    removed = call(*gc(place, "--yes"))["files"]
    assert {path.split("/")[0] for path in removed} <= {"runs", "evaluation", "standing"}
    assert all(path.exists() for path in foreign)


@after(2)
def test_nothing_goes_while_a_refresh_is_at_work(
    call: Call, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEWED_AFTER", 0.01)
    age(place)
    with leased(str(place / "work"), "run-x"):
        time.sleep(0.1)
        assert cli.main([*gc(place, "--yes")]) == 2
        assert "a refresh is running" in capsys.readouterr().err
        held = {path.name for path in (place / "work" / "leases").iterdir()}
        assert held
        assert "run-x-000000.json" not in held
    assert not list((place / "work" / "leases").iterdir())
    left = [place / "work" / "leases" / "run-0123456789abcdef-000000.json"]
    left += [place / "work" / folder / ".x.json.0123456789abcdef.tmp" for folder in ("embedded", "needs")]
    for path in left:
        path.write_text("of a job that was killed")
    assert cli.main([*gc(place, "--yes")]) == 2
    age(place)
    capsys.readouterr()
    call(*gc(place, "--yes"))
    assert not any(path.exists() for path in left)


def list_or_raise(table: str, error: StorageError | None) -> list[int]:
    """The versions of a table, unless it is another one and the store has an error."""
    if error and table.endswith("/other"):
        raise error
    return list_versions(table)


@after(2)
def test_a_damaged_record_stops_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = min((place / "work" / "needs").iterdir())
    record.write_bytes(record.read_bytes().replace(b"false", b"true ", 1))
    age(place)
    assert cli.main([*gc(place, "--yes")]) == 9
    assert f"{str(record)!r} is damaged" in capsys.readouterr().err


@after(1)
def test_the_folder_of_another_table_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place / "work", place / "work2")
    shutil.rmtree(place / "work2" / "tables")  # as an earlier release left it
    age(place)
    command = [*gc(place, "--yes"), "--work", str(place / "work2")]
    shutil.rmtree(place / "work2" / "needs")
    assert cli.main(command) == 2
    assert "left a record under --work" in capsys.readouterr().err
    assert list((place / "work2" / "partials").iterdir())
