"""Running a pipeline: which runner, what its log shows, and errors that reach the user whole."""

from __future__ import annotations

import contextlib
import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from nnn_core.errors import ERRORS, ConfigError, NNNError
from pipelines.running._formatters import in_json
from pipelines.running._progress import Messages, shown
from pipelines.stages.metrics import NAMESPACE

_LOCAL_RUNNER = "FnApiRunner"

#: Names under which people ask for the local runner. ``DirectRunner`` itself would first try to
#: download another runner's binary, and would silently use it where the network lets it.
_LOCAL_NAMES = ("", "directrunner", "direct", _LOCAL_RUNNER.lower())

_RAISED = re.compile(r"(?ms)^nnn_core\.errors\.(\w+): (.*?)(?=^(?:Traceback|During handling|The above exception)|\Z)")
#: Of a Ctrl-C that reaches a step, Beam makes an error like any other.
_INTERRUPTED = re.compile(r"^(RuntimeError: )?KeyboardInterrupt( \[while running|$)", re.M)
_WHILE_RUNNING = re.compile(r"\s*\[while running '[^']*'\]\s*\Z")


@dataclass(frozen=True)
class RunResult:
    """What a finished pipeline reports.

    Attributes:
        counters: value of each counter by stage and name, see ``pipelines.stages.metrics``.
        distributions: highest value of each distribution, by name.
        seconds: wall time of building and running the pipeline, in seconds.
    """

    counters: dict[str, dict[str, int]]
    distributions: dict[str, int]
    seconds: float


def settle_runner(options: PipelineOptions) -> None:
    """Let every name of the local runner mean the one in this process.

    Raises:
        ConfigError: it was asked for worker processes.
    """
    standard, direct = options.view_as(StandardOptions), options.view_as(DirectOptions)
    if (standard.runner or "").lower() not in _LOCAL_NAMES:
        return
    standard.runner = _LOCAL_RUNNER
    if direct.direct_running_mode == "multi_processing" or direct.direct_num_workers != 1:
        raise ConfigError(
            "--direct_running_mode=multi_processing and --direct_num_workers are not supported: a local job runs in "
            "one process; --threads says how many cores it uses, by default all."
        )


def runs_locally(options: PipelineOptions) -> bool:
    """Whether the job runs in this process."""
    return bool(options.view_as(StandardOptions).runner == _LOCAL_RUNNER)


def run(options: PipelineOptions, define: Callable[[beam.Pipeline], object]) -> RunResult:
    """Build the pipeline with ``define``, run it and wait for it.

    Raises:
        NNNError: of the class that a worker raised.
        KeyboardInterrupt: somebody pressed Ctrl-C, wherever it struck.
    """
    start = time.monotonic()
    try:
        pipeline = beam.Pipeline(options=options)
        define(pipeline)
        display = Messages() if in_json() else None
        with shown(display) if runs_locally(options) else contextlib.nullcontext():
            result = pipeline.run()
            result.wait_until_finish()
    except NNNError as error:
        raise type(error)(_WHILE_RUNNING.sub("", str(error))) from None
    except Exception as error:
        if _INTERRUPTED.search(str(error)):
            raise KeyboardInterrupt from None
        raised = _find_error(str(error))
        if raised is None:
            raise
        raise raised from None
    return _to_result(result.metrics().query(), time.monotonic() - start)


def _find_error(text: str) -> NNNError | None:
    """The error of ours in a worker's traceback, which is all that a runner hands back.

    A traceback names causes first; the last error is the one that was raised.
    """
    matches = _RAISED.findall(text)
    if not matches:
        return None
    name, message = matches[-1]
    return ERRORS.get(name, NNNError)(_WHILE_RUNNING.sub("", message.strip()))


def _to_result(metrics: dict[str, list[Any]], seconds: float) -> RunResult:
    by_stage: dict[str, dict[str, int]] = defaultdict(dict)
    for metric in metrics["counters"]:
        if metric.key.metric.namespace == NAMESPACE:
            stage, _, name = metric.key.metric.name.partition("/")
            # On some runners Beam takes a committed 0 for none.
            by_stage[stage][name] = by_stage[stage].get(name, 0) + (metric.result or 0)
    highest = {m.key.metric.name: m.result.max for m in metrics["distributions"] if m.key.metric.namespace == NAMESPACE}
    return RunResult(dict(by_stage), highest, seconds)
