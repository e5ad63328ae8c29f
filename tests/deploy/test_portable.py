"""The portable path, which Flink and Spark take too: a job service and a pool of workers in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from clusters import ENVIRONMENT, Cluster, free_port
from corpora import gaussian, write_vectors

from nnn_core import load_bias_table

DIM = 16


def start_server(cluster: Cluster, name: str, module: str, port_flag: str, *flags: str) -> int:
    """A server of Beam in a process of its own; its port."""
    port = free_port()
    cluster.start(name, [sys.executable, "-m", module, f"{port_flag}={port}", *flags], port)
    return port


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
    cluster = Cluster(tmp_path)
    try:
        pool = start_server(cluster, "pool", "apache_beam.runners.worker.worker_pool_main", "--service_port")
        module, staging = "apache_beam.runners.portability.local_job_service_main", tmp_path / "staging"
        service = start_server(cluster, "service", module, "--port", f"--staging_dir={staging}")
        portable = refresh(
            tmp_path,
            "portable",
            runner="PortableRunner",
            job_endpoint=f"localhost:{service}",
            environment_type="EXTERNAL",
            environment_config=f"localhost:{pool}",
        )
    finally:
        cluster.close()
    assert "Starting worker with command" in (tmp_path / "pool.log").read_text(), "no worker of the pool was asked"
    assert (portable["version"], portable["rows"]) == (1, 60)
    assert portable["stages"].keys() == local["stages"].keys()  # type: ignore[attr-defined]
    tables = [load_bias_table(str(tmp_path / name / "table")) for name in ("local", "portable")]
    assert [part.sha256 for part in tables[0].manifest.files] == [part.sha256 for part in tables[1].manifest.files]
