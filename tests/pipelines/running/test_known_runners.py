"""Which runner a name means, which are refused, and what is set for an engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)

from nnn_core.errors import ConfigError
from pipelines.running.known_runners import is_portable, runs_locally, settle_runner, warn_of_no_retries


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


class _Flink(BaseHTTPRequestHandler):
    """What a Flink of three slots answers."""

    settings: ClassVar[list[dict[str, str]]] = []

    def do_GET(self) -> None:
        overview = {"taskmanagers": 2, "slots-total": 3, "slots-available": 1}
        pages = {"/overview": overview, "/jobmanager/config": self.settings}
        self.send_response(200 if self.path in pages else 404)
        self.end_headers()
        self.wfile.write(json.dumps(pages.get(self.path)).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def flink() -> Iterator[str]:
    """Address of the pages of a Flink cluster."""
    server = HTTPServer(("127.0.0.1", 0), _Flink)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_flink_works_on_all_of_its_slots(flink: str) -> None:
    for master, given, expected in ((flink, (), 3), (f"http://{flink}", (), 3), (flink, ("--parallelism=2",), 2)):
        options = settled("--runner=FlinkRunner", f"--flink_master={master}", *given)
        assert options.view_as(FlinkRunnerOptions).parallelism == expected
    for master in ("[local]", "127.0.0.1:1"):
        options = settled("--runner=FlinkRunner", f"--flink_master={master}")
        assert options.view_as(FlinkRunnerOptions).parallelism == -1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rest.port": "8081"}, True),
        ({"restart-strategy.type": "none"}, True),
        ({"restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "3"}, False),
        ({"restart-strategy": "exponential-delay"}, False),
    ],
)
def test_a_flink_that_runs_nothing_again_is_told_of(
    flink: str, settings: dict[str, str], told: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Flink, "settings", [{"key": key, "value": value} for key, value in settings.items()])
    warn_of_no_retries(settled("--runner=FlinkRunner", f"--flink_master={flink}"))
    assert ("has no restart strategy" in caplog.text) == told


@pytest.mark.parametrize("flags", [["FlinkRunner", "--flink_master=127.0.0.1:1"], ["FlinkRunner"], ["SparkRunner"]])
def test_nothing_is_said_of_retries_that_nobody_knows_of(flags: list[str], caplog: pytest.LogCaptureFixture) -> None:
    warn_of_no_retries(settled(f"--runner={flags[0]}", *flags[1:]))
    assert not caplog.text
