"""``nnn report``: what a run left behind, as text and as a page."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from jobs import TwoVersions

from nnn_core import __version__
from nnn_core.report import _summary as summary_of
from nnn_core.report.archive import read_report, write_report
from pipelines.commands import cli


def test_a_report_says_when_by_what_and_how_it_was_made(two_versions: TwoVersions) -> None:
    place = two_versions.restore(2)
    for summary in two_versions.summaries:
        facts = dict(summary_of.facts(read_report(summary["report"])))
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", facts["When"])
        assert facts["Program"] == f"nnn {__version__}"
        assert facts["Command"].startswith("nnn refresh --")
        assert f"--candidates {place}/candidates/" in facts["Command"].replace("'", "")


def test_the_page_of_the_newest_refresh_has_one_name(two_versions: TwoVersions) -> None:
    for summary, place in zip(two_versions.summaries, two_versions.kept[1:], strict=True):
        newest = place / "work" / "reports" / Path(summary["report"]).name
        latest = newest.with_name("latest.html")
        assert latest.read_bytes() == newest.read_bytes()
        assert read_report(str(latest)) == read_report(str(newest))


def test_a_page_is_written_also_where_its_copy_cannot_be(
    two_versions: TwoVersions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    two_versions.restore(2)
    report = read_report(two_versions.summaries[1]["report"])
    in_the_way = tmp_path / "reports" / "latest.html"
    in_the_way.mkdir(parents=True)
    written = write_report(report, str(tmp_path), "version-000002")
    assert Path(written).is_file()
    assert not caplog.messages
    again = write_report(report, str(tmp_path), "version-000002", str(tmp_path / "named.html"), latest=True)
    assert Path(again).is_file()
    assert "latest.html shows an older report: cannot write" in caplog.text
    in_the_way.rmdir()
    write_report(report, str(tmp_path), "refused", latest=True)
    assert in_the_way.read_bytes() == Path(written).read_bytes()


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
