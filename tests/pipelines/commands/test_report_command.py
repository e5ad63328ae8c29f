"""``nnn report``: what a run left behind, as text and as a page."""

from __future__ import annotations

from pathlib import Path

import pytest
from jobs import plant_inputs, refresh_arguments

from pipelines.commands import cli


def test_what_a_run_left_becomes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant_inputs(tmp_path, str(tmp_path))
    assert cli.main(refresh_arguments(str(tmp_path), str(tmp_path), 1)) == 0
    (left,) = (tmp_path / "work" / "runs").glob("*.json")
    page = tmp_path / "page.html"
    capsys.readouterr()
    assert cli.main(["report", str(left), "--output", str(page)]) == 0
    assert "Version 1 of the bias table" in capsys.readouterr().out
    text = page.read_text()
    assert "Version 1 of the bias table" in text
    assert cli.main(["report", str(left), "--output", str(page)]) == 7
    assert page.read_text() == text
    assert cli.main(["report", str(tmp_path / "work" / "needs" / "nothing.json")]) == 3
    left.write_bytes(b"{}")
    assert cli.main(["report", str(left)]) == 9
