"""The job on real engines: the same bytes, counts and messages as in this process, and what a worker's death does.

``make test-runners`` runs them, and prints a line for each case.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clusters import ENGINES, ENVIRONMENT, Cluster, Engine
from corpora import gaussian, write_vectors
from runner_parts import missing

from nnn_core.table.manifest import read_manifest

pytestmark = [pytest.mark.runners, pytest.mark.timeout(900)]

DIM = 16


@dataclass(frozen=True)
class Ran:
    """A command that ended.

    Attributes:
        code: exit code.
        out: standard output.
        error: standard error.
    """

    code: int
    out: str
    error: str

    @property
    def summary(self) -> dict[str, Any]:
        """What the command printed for programs."""
        record: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return record

    @property
    def said(self) -> list[str]:
        """Lines of standard error but for progress."""
        return [line for line in self.error.splitlines() if " so far, " not in line and " of " not in line[:40]]


def command(folder: Path, name: str, *flags: str) -> list[str]:
    """A refresh of the inputs of ``folder`` into a table and a work folder of this name."""
    return [
        *(sys.executable, "-m", "pipelines.commands.cli", "refresh", "--json", "--k", "4", "--k-max", "8"),
        *("--candidates", str(folder / "candidates" / "*.parquet"), "--reference-shard-rows", "40"),
        *("--references", str(folder / "references" / "*.parquet")),
        *("--table", str(folder / name / "table"), "--work", str(folder / name / "work"), *flags),
    ]


def run(command: list[str]) -> Ran:
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=800)
    return Ran(done.returncode, done.stdout, done.stderr)


def table_bytes(folder: Path, name: str) -> list[str]:
    """Digests of the files of the current version."""
    return [part.sha256 for part in read_manifest(str(folder / name / "table")).files]


def counts(summary: dict[str, Any]) -> dict[str, dict[str, int]]:
    """What stages did, without times and what depends on them."""
    counted = ("computed", "reused", "rows", "rejected", "pairs")
    return {
        stage: {name: figures[name] for name in counted if name in figures}
        for stage, figures in summary["stages"].items()
    }


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several files on both sides, and the table of them from this process, of two versions."""
    folder = tmp_path_factory.mktemp("runners")
    write_vectors(folder / "candidates", [f"item-{row}" for row in range(60)], gaussian(60, DIM, 1), 3)
    write_vectors(folder / "references", [f"query-{row}" for row in range(90)], gaussian(90, DIM, 2), 3)
    return folder


def change_one_file(folder: Path) -> None:
    write_vectors(folder / "new", [f"item-{row}" for row in range(20)], gaussian(20, DIM, 3), 1)
    shutil.copy(folder / "new" / "part-0.parquet", folder / "candidates" / "part-0.parquet")


@pytest.fixture(scope="module", params=ENGINES, ids=lambda engine: engine.name.replace(" ", "-"))
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[str], Cluster]]:
    """An engine that runs: the flags that lead to it, and its processes."""
    found: Engine = request.param
    if reason := missing(*found.parts):
        pytest.skip(f"{found.name}: {reason}")
    with found.running(tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Callable[[str], None]]:
    """Prints the case with how long it took, once it passed."""
    start = time.monotonic()
    words: list[str] = []
    yield words.append
    if words:
        name = request.node.callspec.id.replace("-", " ")
        print(f"\n{name:<14} {words[0]} ({time.monotonic() - start:.0f} s)", flush=True)


def test_same_table_and_counts(
    engine: tuple[list[str], Cluster], inputs: Path, tmp_path: Path, case: Callable[[str], None]
) -> None:
    folder = Path(shutil.copytree(inputs, tmp_path / "in"))
    for version in (1, 2):
        local, there = run(command(folder, "local")), run(command(folder, "there", *engine[0]))
        assert there.code == 0, there.error
        assert there.said == local.said
        assert table_bytes(folder, "there") == table_bytes(folder, "local")
        assert counts(there.summary) == counts(local.summary)
        for same in ("version", "rows", "gates", "search", "evaluation", "warnings"):
            assert there.summary[same] == local.summary[same]
        if version == 1:
            change_one_file(folder)
    case("same bytes and counts as in this process, also with one file changed")


def test_same_messages(
    engine: tuple[list[str], Cluster], inputs: Path, tmp_path: Path, case: Callable[[str], None]
) -> None:
    folder = Path(shutil.copytree(inputs, tmp_path / "in"))
    broken = folder / "candidates" / "part-1.parquet"
    broken.write_bytes(broken.read_bytes()[:500])
    local, there = run(command(folder, "local")), run(command(folder, "there", *engine[0]))
    assert (there.code, there.said) == (local.code, local.said)
    assert there.code == 3
    assert not list((folder / "there" / "table").glob("versions/*.json"))
    shutil.copytree(inputs, folder, dirs_exist_ok=True)
    (folder / "gates.yaml").write_text("max_abs_bias: 0.0\n")
    gates = ("--gates", str(folder / "gates.yaml"))
    local, there = run(command(folder, "local", *gates)), run(command(folder, "there", *gates, *engine[0]))
    assert there.code == local.code == 10, there.error
    assert there.said[0] == local.said[0]
    case("same message and exit code of a broken file and of a failing gate")


def test_a_worker_is_killed(
    engine: tuple[list[str], Cluster], inputs: Path, tmp_path: Path, case: Callable[[str], None]
) -> None:
    """The first worker that shows by a file that it is at work."""
    flags, cluster = engine
    victims = [name for name in cluster.processes if name.startswith(("task-manager", "worker"))]
    if not victims:
        pytest.skip("a worker of this engine is the command itself, see test_kill.py")
    folder = Path(shutil.copytree(inputs, tmp_path / "in"))
    run(command(folder, "local"))
    with subprocess.Popen(
        command(folder, "there", *flags), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        scored = folder / "there" / "work" / "partials"
        while process.poll() is None and not list(scored.glob("*.parquet")):
            time.sleep(0.01)
        for worker in workers_of(os.getpid()):
            os.kill(worker, signal.SIGKILL)
        out, error = process.communicate(timeout=800)
    assert process.returncode == 0, error
    assert json.loads(out.splitlines()[-1])["version"] == 1
    assert table_bytes(folder, "there") == table_bytes(folder, "local")
    case("same bytes after SIGKILL of the Python workers while scoring")


def workers_of(root: int) -> list[int]:
    """Beam's Python workers among the descendants of a process."""
    found, waiting = [], [root]
    while waiting:
        children = Path(f"/proc/{waiting.pop()}/task").glob("*/children")
        for child in " ".join(each.read_text() for each in children).split():
            waiting.append(int(child))
            if "sdk_worker_main" in Path(f"/proc/{child}/cmdline").read_text(errors="replace"):
                found.append(int(child))
    return found


def test_a_worker_that_cannot_start_ends_the_job(
    engine: tuple[list[str], Cluster], inputs: Path, tmp_path: Path, case: Callable[[str], None]
) -> None:
    flags = [flag for flag in engine[0] if not flag.startswith("--environment")]
    broken = "--environment_config=" + json.dumps({"command": "/bin/false"})
    timeout = ("--worker-start-timeout", "20")
    folder = Path(shutil.copytree(inputs, tmp_path / "in"))
    done = run(command(folder, "there", *flags, "--environment_type=PROCESS", broken, *timeout))
    assert done.code == 11, done.error
    assert len(done.said) == 1
    assert "Traceback" not in done.error
    case(f"a worker that cannot start: {done.said[0][:100]}...")
