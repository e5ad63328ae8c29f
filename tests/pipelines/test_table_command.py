"""``nnn table`` as an operator meets it: rollback, expiry, differences, explanations."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from corpora import gaussian, write_vectors

from nnn_core.manifest import list_versions, manifest_uri, read_manifest
from pipelines import cli
from pipelines.table_upkeep import parse_age

IDS = [f"item-{number:02d}" for number in range(12)]


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Three versions, all published long ago."""
    candidates = write_vectors(tmp_path / "candidates", IDS, gaussian(12, 8, 1), 2)
    references = write_vectors(tmp_path / "references", [f"q{n}" for n in range(9)], gaussian(9, 8, 2), 2)
    uri = str(tmp_path / "table")
    flags = ["--candidates", candidates, "--references", references, "--table", uri, "--work", str(tmp_path / "work")]
    assert cli.main(["refresh", *flags, "--k", "4", "--alpha", "0.5"]) == 0
    for alpha in ("0.25", "0.75"):
        assert cli.main(["table", "reweight", "--table", uri, "--alpha", alpha]) == 0
    old = time.time() - 30 * 86400
    for path in Path(uri).rglob("*.*"):
        os.utime(path, (old, old))
    return uri


def run(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, list[str], str]:
    """Exit code, lines of standard output, standard error."""
    capsys.readouterr()
    code = cli.main(["table", *command])
    printed = capsys.readouterr()
    return code, printed.out.splitlines(), printed.err


def record_of(lines: list[str]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(lines[-1])
    return record


def test_rollback(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = run(capsys, "rollback", "1", "--table", table, "--json")
    assert (code, record_of(lines)["version"], record_of(lines)["settings"]["alpha"]) == (0, 4, 0.5)
    assert lines[0].startswith("version 4: 12 image candidates")
    assert read_manifest(table).files == read_manifest(table, 1).files
    assert run(capsys, "rollback", "7", "--table", table)[0] == 3


def test_rollback_to_damaged_files(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(table) / read_manifest(table, 1).files[0].path).write_bytes(b"")
    code, _, error = run(capsys, "rollback", "1", "--table", table)
    assert (code, list_versions(table)) == (9, [1, 2, 3])
    assert "was not made the current one" in error


def test_expire_says_first_what_it_would_do(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path(table).rglob("*"))
    code, lines, _ = run(capsys, "expire", "--keep", "1", "--table", table)
    assert code == 0
    assert lines[:2] == ["version 1", "version 2"]
    assert lines[2].startswith("versions/000001/part-00000-")
    assert lines[-1].startswith("would remove 2 versions and 2 data files, ")
    assert lines[-1].endswith("versions 3 stay; nothing was removed, say --yes to remove")
    assert sorted(Path(table).rglob("*")) == before
    code, lines, _ = run(capsys, "expire", "--keep", "1", "--table", table, "--yes", "--json")
    assert (record_of(lines)["versions"], record_of(lines)["kept"], record_of(lines)["removed"]) == ([1, 2], [3], True)
    assert lines[-2].startswith("removed 2 versions and 2 data files")
    assert list_versions(table) == [3]
    assert run(capsys, "verify", "--table", table)[0] == 0


def test_expire_leaves_what_is_young(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.utime(manifest_uri(table, 3))  # version 2 was replaced just now
    run(capsys, "expire", "--keep", "1", "--older-than", "8d", "--table", table, "--yes")
    assert list_versions(table) == [2, 3]


@pytest.mark.parametrize("flags", [["--keep", "0"], ["--keep", "1", "--older-than", "5m"]])
def test_expire_refuses_what_would_harm(table: str, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "expire", *flags, "--table", table, "--yes")[0] == 2
    assert list_versions(table) == [1, 2, 3]


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("1.5h", 5400), ("7d", 604800), ("2w", 1209600)])
def test_ages(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["7", "d", "-1d", "7 d", "7days", "nan"])
def test_no_ages(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["table", "expire", "--table", "t", "--keep", "1", "--older-than", text])
    assert "error: argument --older-than" in capsys.readouterr().err
