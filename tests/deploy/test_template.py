"""The Flex Template: its parameters are the flags of the program, and its launcher hands over the job."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nnn_core.errors import ConfigError, GateError
from pipelines.commands import launch_refresh, template_metadata
from pipelines.commands._config_file import file_options, read_config
from pipelines.commands._parsing import parse_flags
from pipelines.commands._refresh_flags import build_parser

dataflow = pytest.importorskip("google.cloud.dataflow")

DEPLOY = Path(__file__).parents[2] / "deploy"
METADATA: dict[str, Any] = json.loads((DEPLOY / "metadata.json").read_text())


def test_metadata_is_up_to_date() -> None:
    hint = "run python -m pipelines.commands.template_metadata > deploy/metadata.json"
    assert (DEPLOY / "metadata.json").read_text() == template_metadata._render(build_parser()), hint


def test_metadata_is_what_dataflow_takes() -> None:
    """Google's own definition of the message; it refuses fields and values that it does not know."""
    message = dataflow.TemplateMetadata.from_json(json.dumps(METADATA), ignore_unknown_fields=False)
    assert message.name == "nnn-refresh"
    assert len(message.parameters) == len(METADATA["parameters"])
    for parameter in message.parameters:
        assert re.fullmatch(r"[a-z][a-z_]*", parameter.name)
        assert parameter.label
        assert parameter.help_text
        assert (parameter.param_type == dataflow.ParameterType.ENUM) == bool(parameter.enum_options)


def test_every_flag_is_a_parameter() -> None:
    names = [parameter["name"] for parameter in METADATA["parameters"]]
    assert len(names) == len(set(names))
    assert set(names) == {"config", *file_options(build_parser())} - {
        "json",
        "quiet",
        "verbose",
        "log_format",
        "with_plan",
        "rates",
        "metrics_file",
        "lineage_url",
    }


def test_no_parameter_overrides_the_file_unasked() -> None:
    for parameter in METADATA["parameters"]:
        assert parameter["isOptional"]
        assert "defaultValue" not in parameter
        assert parameter["paramType"] in ("TEXT", "ENUM"), "the console fills in false and 0"


GOOD = {int: "128", float: "1e-3", bool: "false"}
BAD = {int: "many", float: "x", bool: "yes"}


@pytest.mark.parametrize("name", sorted(file_options(build_parser())))
def test_what_a_pattern_lets_through_the_program_takes(name: str) -> None:
    action = file_options(build_parser())[name]
    patterns = {parameter["name"]: parameter.get("regexes") for parameter in METADATA["parameters"]}
    kind = bool if action.nargs == 0 else action.type
    if kind not in GOOD or name not in patterns:
        assert not patterns.get(name)
        return
    assert re.fullmatch(patterns[name][0], GOOD[kind])
    assert not re.fullmatch(patterns[name][0], BAD[kind])
    needed = [f"--{each}=x" for each in ("candidates", "references", "table", "work")]
    parse_flags(build_parser(), [*needed, f"--{name}={GOOD[kind]}"])


def test_the_example_file_can_be_used() -> None:
    config = read_config(str(DEPLOY / "refresh.yaml"), build_parser())
    assert config.values["references"] == "gs://example-logs/queries/*.parquet"
    assert config.beam["runner"] == "DataflowRunner"


def test_the_launcher_starts_as_dataflow_starts_it(tmp_path: Path) -> None:
    """By file name, from anywhere: the file's own folder is first on the path then, and must hide no module."""
    done = subprocess.run(
        [sys.executable, str(DEPLOY / "launch.py"), "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(DEPLOY.parent), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "nnn refresh" in done.stdout


def launch_flags(folder: Path, **more: str) -> list[str]:
    """What the launcher of a Flex Template gets: parameters as flags, and Dataflow's own."""
    (folder / "refresh.yaml").write_text(yaml.safe_dump({"candidates": "c/*.parquet", "k": 4, "beam": {"region": "r"}}))
    flags = {
        "config": str(folder / "refresh.yaml"),
        "references": "r/*.parquet",
        "table": str(folder / "table"),
        "work": str(folder / "work"),
        "exclude_own_pairs": "true",
        "k_max": "16",
        "runner": "DataflowRunner",
        "project": "project",
        "region": "us-central1",
        "job_name": "nnn-refresh",
        "temp_location": "gs://bias/dataflow/temp",
        "staging_location": "gs://bias/dataflow/staging",
        "template_location": "gs://bias/dataflow/staging/template_launches/1/job_object",
        "service_account_email": "worker@p.iam.gserviceaccount.com",
        "sdk_container_image": "us-docker.pkg.dev/p/nnn/refresh-cpu:1",
        "labels": '{"goog-dataflow-provided-template-type": "flex"}',
        **more,
    }
    return [f"--{name}={value}" for name, value in flags.items()]


def test_the_launcher_hands_over_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Any] = []

    class Pipeline(launch_refresh.beam.Pipeline):  # type: ignore[misc]
        def run(self, test_runner_api: str = "AUTO") -> None:
            ran.append(self)

    monkeypatch.setattr(launch_refresh.beam, "Pipeline", Pipeline)
    launch_refresh.main(launch_flags(tmp_path, dry_run="True", report="gs://bias/page.html"))  # asks no bucket
    (pipeline,) = ran
    options = pipeline.options.get_all_options(drop_default=True)
    assert options["template_location"].endswith("job_object")
    assert options["region"] == "us-central1"
    assert options["sdk_container_image"] == "us-docker.pkg.dev/p/nnn/refresh-cpu:1"
    shown = capsys.readouterr()
    handed = json.loads(shown.out)
    assert "--report has no effect" in shown.err
    assert handed["report"] == f"{tmp_path}/work/runs/{handed['run']}.json"


def test_the_launcher_does_not_run_jobs_itself(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a cluster"):
        launch_refresh.main(launch_flags(tmp_path, runner="DirectRunner"))


def test_the_alert_waits_for_what_the_job_says() -> None:
    alerts = (DEPLOY / "terraform" / "alerts.tf").read_text()
    source = (DEPLOY.parent / "pipelines" / "stages" / "commit_bias_table.py").read_text()
    assert "nnn refresh done:" in alerts
    assert 'info("nnn refresh done: version' in source
    assert f"{GateError.__module__}.{GateError.__name__}" in alerts
