"""Which runner a name means, which are refused, and what is set for an engine."""

from __future__ import annotations

import pytest
from apache_beam.options.pipeline_options import (
    DebugOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)

from nnn_core.errors import ConfigError
from pipelines.running.known_runners import is_portable, runs_locally, settle_runner


def settled(*flags: str) -> PipelineOptions:
    options = PipelineOptions(list(flags))
    settle_runner(options)
    return options


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, "FnApiRunner"),
        ("direct", "FnApiRunner"),
        ("apache_beam.runners.direct.DirectRunner", "FnApiRunner"),
        ("flink", "FlinkRunner"),
        ("SPARKRUNNER", "SparkRunner"),
        ("apache_beam.runners.portability.prism_runner.PrismRunner", "PrismRunner"),
        ("PortableRunner", "PortableRunner"),
        ("dataflow", "DataflowRunner"),
    ],
)
def test_names(given: str | None, meant: str) -> None:
    options = settled(*([f"--runner={given}"] if given else []))
    assert options.view_as(StandardOptions).runner == meant
    assert runs_locally(options) == (meant == "FnApiRunner")
    assert is_portable(options) == (meant in ("FlinkRunner", "SparkRunner", "PrismRunner", "PortableRunner"))


def test_a_runner_that_loses_rows_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match=r"DaskRunner is refused: it silently loses rows"):
        settled("--runner=DaskRunner")


def test_an_unknown_runner_gets_the_list() -> None:
    with pytest.raises(ConfigError, match=r"did you mean FlinkRunner.*DirectRunner.*SparkRunner, PrismRunner"):
        settled("--runner=FlinksRunner")


def test_what_an_engine_needs_is_set_unless_it_was_said() -> None:
    options = settled("--runner=FlinkRunner", "--environment_type=PROCESS")
    assert options.view_as(PortableOptions).environment_cache_millis == 5_000
    assert "disable_logging_submission_environment" in options.view_as(DebugOptions).experiments
    assert "--add-opens=java.base/java.lang=ALL-UNNAMED" in options.view_as(JobServerOptions).job_server_jvm_properties
    options = settled("--runner=SparkRunner", "--environment_type=PROCESS")
    assert options.view_as(PortableOptions).environment_cache_millis == 60_000
    options = settled(
        "--runner=SparkRunner",
        "--environment_type=EXTERNAL",
        "--environment_cache_millis=7",
        "--job_server_jvm_properties=-Xmx1g",
    )
    assert options.view_as(PortableOptions).environment_cache_millis == "7"
    assert options.view_as(JobServerOptions).job_server_jvm_properties[-4:] == [
        "-Dspark.excludeOnFailure.enabled=true",
        "-Dspark.scheduler.excludeOnFailure.unschedulableTaskSetTimeout=20s",
        "-Dspark.executor.extraJavaOptions=-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "-Xmx1g",
    ]
    for local in ("--runner=DirectRunner", "--runner=PrismRunner"):
        assert settled(local).view_as(PortableOptions).environment_cache_millis == 0
