"""``nnn report``: what a run left behind, as text and as a page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from jobs import TwoVersions

from pipelines.commands import cli


def test_what_a_run_left_becomes_a_page(
    two_versions: TwoVersions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (left,) = (two_versions.kept[1] / "work" / "runs").glob("*.json")
    left = Path(shutil.copy(left, tmp_path))
    page = tmp_path / "page.html"
    assert cli.main(["report", str(left), "--output", str(page)]) == 0
    assert "Version 1 of the bias table" in capsys.readouterr().out
    text = page.read_text()
    assert "Version 1 of the bias table" in text
    assert cli.main(["report", str(left), "--output", str(page)]) == 7
    assert page.read_text() == text
    assert cli.main(["report", str(tmp_path / "nothing.json")]) == 3
    assert "Check the path. Reports lie below WORK/reports" in capsys.readouterr().err
    left.write_bytes(b"{}")
    assert cli.main(["report", str(left)]) == 9
