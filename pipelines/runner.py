"""Running a pipeline: which runner, what its log shows, and errors that reach the user whole."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DebugOptions, DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from nnn_core.errors import ERRORS, ConfigError, NNNError, did_you_mean
from pipelines.beam_options import beam_parser
from pipelines.config_file import apply_config, read_config, spell
from pipelines.local_processes import LocalProcesses
from pipelines.logs import configure_logging, inherited_format
from pipelines.metrics import NAMESPACE
from pipelines.progress import Messages, shown

LOCAL_RUNNER = "FnApiRunner"

#: Names under which people ask for the local runner. ``DirectRunner`` itself would first try to
#: download another runner's binary, and would silently use it where the network lets it.
_LOCAL_NAMES = ("", "directrunner", "direct", LOCAL_RUNNER.lower())

#: Beam's own flags for credentials, which it would write into the job graph. Stores' clients read the environment.
_SECRET_FLAGS = (
    "--azure_connection_string",
    "--s3_access_key_id",
    "--s3_secret_access_key",
    "--s3_session_token",
)

_RAISED = re.compile(
    r"^nnn_core\.errors\.(\w+): (.*?)(?=^(?:Traceback|During handling|The above exception)|\Z)", re.M | re.S
)
#: Of a Ctrl-C that reaches a step, Beam makes an error like any other.
_INTERRUPTED = re.compile(r"^(RuntimeError: )?KeyboardInterrupt( \[while running|$)", re.M)
_WHILE_RUNNING = re.compile(r"\s*\[while running '[^']*'\]\s*\Z")


@dataclass(frozen=True)
class RunResult:
    """What a finished pipeline reports.

    Attributes:
        counters: value by stage and name, see ``pipelines.metrics``.
        distributions: highest value by name.
        seconds: wall time.
    """

    counters: dict[str, dict[str, int]]
    distributions: dict[str, int]
    seconds: float


def parse_flags(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> tuple[argparse.Namespace, PipelineOptions]:
    """Our flags by ``parser``, the rest as Beam's, both on top of the file of --config; logging is set up on the way.

    Raises:
        ConfigError: see ``read_config`` and ``parse_beam_options``.
    """
    given = spell(sys.argv[1:] if argv is None else argv, parser)
    uri = _config_uri(given)
    config = read_config(uri, parser) if uri else None
    if config:
        apply_config(config, parser, given)
    args, beam_flags = parser.parse_known_args(given)
    configure_logging(args.verbose, args.log_format)
    from_file = config.beam_flags(beam_flags) if config else []
    return args, parse_beam_options([*from_file, *beam_flags], parser)


def _config_uri(flags: Sequence[str]) -> str | None:
    """What --config names; what else there is cannot be parsed before that file was read."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--config")
    uri: str | None = parser.parse_known_args(list(flags))[0].config
    return uri


def parse_beam_options(flags: Sequence[str], known: argparse.ArgumentParser) -> PipelineOptions:
    """Beam's options from the flags that are not ours.

    Raises:
        ConfigError: a flag that neither this program nor Beam knows, which Beam would ignore; a value that Beam cannot
            use; or a credential.
    """
    if secret := next((flag for flag in flags if flag.partition("=")[0] in _SECRET_FLAGS), None):
        raise ConfigError(
            f"{secret.partition('=')[0]} would be written into the job graph; give credentials through the environment "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_CONNECTION_STRING)."
        )
    parser = beam_parser()
    try:
        unknown = parser.parse_known_args(list(flags))[1]
    except argparse.ArgumentError as error:
        raise ConfigError(f"an option of Beam cannot be used: {error}") from None
    if unknown and not unknown[0].startswith("-"):
        raise ConfigError(
            f"unexpected argument {unknown[0]!r}: a flag takes one value. If it came from a glob, quote the glob "
            "so that the shell does not expand it."
        )
    if unknown:
        names = [*known._option_string_actions, *parser._option_string_actions]
        hint = did_you_mean(unknown[0].partition("=")[0], names) or ". See nnn refresh --help."
        raise ConfigError(f"unknown flag {unknown[0]}{hint}")
    options = PipelineOptions(list(flags))
    standard = options.view_as(StandardOptions)
    if (standard.runner or "").lower() in _LOCAL_NAMES:
        standard.runner = LOCAL_RUNNER
    debug = options.view_as(DebugOptions)
    if not debug.number_of_worker_harness_threads:
        # A task fills a core and holds blocks of vectors: more at once would only cost memory.
        debug.number_of_worker_harness_threads = 1
    return options


def local_workers(options: PipelineOptions) -> int | None:
    """Worker processes of the local runner; None on any other."""
    if options.view_as(StandardOptions).runner != LOCAL_RUNNER:
        return None
    workers = options.view_as(DirectOptions).direct_num_workers
    return int(workers) or len(os.sched_getaffinity(0))


def run(options: PipelineOptions, define: Callable[[beam.Pipeline], object]) -> RunResult:
    """Build the pipeline with ``define``, run it and wait for it.

    Raises:
        NNNError: of the class that a worker raised.
        KeyboardInterrupt: somebody pressed Ctrl-C, wherever it struck.
    """
    start = time.monotonic()
    try:
        pipeline = beam.Pipeline(_runner(options), options)
        define(pipeline)
        display = Messages() if inherited_format() == "json" else None
        with shown(display) if local_workers(options) else contextlib.nullcontext():
            result = pipeline.run()
            result.wait_until_finish()
    except NNNError as error:
        raise type(error)(_WHILE_RUNNING.sub("", str(error))) from None
    except Exception as error:
        if _INTERRUPTED.search(str(error)):
            raise KeyboardInterrupt from None
        raised = find_error(str(error))
        if raised is None:
            raise
        raise raised from None
    return _to_result(result.metrics().query()["counters"], result.metrics().query()["distributions"], start)


def _runner(options: PipelineOptions) -> FnApiRunner | None:
    """The runner if it is one of ours; None for Beam to make the one that ``options`` name."""
    processes = options.view_as(DirectOptions).direct_running_mode == "multi_processing"
    return LocalProcesses() if processes and local_workers(options) else None


def find_error(text: str) -> NNNError | None:
    """The error of ours in a worker's traceback, which is all that a runner hands back.

    A traceback names causes first; the last error is the one that was raised.
    """
    matches = _RAISED.findall(text)
    if not matches:
        return None
    name, message = matches[-1]
    message = message.strip()
    return ERRORS.get(name, NNNError)(_WHILE_RUNNING.sub("", message))


def _to_result(counters: list[Any], distributions: list[Any], start: float) -> RunResult:
    by_stage: dict[str, dict[str, int]] = defaultdict(dict)
    for metric in counters:
        if metric.key.metric.namespace == NAMESPACE:
            stage, _, name = metric.key.metric.name.partition("/")
            # On some runners Beam takes a committed 0 for none.
            by_stage[stage][name] = by_stage[stage].get(name, 0) + (metric.result or 0)
    highest = {m.key.metric.name: m.result.max for m in distributions if m.key.metric.namespace == NAMESPACE}
    return RunResult(dict(by_stage), highest, time.monotonic() - start)
