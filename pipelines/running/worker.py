"""``nnn-worker``: a Python worker that an engine starts by ``--environment_type=PROCESS``.

Beam's boot program does the same, but asks pip three times what is installed before: five seconds of a processor for
each worker. This program installs nothing, so it does not ask.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

import grpc
from apache_beam.portability.api import (
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    beam_runner_api_pb2,
    endpoints_pb2,
)
from apache_beam.runners.portability.stager import SUBMISSION_ENV_DEPENDENCIES_FILE
from apache_beam.runners.worker import sdk_worker_main
from google.protobuf.json_format import MessageToJson

from nnn_core.errors import ConfigError
from pipelines.running.logs import say_failure

#: Seconds that an engine has to answer what its worker is for.
_ASKING_SECONDS = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """Be a worker until the engine has no more use for it.

    Args:
        argv: what Beam's container contract gives to a worker.

    Returns:
        Exit code.
    """
    parser = argparse.ArgumentParser(prog="nnn-worker", description="A Python worker; engines start it.")
    for name in ("id", "provision_endpoint", "logging_endpoint", "artifact_endpoint", "control_endpoint"):
        parser.add_argument(f"--{name}", required=name in ("id", "provision_endpoint"), default="")
    args, _ = parser.parse_known_args(argv)
    try:
        os.environ.update(_settings(args, _ask(args.provision_endpoint, args.id)))
    except ConfigError as error:
        say_failure(str(error), type(error).__name__, error.exit_code)
        return error.exit_code
    sdk_worker_main.main([])
    return 0


def _ask(endpoint: str, worker: str) -> Any:
    """What the engine wants of a worker."""
    with grpc.insecure_channel(endpoint) as channel:
        answer = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel).GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(),
            metadata=[("worker_id", worker)],
            timeout=_ASKING_SECONDS,
            wait_for_ready=True,
        )
    return answer.info


def _settings(args: argparse.Namespace, info: Any) -> dict[str, str]:
    """What Beam's worker reads from its environment.

    Raises:
        ConfigError: the job brings packages.
    """
    role = beam_runner_api_pb2.ArtifactStagingToRolePayload
    staged = {role.FromString(each.role_payload).staged_name for each in info.dependencies}
    if packages := sorted(staged - {SUBMISSION_ENV_DEPENDENCIES_FILE, ""}):
        raise ConfigError(
            f"the job brings {', '.join(packages)}, and nnn-worker installs nothing. Have it in the worker's "
            "environment, or give Beam's boot program as the command of --environment_config."
        )
    settings = {
        "WORKER_ID": args.id,
        "PIPELINE_OPTIONS": MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        "LOGGING_API_SERVICE_DESCRIPTOR": _endpoint(info.logging_endpoint.url or args.logging_endpoint),
        "CONTROL_API_SERVICE_DESCRIPTOR": _endpoint(info.control_endpoint.url or args.control_endpoint),
    }
    if info.HasField("status_endpoint"):
        settings["STATUS_API_SERVICE_DESCRIPTOR"] = _endpoint(info.status_endpoint.url)
    return settings


def _endpoint(url: str) -> str:
    return str(endpoints_pb2.ApiServiceDescriptor(url=url))


if __name__ == "__main__":
    sys.exit(main())
