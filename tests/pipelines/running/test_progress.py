"""Progress of a run: counted over threads and processes, shown as lines where there is no terminal."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs import plant_inputs, refresh_arguments

from pipelines.commands import cli
from pipelines.running import _progress as progress
from pipelines.running._progress import Lines, Messages, Tally, format_seconds, shown
from pipelines.stages.metrics import tell


class Silent:
    def show(self, stage: str, tally: Tally) -> None:
        pass

    def close(self) -> None:
        pass


def wait_for(tallies: dict[str, Tally], stage: str, done: int) -> Tally:
    deadline = time.monotonic() + 10
    while tallies.get(stage, Tally()).done < done and time.monotonic() < deadline:
        time.sleep(0.01)
    return tallies[stage]


def test_nobody_listens() -> None:
    assert progress.PORT not in os.environ
    tell("stage", done=1)


def test_counts_of_all_processes_add_up() -> None:
    with shown(Silent()) as tallies:
        tell("score", expected=5)
        tell("score", done=2)
        code = "from pipelines.running._progress import tell; tell('score', done=3); tell('embed', done=1)"
        subprocess.run([sys.executable, "-c", code], check=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for data in (b"\xff", b"{}", b"[1]", b'["score", "x", 1]'):
                stranger.sendto(data, ("127.0.0.1", int(os.environ[progress.PORT])))
        assert (wait_for(tallies, "score", 5).total, wait_for(tallies, "embed", 1).total) == (5, 1)
    assert progress.PORT not in os.environ


def test_words() -> None:
    tally = Tally(done=10, expected=40, started=0.0)
    assert tally.words(5.0) == "10 of 40, 2/s, 15 s left"
    assert Tally(4, 4, 0.0).words(2.0) == "4 of 4, 2/s"
    assert [format_seconds(value) for value in (99.4, 240, 9000)] == ["99 s", "4 min", "2.5 h"]


@pytest.mark.parametrize("flags", [[], ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]])
def test_a_run_shows_every_stage(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    plant_inputs(tmp_path, str(tmp_path))
    assert cli.main([*refresh_arguments(str(tmp_path), str(tmp_path), 1), *flags]) == 0
    lines = capsys.readouterr().err.splitlines()
    for stage, last in (("embed_candidates", "2 of 2"), ("score_candidates", "4 of 4"), ("write_table", "1 of 1")):
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
    with caplog.at_level(logging.INFO):
        Messages().show("score", Tally(1, 2))
    assert caplog.messages[0].startswith("progress stage=score done=1 expected=2 seconds=")
    assert capsys.readouterr().err == ""


def test_nothing_that_is_told_here_is_lost() -> None:
    with shown(Silent()) as tallies:
        for _ in range(20_000):
            tell("score", done=1, expected=2)
    assert (tallies["score"].done, tallies["score"].expected) == (20_000, 40_000)
