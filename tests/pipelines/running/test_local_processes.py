"""Worker processes of the local runner: one that is dead is not waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs import plant_inputs, refresh_arguments

from nnn_core.errors import NNNError
from pipelines.commands import cli
from pipelines.running._local_processes import _WORKERS, register_worker, watch_workers

INTERRUPTED = "nnn: interrupted; finished work is kept, run the same command again to continue"


def listen() -> None:
    """Hear Ctrl-C, although whoever runs the tests may not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def end_with(code: int) -> None:
    raise RuntimeError(f"Worker subprocess exited with return code {code}")


def start(code: int) -> None:
    thread = threading.Thread(name="run_worker", target=end_with, args=(code,))
    thread.start()
    thread.join()


def wait_for(other: subprocess.Popen[bytes], code: int) -> None:
    """Wait beside a worker, another of which ends with ``code``."""
    with watch_workers():
        (Path(os.environ[_WORKERS]) / str(other.pid)).touch()
        start(code)
        time.sleep(60)


def be_interrupted(other: subprocess.Popen[bytes]) -> None:
    with watch_workers():
        (Path(os.environ[_WORKERS]) / str(other.pid)).touch()
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            start(-9)  # as the runner sees it, which ends its workers on the way out


@contextlib.contextmanager
def answering(answer: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, answer)
    try:
        yield
        assert signal.getsignal(signal.SIGINT) is answer
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("answer", [signal.default_int_handler, signal.SIG_IGN], ids=["terminal", "background"])
@pytest.mark.parametrize(("code", "why"), [(-9, "it was killed"), (137, "it was killed"), (1, "exit code 1")])
def test_a_worker_that_ends_too_early_ends_the_wait(code: int, why: str, answer: Any) -> None:
    with answering(answer), subprocess.Popen(["sleep", "60"]) as other:
        begin = time.monotonic()
        with pytest.raises(NNNError, match=why):
            wait_for(other, code)
    assert other.returncode == -signal.SIGKILL
    assert time.monotonic() - begin < 30
    assert not list(Path(tempfile.gettempdir()).glob(f"nnn-workers-*/{other.pid}"))
    assert _WORKERS not in os.environ


def test_an_interrupt_ends_the_workers_and_stays_one() -> None:
    interrupted = pytest.raises(KeyboardInterrupt)
    with answering(signal.default_int_handler), subprocess.Popen(["sleep", "60"]) as other, interrupted:
        be_interrupted(other)
    assert other.returncode == -signal.SIGKILL


def test_an_interrupt_that_is_ignored_stays_so() -> None:
    with answering(signal.SIG_IGN), watch_workers():
        signal.raise_signal(signal.SIGINT)


WORKERS = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


# With workers it failed once in nine times on a busy machine, for a reason that is not known yet.
@pytest.mark.parametrize("workers", [[], pytest.param(WORKERS, marks=pytest.mark.slow)])
def test_ctrl_c_is_answered_in_one_line(workers: list[str], tmp_path: Path) -> None:
    plant_inputs(tmp_path, str(tmp_path))
    command = [
        sys.executable,
        "-m",
        "pipelines.commands.cli",
        *refresh_arguments(str(tmp_path), str(tmp_path)),
        *workers,
    ]
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, preexec_fn=listen, **options) as process:
        while not (tmp_path / "work" / "embedded").exists():
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert [line for line in errors.splitlines() if " of " not in line] == [INTERRUPTED]
    assert not (tmp_path / "table" / "versions").exists()
    assert cli.main(refresh_arguments(str(tmp_path), str(tmp_path))) == 0


def test_a_worker_that_comes_late_ends_itself() -> None:
    with watch_workers():
        register_worker()
        assert [path.name for path in Path(os.environ[_WORKERS]).iterdir()] == [str(os.getpid())]
        (Path(os.environ[_WORKERS]) / "over").touch()
        with pytest.raises(SystemExit):
            register_worker()
        os.environ[_WORKERS] += "-gone"
        with pytest.raises(SystemExit):
            register_worker()


def find_workers(session: int) -> list[int]:
    """Worker processes of a session."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                if b"pipelines.running._worker_process" in command and os.getsid(int(folder.name)) == session:
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


@pytest.mark.slow
def test_a_job_whose_worker_is_killed_fails_and_continues(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines.commands.cli", "demo", "--directory", str(tmp_path)]
    command += ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 120
        while len(workers := find_workers(process.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(workers[0], signal.SIGKILL)
        error = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert "nnn: a worker process ended before the job did: it was killed" in error
    assert not find_workers(process.pid)
    assert subprocess.run(command, timeout=240).returncode == 0
