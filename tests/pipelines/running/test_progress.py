"""Progress of a run: counted over threads, shown as lines where there is no terminal."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes import Silent
from jobs import TwoVersions

from pipelines.running import _progress as progress
from pipelines.running._progress import Lines, Messages, Tally, _amount, _seconds, shown
from pipelines.stages import metrics
from pipelines.stages.metrics import Step, tell


def test_nobody_listens() -> None:
    assert not metrics.LISTENERS
    tell("stage", done=1)


def test_counts_of_all_threads_add_up() -> None:
    with shown(Silent()) as tallies:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(8):
                pool.submit(lambda: [tell("score", done=1, expected=2) for _ in range(2000)])
        tell("embed", done=1)
        assert (tallies["score"].done, tallies["score"].total, tallies["embed"].total) == (16_000, 32_000, 1)
    assert not metrics.LISTENERS


def test_a_run_goes_on_where_nobody_reads_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(Silent):
        def show(self, stage: str, tally: object) -> None:
            raise BrokenPipeError

    with shown(Closed()) as tallies:
        tell("score", done=1)
    assert tallies["score"].done == 1


def test_words() -> None:
    tally = Tally(done=10, expected=40, started=0.0)
    assert tally.words(5.0) == "10 of 40, 2/s, 15 s left"
    assert Tally(10, None, 0.0).words(5.0) == "10 so far, 2/s"
    with shown(Silent()) as tallies:
        for _ in range(3):
            tell("judge", done=1)
    assert tallies["judge"].words(tallies["judge"].started + 1.5) == "3 so far, 2/s"
    assert Tally(4, 4, 0.0).words(2.0) == "4 of 4, 2/s"
    assert Tally(1, 1, 0.0).words(20.0) == "1 of 1, 20 s each"
    assert [_seconds(value) for value in (99.4, 240, 9000)] == ["99 s", "4 min", "2.5 h"]


def test_words_of_rows() -> None:
    tally = Tally(0, 2, 0.0)
    tally.add(Step(rows_expected=6000))
    assert (tally.words(4.0), tally.place) == ("0 of 2, 0/s", (0, 2))
    tally.add(Step(rows=640))
    assert tally.words(40.0) == "0 of 2, 640 of 6,000 rows, 16 rows/s, 6 min left"
    assert tally.place == (640, 6000)
    tally.add(Step(rows_expected=None))  # a file of which nobody knows how long it is
    assert tally.words(40.0) == "0 of 2, 640 rows, 16 rows/s"
    tally.add(Step(done=1, rows=360, rows_expected=50))
    assert tally.words(50.0) == "1 of 2, 1,000 rows, 20 rows/s, 50 s left"


def test_scoring_counts_pairs() -> None:
    with shown(Silent()) as tallies:
        tell("score_candidates", expected=4, rows_expected=4_000_000_000)
        tell("score_candidates", done=1)
        tell("score_candidates", rows=1_300_000_000)
    tally = tallies["score_candidates"]
    said = "1 of 4, 1.3 billion of 4.0 billion pairs, 65.0 million pairs/s, 42 s left"
    assert tally.words(tally.started + 20.0) == said
    assert [_amount(number) for number in (640, 6000.4, 2.5e6, 3e12)] == ["640", "6,000", "2.5 million", "3.0 trillion"]


def test_a_run_shows_every_stage(two_versions: TwoVersions) -> None:
    lines = two_versions.progress[0].splitlines()
    for stage, last in (
        ("embed_candidates", "2 of 2"),
        ("score_candidates", "4 of 4, 1,120 of 1,120 pairs"),
        ("commit_bias_table", "1 so far"),  # nobody says how much there is to come
    ):
        assert any(line.startswith(stage) and last in line for line in lines), lines


def test_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for _ in range(100):
        lines.show("score", Tally(1, 2))
    assert capsys.readouterr().err == ""


def test_progress_as_messages(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    # A command that ran before may have left a handler whose stream is closed.
    monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])
    with caplog.at_level(logging.INFO):
        Messages().show("score", Tally(1, 2))
        Messages().show("embed", Tally(0, 1, rows=3, rows_expected=9))
    assert caplog.messages[0].startswith("progress stage=score done=1 expected=2 seconds=")
    assert caplog.messages[1].startswith("progress stage=embed done=0 expected=1 rows=3 rows_expected=9 seconds=")
    assert capsys.readouterr().err == ""
