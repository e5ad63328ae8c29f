"""What a Flink cluster is asked before a job, and told when nobody waits for it any more."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from apache_beam.options.pipeline_options import FlinkRunnerOptions, JobServerOptions, PipelineOptions

from pipelines.running._flink import cancel, cluster_of, warn_of_settings
from pipelines.running.known_runners import settle_runner


def settled(*flags: str) -> PipelineOptions:
    options = PipelineOptions(list(flags))
    settle_runner(options)
    return options


class Flink(HTTPServer):
    """The pages of a Flink of three slots: what they say, and which jobs it was told to cancel."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.pages: dict[str, Any] = {"/overview": {"taskmanagers": 2, "slots-total": 3, "slots-available": 1}}
        self.cancelled: list[str] = []

    @property
    def master(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Page(BaseHTTPRequestHandler):
    server: Flink

    def do_GET(self) -> None:
        self._say(self.server.pages.get(self.path))

    def do_PATCH(self) -> None:
        self.server.cancelled.append(self.path)
        self._say({})

    def _say(self, page: Any) -> None:
        self.send_response(404 if page is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(page).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def flink() -> Iterator[Flink]:
    server = Flink()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_job_works_on_all_slots(flink: Flink) -> None:
    for master, given, expected in (
        (flink.master, (), 3),
        (f"http://{flink.master}", (), 3),
        (flink.master, ("--parallelism=2",), 2),
    ):
        options = settled("--runner=FlinkRunner", f"--flink_master={master}", *given)
        assert options.view_as(FlinkRunnerOptions).parallelism == expected
    for master in ("[local]", "127.0.0.1:1"):
        options = settled("--runner=FlinkRunner", f"--flink_master={master}")
        assert options.view_as(FlinkRunnerOptions).parallelism == -1


@pytest.mark.parametrize(
    ("order", "beside", "sends"),
    [
        ("parent-first", "/opt/flink/lib/flink-dist.jar:/opt/flink/lib/flink-job-server.jar", False),
        ("parent-first", "/opt/flink/lib/flink-dist.jar", True),
        ("child-first", "/opt/flink/lib/flink-job-server.jar", True),
        ("parent-first", None, True),
    ],
)
def test_a_cluster_that_has_beam_is_sent_no_classes(flink: Flink, order: str, beside: str | None, sends: bool) -> None:
    flink.pages["/jobmanager/config"] = [{"key": "classloader.resolve-order", "value": order}]
    if beside:
        flink.pages["/jobmanager/environment"] = {"classpath": beside.split(":")}
    server = "--flink_job_server_jar=target/flink-job-server.jar"
    options = settled("--runner=FlinkRunner", f"--flink_master={flink.master}", server)
    properties = options.view_as(JobServerOptions).job_server_jvm_properties
    assert ("-Dnnn.sends.classes=false" in properties) != sends


def test_which_jobs_go_to_a_cluster() -> None:
    assert cluster_of(settled("--runner=FlinkRunner", "--flink_master=127.0.0.1:1")) == "http://127.0.0.1:1"
    for flags in (["--runner=FlinkRunner"], ["--runner=SparkRunner"], []):
        assert cluster_of(settled(*flags)) is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rest.port": "8081"}, {"has no restart strategy", "restart for every stage"}),
        ({"restart-strategy.type": "none", "classloader.resolve-order": "parent-first"}, {"has no restart strategy"}),
        ({"restart-strategy.type": "fixed-delay"}, {"restart for every stage"}),
        ({"restart-strategy": "exponential-delay", "classloader.resolve-order": "parent-first"}, set()),
        (None, set()),
    ],
)
def test_what_a_cluster_is_not_set_for_is_told_of(
    flink: Flink, settings: dict[str, str] | None, told: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    if settings is not None:
        flink.pages["/jobmanager/config"] = [{"key": key, "value": value} for key, value in settings.items()]
    warn_of_settings(f"http://{flink.master}")
    assert {words for words in ("has no restart strategy", "restart for every stage") if words in caplog.text} == told


@pytest.mark.parametrize(
    ("states", "cancelled"),
    [({"a": "RUNNING"}, ["a"]), ({"a": "FAILED", "b": "RESTARTING"}, ["b"]), ({"a": "RUNNING", "b": "CREATED"}, [])],
)
def test_the_one_job_of_a_name_is_cancelled(flink: Flink, states: dict[str, str], cancelled: list[str]) -> None:
    jobs = [{"jid": jid, "name": "mine", "state": state} for jid, state in states.items()]
    flink.pages["/jobs/overview"] = {"jobs": [*jobs, {"jid": "z", "name": "other", "state": "RUNNING"}]}
    cancel(f"http://{flink.master}", "mine")
    assert flink.cancelled == [f"/jobs/{jid}?mode=cancel" for jid in cancelled]


def test_a_cluster_that_does_not_answer_is_not_waited_for() -> None:
    cancel("http://127.0.0.1:1", "mine")
