"""What ``nnn-worker`` asks an engine, and hands to Beam's worker; the rest is shown by ``make test-runners``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from apache_beam.portability.api import (
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    beam_runner_api_pb2,
    endpoints_pb2,
)
from apache_beam.runners.worker import sdk_worker_main
from google.protobuf import text_format

from pipelines.running.worker import main


class Provisions(beam_provision_api_pb2_grpc.ProvisionServiceServicer):
    """An engine that tells each worker the same, and notes who asks."""

    def __init__(self) -> None:
        self.info = beam_provision_api_pb2.ProvisionInfo()
        self.asked: list[dict[str, Any]] = []

    def GetProvisionInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append(dict(context.invocation_metadata()))
        return beam_provision_api_pb2.GetProvisionInfoResponse(info=self.info)


@pytest.fixture
def engine() -> Iterator[tuple[Provisions, list[str]]]:
    """An engine, and what it gives to the worker that it starts."""
    provisions, server = Provisions(), grpc.server(ThreadPoolExecutor(1))
    beam_provision_api_pb2_grpc.add_ProvisionServiceServicer_to_server(provisions, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    others = ["--artifact_endpoint=127.0.0.1:3", "--control_endpoint=127.0.0.1:2", "--unknown=1"]
    yield provisions, ["--id=5-1", f"--provision_endpoint=127.0.0.1:{port}", "--logging_endpoint=127.0.0.1:1", *others]
    server.stop(0)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The environments in which Beam's worker was started."""
    found: list[dict[str, str]] = []
    monkeypatch.setattr(sdk_worker_main, "main", lambda _: found.append(dict(os.environ)))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return found


def staged(name: str) -> Any:
    role = beam_runner_api_pb2.ArtifactStagingToRolePayload(staged_name=name)
    return beam_runner_api_pb2.ArtifactInformation(role_payload=role.SerializeToString())


def test_beam_starts_with_what_the_engine_says(
    engine: tuple[Provisions, list[str]], started: list[dict[str, str]]
) -> None:
    provisions, command = engine
    provisions.info.pipeline_options.update({"beam:option:experiments:v1": ["x"]})
    provisions.info.control_endpoint.url = "127.0.0.1:9"
    provisions.info.runner_capabilities.extend(["one", "two"])
    provisions.info.dependencies.append(staged("submission_environment_dependencies.txt"))
    assert main(command) == 0
    (environment,) = started
    assert provisions.asked[0]["worker_id"] == environment["WORKER_ID"] == "5-1"
    assert sdk_worker_main._load_pipeline_options(environment["PIPELINE_OPTIONS"]) == {"experiments": ["x"]}
    assert environment["RUNNER_CAPABILITIES"] == "one two"
    urls = {
        name: text_format.Parse(environment[f"{name}_API_SERVICE_DESCRIPTOR"], endpoints_pb2.ApiServiceDescriptor()).url
        for name in ("LOGGING", "CONTROL")
    }
    assert urls == {"LOGGING": "127.0.0.1:1", "CONTROL": "127.0.0.1:9"}
    assert "STATUS_API_SERVICE_DESCRIPTOR" not in environment


def test_a_job_that_brings_packages_is_refused(
    engine: tuple[Provisions, list[str]], started: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    provisions, command = engine
    provisions.info.dependencies.append(staged("workflow.tar.gz"))
    assert main(command) == 2
    assert "brings workflow.tar.gz, and nnn-worker installs nothing" in capsys.readouterr().err
    assert not started
