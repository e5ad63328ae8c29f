"""Hundreds of malformed shards: each is embedded or refused, no row is lost, and memory stays bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile
import pytest

ROOT = Path(__file__).parents[3]

#: What the worst of all shards may take, beyond the interpreter, the libraries and the model.
MOST_MIB = 1024


def run(folder: Path, part: str) -> tuple[list[dict[str, Any]], int]:
    """Embed shards in a process of its own: (outcomes, MiB beyond those of the idle process)."""
    command = [sys.executable, str(ROOT / "tests" / "hostile.py"), str(folder), part]
    done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    *outcomes, end = [json.loads(line) for line in done.stdout.splitlines()]
    return outcomes, end["peak_mib"] - end["idle_mib"]


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": f"{ROOT}", "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"}


def check(outcomes: list[dict[str, Any]]) -> None:
    wrong = {f"{outcome['name']} ({outcome['file']})": outcome["wrong"] for outcome in outcomes if outcome["wrong"]}
    assert wrong == {}
    assert not Path("/tmp/nnn-hostile.jpg").exists()
    assert not Path("/tmp/nnn-hostile").exists()


def test_a_part_of_the_malformed_shards(tmp_path: Path) -> None:
    outcomes, mib = run(tmp_path / "shards", "3/34")
    check(outcomes)
    assert len(outcomes) > 10
    assert mib < MOST_MIB


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_malformed_shard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes, mib = run(tmp_path / "shards", "0/1")
    check(outcomes)
    assert len(outcomes) == len(hostile.cases()) > 400
    assert mib < MOST_MIB
    refused = sum(outcome["outcome"] == "refused" for outcome in outcomes)
    accepted, rejected = (sum(outcome.get(what, 0) for outcome in outcomes) for what in ("accepted", "rejected"))
    with capsys.disabled():
        print(
            f"\n{len(outcomes)} malformed shards: {refused} refused whole, {len(outcomes) - refused} read "
            f"({accepted + rejected:,} rows = {accepted:,} accepted + {rejected:,} rejected), 0 crashes, 0 hangs; "
            f"{mib} MiB at most beyond the idle process"
        )
