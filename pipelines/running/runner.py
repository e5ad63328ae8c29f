"""Running a pipeline: which runner, what its log shows, and errors that reach the user whole."""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from grpc import RpcError

from nnn_core.errors import LostArtifactError, NNNError
from pipelines.running import _flink
from pipelines.running._failures import explain, find_error, is_interrupt, without_place
from pipelines.running._formatters import in_json
from pipelines.running._job_service import Watch as Watch
from pipelines.running._job_service import await_end, hush_worker, on_loopback
from pipelines.running._progress import Lines, Messages, Silence, shown
from pipelines.running.known_runners import is_portable, runs_locally
from pipelines.running.output import _is_quiet
from pipelines.stages.metrics import NAMESPACE

#: A folder in which more than so many artefacts are damaged, found one after the other, is not mended but told of.
_MENDED_AT_MOST = 20


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


def run(options: PipelineOptions, define: Callable[[beam.Pipeline], object], watch: Watch | None = None) -> RunResult:
    """Build the pipeline with ``define``, run it and wait for it.

    Where an artefact turns out to be gone or damaged the pipeline runs again, and computes it anew: all that is
    finished is found.

    Args:
        options: Beam's pipeline options, such as the runner.
        define: wires the job on a new pipeline.
        watch: what to look at while the job runs on other machines; None where there is nothing to see.

    Raises:
        NNNError: of the class that a worker raised.
        RunnerError: the engine failed, or none of its workers began.
        KeyboardInterrupt: somebody pressed Ctrl-C, wherever it struck.
    """
    for _ in range(_MENDED_AT_MOST):
        with contextlib.suppress(LostArtifactError):
            return _run_once(options, define, watch)
    return _run_once(options, define, watch)


def _run_once(options: PipelineOptions, define: Callable[[beam.Pipeline], object], watch: Watch | None) -> RunResult:
    start = time.monotonic()
    try:
        pipeline = beam.Pipeline(options=options)
        with _scratch_of(pipeline):
            define(pipeline)
        result = _run_here(pipeline) if runs_locally(options) else _run_elsewhere(pipeline, watch)
    except NNNError as error:
        raise type(error)(without_place(str(error))) from None
    except Exception as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from None
        raised = find_error(str(error))
        if raised is None:
            raise
        raise raised from None
    return _to_result(_metrics_of(result), time.monotonic() - start)


@contextlib.contextmanager
def _scratch_of(pipeline: beam.Pipeline) -> Iterator[None]:
    """Remove the temporary folder that every pipeline makes, if it is not run, which would remove it."""
    try:
        yield
    except BaseException:
        shutil.rmtree(pipeline.local_tempdir, ignore_errors=True)
        raise


def _run_here(pipeline: beam.Pipeline) -> Any:
    with shown(_display()):
        result = pipeline.run()
        result.wait_until_finish()
    return result


def _display() -> Lines | None:
    """Who shows progress; None for what suits the terminal."""
    if _is_quiet():
        return Silence()
    return Messages() if in_json() else None


def _run_elsewhere(pipeline: beam.Pipeline, watch: Watch | None) -> Any:
    if not logging.getLogger("apache_beam").isEnabledFor(logging.ERROR):
        hush_worker()
    portable = is_portable(pipeline.options)  # Beam takes the runner's name out of the options when it runs a job
    if cluster := _flink.cluster_of(pipeline.options):
        _flink.warn_of_settings(cluster)
    try:
        with on_loopback():
            with _sigint_kept():
                result = pipeline.run()
            cancel = partial(_cancel_on_flink, result, cluster) if cluster else None
            await_end(result, watch, _display() or Lines(), cancel)
    except NNNError:
        raise
    except Exception as error:
        if is_interrupt(error) or not portable:
            raise
        raise explain(error) from None
    return result


def _cancel_on_flink(result: Any, cluster: str) -> None:
    # Beam makes the id of a job from the name that Flink knows it by and a number.
    _flink.cancel(cluster, result._job_id.rpartition("_")[0])
    result.cancel()


def _metrics_of(result: Any) -> dict[str, list[Any]]:
    """The job's metrics; none where an engine that has done its work does not tell them any more."""
    try:
        metrics: dict[str, list[Any]] = result.metrics().query()
    except RpcError:
        return {"counters": [], "distributions": []}
    return metrics


def _to_result(metrics: dict[str, list[Any]], seconds: float) -> RunResult:
    by_stage: dict[str, dict[str, int]] = defaultdict(dict)
    for metric in metrics["counters"]:
        if metric.key.metric.namespace == NAMESPACE:
            stage, _, name = metric.key.metric.name.partition("/")
            # On some runners Beam takes a committed 0 for none.
            by_stage[stage][name] = by_stage[stage].get(name, 0) + (metric.result or 0)
    highest = {m.key.metric.name: m.result.max for m in metrics["distributions"] if m.key.metric.namespace == NAMESPACE}
    return RunResult(dict(by_stage), highest, seconds)


@contextlib.contextmanager
def _sigint_kept() -> Iterator[None]:
    """Have SIGINT heard by the same handler afterwards.

    Beam puts its own there as it starts a job server, which ends that server at once, so that nobody could cancel the
    job any more.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
