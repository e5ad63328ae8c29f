"""A job that was killed continues, and ends in the bytes of an undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpora import tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = 10


def start(folder: Path) -> subprocess.Popen[bytes]:
    """``nnn demo`` in a process group of its own."""
    command = [sys.executable, "-m", "pipelines.commands.cli", "demo", "--directory", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def finish(process: subprocess.Popen[bytes]) -> bytes:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output.decode()
    return output


def kill_after(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """SIGKILL the whole group; False when the job was already done."""
    try:
        process.communicate(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True


def test_killed_at_random_moments(tmp_path: Path, record_property: pytest.FixtureRequest) -> None:
    begin = time.monotonic()
    finish(start(tmp_path / "undisturbed"))
    duration = time.monotonic() - begin
    undisturbed = tree(tmp_path / "undisturbed")
    assert any(name.startswith("table/versions/000001/part-") for name in undisturbed)
    moments = random.Random(20241).sample(range(1000), KILLS)
    stages = []
    for number, moment in enumerate(sorted(moments)):
        folder = tmp_path / str(number)
        while not kill_after(start(folder), duration * moment / 1000):  # a busy machine became idle
            shutil.rmtree(folder)
            duration *= 0.8
        left = tree(folder) if folder.exists() else {}
        assert all(undisturbed[name] == data for name, data in left.items()), "a file was left half written"
        stages.append(len(left))
        finish(start(folder))
        assert tree(folder) == undisturbed
    print(f"killed at {[round(duration * m / 1000, 1) for m in sorted(moments)]} s of {duration:.1f} s")
    print(f"files that were there: {stages} of {len(undisturbed)}; {KILLS}/{KILLS} resumed to the same bytes")
    assert len(set(stages)) > 2
