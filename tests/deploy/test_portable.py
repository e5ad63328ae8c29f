"""The portable path, which Flink and Spark take too: a job service and a pool of workers in processes of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from corpora import gaussian, write_vectors

from nnn_core import load_bias_table

ROOT = Path(__file__).parents[2]
DIM = 16

#: A pool starts its workers by the name "python".
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(log: Path, module: str, port_flag: str, *flags: str) -> Iterator[int]:
    """A server of Beam in a process of its own, for as long as it is needed."""
    port = free_port()
    command = [sys.executable, "-m", module, f"{port_flag}={port}", *flags]
    with log.open("wb") as stream, subprocess.Popen(command, env=ENVIRONMENT, stdout=stream, stderr=stream) as server:
        try:
            wait_for(port, server, log)
            yield port
        finally:
            server.terminate()


def wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert server.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"nothing listens on {port}: {log.read_text()}")


def refresh(folder: Path, name: str, **beam: object) -> dict[str, object]:
    """Run the command with a file of its own; its summary."""
    file = {
        "candidates": str(folder / "candidates" / "*.parquet"),
        "references": str(folder / "references" / "*.parquet"),
        "table": str(folder / name / "table"),
        "work": str(folder / name / "work"),
        "k": 4,
        "reference_shard_rows": 40,
        "json": True,
        "beam": beam,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(file))
    command = [sys.executable, "-m", "pipelines.commands.cli", "refresh", "--config", str(folder / f"{name}.yaml")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    summary: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return summary


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_refresh_over_grpc_publishes_the_same_table(tmp_path: Path) -> None:
    write_vectors(tmp_path / "candidates", [f"item-{row}" for row in range(60)], gaussian(60, DIM, 1), 2)
    write_vectors(tmp_path / "references", [f"query-{row}" for row in range(90)], gaussian(90, DIM, 2), 2)
    local = refresh(tmp_path, "local", runner="DirectRunner")
    pool = serving(tmp_path / "pool.log", "apache_beam.runners.worker.worker_pool_main", "--service_port")
    service = serving(
        tmp_path / "service.log",
        "apache_beam.runners.portability.local_job_service_main",
        "--port",
        f"--staging_dir={tmp_path / 'staging'}",
    )
    with pool as pool_port, service as service_port:
        portable = refresh(
            tmp_path,
            "portable",
            runner="PortableRunner",
            job_endpoint=f"localhost:{service_port}",
            environment_type="EXTERNAL",
            environment_config=f"localhost:{pool_port}",
        )
    assert "Starting worker with command" in (tmp_path / "pool.log").read_text(), "no worker of the pool was asked"
    assert (portable["version"], portable["rows"]) == (1, 60)
    assert portable["stages"].keys() == local["stages"].keys()  # type: ignore[attr-defined]
    tables = [load_bias_table(str(tmp_path / name / "table")) for name in ("local", "portable")]
    assert [part.sha256 for part in tables[0].manifest.files] == [part.sha256 for part in tables[1].manifest.files]
