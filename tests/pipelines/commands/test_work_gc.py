"""``nnn work gc``: what no retained version needs goes, and nothing is computed twice because of it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs import plant_inputs, refresh_arguments

from nnn_core.table.manifest import manifest_uri
from pipelines.commands import cli

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command with --json on the tiny job; returns its object."""
    plant_inputs(tmp_path, str(tmp_path))

    def run(*arguments: str, code: int = 0) -> dict[str, Any]:
        assert cli.main([*arguments, "--json"]) == code
        out = capsys.readouterr().out
        return json.loads(out.splitlines()[-1]) if code == 0 else {}

    return run


def gc(tmp_path: Path, *flags: str) -> list[str]:
    return ["work", "gc", "--work", str(tmp_path / "work"), "--table", str(tmp_path / "table"), *flags]


def age(tmp_path: Path) -> None:
    """Everything was written a month ago."""
    then = time.time() - 30 * 86400
    for path in tmp_path.rglob("*"):
        os.utime(path, (then, then))


def refresh(tmp_path: Path, version: int) -> list[str]:
    return refresh_arguments(str(tmp_path), str(tmp_path), version)


def test_what_a_retained_version_needs_stays(call: Call, tmp_path: Path) -> None:
    call(*refresh(tmp_path, 1))
    call(*refresh(tmp_path, 2))
    call("table", "reweight", "--table", str(tmp_path / "table"), "--alpha", "0.5")
    assert not call(*gc(tmp_path))["files"]  # all of it is young
    age(tmp_path)
    found = call(*gc(tmp_path, "--yes"))
    assert (found["unknown"], {path.split("/")[0] for path in found["files"]}) == ([], {"runs"})
    again = call(*refresh(tmp_path, 2))
    assert {stage: figures["computed"] for stage, figures in again["stages"].items() if stage != "merge_partials"} == {
        "embed_candidates": 0,
        "embed_references": 0,
        "measure_vectors": 0,
        "score_candidates": 0,
        "write_table": 1,  # a reweighted version came between
    }


@pytest.mark.slow
def test_what_nobody_needs_goes(call: Call, tmp_path: Path) -> None:
    call(*refresh(tmp_path, 2))
    os.unlink(manifest_uri(str(tmp_path / "table"), 1))
    call(*refresh(tmp_path, 0))
    age(tmp_path)
    shown = call(*gc(tmp_path))
    kinds = {path.split("/")[0] for path in shown["files"]}
    assert kinds == {"embedded", "partials", "runs"}
    assert all((tmp_path / "work" / path).exists() for path in shown["files"])
    removed = call(*gc(tmp_path, "--yes"))
    assert removed["files"] == shown["files"]
    assert not any((tmp_path / "work" / path).exists() for path in shown["files"])
    again = call(*refresh(tmp_path, 0))
    assert again["stages"]["score_candidates"]["computed"] == 0
    # What went is computed again when it is asked for again.
    call(*refresh(tmp_path, 2), "--accept", "lost_candidates")


def test_a_version_without_a_record_is_named(call: Call, tmp_path: Path) -> None:
    call(*refresh(tmp_path, 1))
    (first,) = (tmp_path / "work" / "needs").iterdir()
    call(*refresh(tmp_path, 2))
    first.unlink()
    age(tmp_path)
    found = call(*gc(tmp_path))
    assert found["unknown"] == [[str(tmp_path / "table"), 1]]
    call(*gc(tmp_path, "--older-than", "5m"), code=2)


def test_tables_that_share_the_folder_are_cleaned_together(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(tmp_path / "other")
    call(*refresh(tmp_path, 1))
    call(*refresh(tmp_path, 2), "--table", other, "--k", "2")
    age(tmp_path)
    assert cli.main([*gc(tmp_path), "--yes"]) == 2
    assert f"is also that of {other!r}, whose artefacts would go; nothing was removed" in capsys.readouterr().err
    removed = call(*gc(tmp_path, "--table", other, "--yes"))["files"]
    assert {path.split("/")[0] for path in removed} == {"runs"}
    # Nobody reads what has no version.
    shutil.rmtree(other)
    assert {path.split("/")[0] for path in call(*gc(tmp_path))["files"]} == {"embedded", "partials"}


def test_the_folder_of_another_table_is_refused(call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(*refresh(tmp_path, 1))
    call(*refresh(tmp_path, 1), "--table", str(tmp_path / "table2"), "--work", str(tmp_path / "work2"))
    shutil.rmtree(tmp_path / "work2" / "tables")  # as an earlier release left it
    age(tmp_path)
    command = [*gc(tmp_path, "--yes"), "--work", str(tmp_path / "work2")]
    shutil.rmtree(tmp_path / "work2" / "needs")
    assert cli.main(command) == 2
    assert "left a record under --work" in capsys.readouterr().err
    assert list((tmp_path / "work2" / "partials").iterdir())
