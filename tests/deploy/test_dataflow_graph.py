"""The real job as Dataflow gets it: translated by its runner, without an account or a network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from nnn_core.encoders import parse_encoder
from pipelines.commands._parsing import parse_flags
from pipelines.commands._refresh_flags import build_parser, config_from
from pipelines.refresh import define_refresh

pytest.importorskip("google.cloud.dataflow")

ROOT = Path(__file__).parents[2]
IMAGE = "us-docker.pkg.dev/p/nnn/refresh-cpu:1"
FLAGS = {
    "candidates": "gs://corpus/images/{00000..09999}.tar",
    "references": "gs://logs/queries/*.parquet",
    "validation": "gs://logs/held-out/*.parquet",
    "table": "gs://bias/table",
    "work": "gs://bias/work",
    "encoder": f"open_clip:local-dir:{ROOT}/nnn_core/demo/encoder",
    "tune": "true",
    "accelerator": "type:nvidia-l4;count:1;install-nvidia-driver",
    "runner": "DataflowRunner",
    "project": "project",
    "region": "us-central1",
    "job_name": "nnn-refresh",
    "temp_location": "gs://bias/dataflow/temp",
    "staging_location": "gs://bias/dataflow/staging",
    "setup_file": str(ROOT / "setup.py"),
    "sdk_container_image": IMAGE,
    "sdk_location": "container",
    "machine_type": "n2-standard-8",
    "max_num_workers": "40",
    "service_account_email": "worker@project.iam.gserviceaccount.com",
    "dataflow_service_options": "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver",
    "dry_run": "True",
    "no_auth": "true",
}


@pytest.fixture(scope="module")
def graph() -> tuple[Any, dict[str, Any]]:
    """The pipeline's proto, and the request to Dataflow."""
    from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient as Client

    flags = [f"--{name}={value}" for name, value in FLAGS.items()]
    flags[flags.index("--no_auth=true")] = "--no_auth"
    args, options = parse_flags(build_parser(), flags)
    pipeline = beam.Pipeline(options=options)
    define_refresh(pipeline, config_from(args, None), parse_encoder(args.encoder))
    with (
        mock.patch.object(Client, "_stage_resources", return_value=[]),
        mock.patch.object(Client, "stage_file_with_retry"),
    ):
        result = pipeline.run()
        Client(result.job.options, result.job.root_staging_location).create_job_description(result.job)
    return pipeline.runner.proto_pipeline, json.loads(result.job.json())


def steps(proto: Any) -> list[Any]:
    return [each for each in proto.components.transforms.values() if not each.subtransforms]


def test_the_graph_is_small_and_does_not_grow_with_the_corpus(graph: tuple[Any, dict[str, Any]]) -> None:
    proto, job = graph
    assert len(proto.SerializeToString()) < 1_000_000
    assert len(json.dumps(job)) < 1_000_000
    assert len(steps(proto)) > 50


def test_a_refresh_without_queries_has_few_steps() -> None:
    """Engines make a task of most, and on Flink each takes network memory: 58 tasks of these, and 60 are the most."""
    flags = [f"--{name}={FLAGS[name]}" for name in ("candidates", "references", "table", "work")]
    args, _ = parse_flags(build_parser(), flags)
    pipeline = beam.Pipeline()
    define_refresh(pipeline, config_from(args, None), None)
    assert len(steps(pipeline.to_runner_api())) <= 47


def test_names_of_stages_can_be_read(graph: tuple[Any, dict[str, Any]]) -> None:
    tops = [
        graph[0].components.transforms[name]
        for root in graph[0].root_transform_ids
        for name in graph[0].components.transforms[root].subtransforms
    ]
    names = {top.unique_name for top in tops}
    assert {"ScoreCandidates", "MergePartials", "GatherSides", "CommitBiasTable"} <= names
    for name in names:
        assert re.fullmatch(r"[A-Z][A-Za-z]+", name), f"{name!r} is no name that a person gave"
        assert len(name) <= 40


def test_no_step_has_a_name_that_python_made_up(graph: tuple[Any, dict[str, Any]]) -> None:
    for step in steps(graph[0]):
        files = re.findall(r"<lambda at (\w+\.py)", step.unique_name)
        assert not any((ROOT / "pipelines" / file).exists() for file in files), step.unique_name
        assert "0x" not in step.unique_name


def test_nothing_large_is_written_into_the_graph(graph: tuple[Any, dict[str, Any]]) -> None:
    """A function's pickle holds what it was built with: flags and names, no data and no model."""
    for step in steps(graph[0]):
        assert len(step.spec.payload) < 100_000, f"{step.unique_name} carries {len(step.spec.payload)} bytes"


def test_only_the_stages_that_multiply_matrices_get_an_accelerator(graph: tuple[Any, dict[str, Any]]) -> None:
    hinted = set()
    for step in (step for step in steps(graph[0]) if step.environment_id):
        hints = graph[0].components.environments[step.environment_id].resource_hints
        if hints.get("beam:resources:accelerator:v1") == FLAGS["accelerator"].encode():
            hinted.add(step.unique_name.partition("/")[0])
    assert hinted == {"EmbedShards", "SettleBasis", "ScoreCandidates"}


def test_options_reach_dataflow(graph: tuple[Any, dict[str, Any]]) -> None:
    environment = graph[1]["environment"]
    options = environment["sdkPipelineOptions"]["options"]
    assert options["temp_location"].startswith(FLAGS["temp_location"] + "/nnn-refresh")
    for name in ("project", "region", "setup_file", "service_account_email", "sdk_container_image"):
        assert options[name] == FLAGS[name]
    assert options["dataflow_service_options"] == [FLAGS["dataflow_service_options"]]
    assert options["number_of_worker_harness_threads"] == 1
    assert environment["serviceAccountEmail"] == FLAGS["service_account_email"]
    (pool,) = environment["workerPools"]
    assert pool["machineType"] == FLAGS["machine_type"]
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 40
    assert {image["containerImage"] for image in pool["sdkHarnessContainerImages"]} == {IMAGE}
    assert graph[1]["name"] == "nnn-refresh"


def setup(folder: Path, *command: str) -> None:
    subprocess.run(
        [sys.executable, "setup.py", "-q", *command], cwd=folder, check=True, capture_output=True, timeout=120
    )


def test_setup_py_packs_all_that_a_worker_needs(tmp_path: Path) -> None:
    """As Beam does with --setup_file, and as a worker then installs it: a style sheet that is missing would fail the
    last step of the job."""
    setup(ROOT, "egg_info", "--egg-base", str(tmp_path), "sdist", "--dist-dir", str(tmp_path))
    (packed,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    setup(tmp_path / packed.name.removesuffix(".tar.gz"), "bdist_wheel", "--dist-dir", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    tracked = subprocess.run(["git", "ls-files", "nnn_core", "pipelines"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    every = {name for name in tracked.stdout.split() if not name.endswith("/README.md")}
    needed = {name for name in every if not name.startswith("nnn_core/examples/")}
    packed_names = set(zipfile.ZipFile(wheel).namelist())
    assert needed <= packed_names
    assert not (every - needed) & packed_names


def test_no_main_session_is_pickled() -> None:
    assert not PipelineOptions([]).get_all_options()["save_main_session"]
