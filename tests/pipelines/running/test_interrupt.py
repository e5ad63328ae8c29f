"""Ctrl-C during a local run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jobs import plant_inputs, refresh_arguments

INTERRUPTED = "nnn: interrupted; finished work is kept, run the same command again to continue"


def listen() -> None:
    """Hear Ctrl-C, although whoever runs the tests may not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_is_answered_in_one_line(tmp_path: Path) -> None:
    plant_inputs(tmp_path, str(tmp_path))
    command = [sys.executable, "-m", "pipelines.commands.cli", *refresh_arguments(str(tmp_path), str(tmp_path))]
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, preexec_fn=listen, **options) as process:
        while not (tmp_path / "work" / "embedded").exists():
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert [line for line in errors.splitlines() if " of " not in line] == [INTERRUPTED]
    assert not (tmp_path / "table" / "versions").exists()
