"""Which runner a name means, which are refused, and what is set for an engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)

from nnn_core.errors import ConfigError
from pipelines.running.known_runners import FlinkRetryOptions, is_portable, runs_locally, settle_runner


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
    with pytest.raises(ConfigError, match=r"DaskRunner is refused: it merges tagged outputs.*rows would be missing"):
        settled("--runner=DaskRunner")


def test_an_unknown_runner_gets_the_list() -> None:
    with pytest.raises(ConfigError, match=r"did you mean FlinkRunner.*DirectRunner.*SparkRunner, PrismRunner"):
        settled("--runner=FlinksRunner")


def test_what_an_engine_needs_is_set_unless_it_was_said() -> None:
    options = settled("--runner=FlinkRunner", "--environment_type=PROCESS")
    assert options.view_as(PortableOptions).environment_cache_millis == 120_000
    assert "--add-opens=java.base/java.lang=ALL-UNNAMED" in options.view_as(JobServerOptions).job_server_jvm_properties
    options = settled(
        "--runner=SparkRunner",
        "--environment_type=EXTERNAL",
        "--environment_cache_millis=7",
        "--job_server_jvm_properties=-Xmx1g",
    )
    assert options.view_as(PortableOptions).environment_cache_millis == "7"
    assert options.view_as(JobServerOptions).job_server_jvm_properties[-1] == "-Xmx1g"
    for local in ("--runner=DirectRunner", "--runner=PrismRunner"):
        assert settled(local).view_as(PortableOptions).environment_cache_millis == 0


class _Overview(BaseHTTPRequestHandler):
    """What a Flink of three slots answers."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/overview" else 404)
        self.end_headers()
        self.wfile.write(b'{"taskmanagers": 2, "slots-total": 3, "slots-available": 1}')

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def flink() -> Iterator[str]:
    """Address of the pages of a Flink cluster."""
    server = HTTPServer(("127.0.0.1", 0), _Overview)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_flink_works_on_all_of_its_slots_and_tries_again(flink: str) -> None:
    for master, given, expected in ((flink, (), 3), (f"http://{flink}", (), 3), (flink, ("--parallelism=2",), 2)):
        options = settled("--runner=FlinkRunner", f"--flink_master={master}", *given)
        assert options.view_as(FlinkRunnerOptions).parallelism == expected
    for master in ("[local]", "127.0.0.1:1"):
        options = settled("--runner=FlinkRunner", f"--flink_master={master}")
        assert options.view_as(FlinkRunnerOptions).parallelism == -1
        assert options.view_as(FlinkRetryOptions).number_of_execution_retries == 4
    options = settled("--runner=FlinkRunner", "--flink_master=[local]", "--number_of_execution_retries=-1")
    assert options.view_as(FlinkRetryOptions).number_of_execution_retries == -1
    assert options.view_as(FlinkRetryOptions).execution_retry_delay is None
