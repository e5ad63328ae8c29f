"""What a person reads of a job that failed elsewhere."""

from __future__ import annotations

import apache_beam as beam
import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.portable_runner import PortableRunner

from nnn_core.errors import InputError, RunnerError
from pipelines.running._failures import explain, find_error, last_cause
from pipelines.running.runner import run

WORKER = """Pipeline job-1 failed in state FAILED: java.lang.RuntimeException: Error received from SDK harness for \
instruction 7: Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1501, in process
{raised} [while running 'EmbedCandidates/ConvertShards']

\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient$ResponseStreamObserver.onNext(FnApi.java:180)
\t... 12 more
Caused by: java.lang.RuntimeException: Error received from SDK harness
\tat java.base/java.lang.Thread.run(Thread.java:840)
"""

BUFFERS = """Pipeline job-2 failed in state FAILED: org.apache.flink.runtime.client.JobExecutionException: Job \
execution failed.
\tat org.apache.flink.runtime.jobmaster.JobResult.toJobExecutionResult(JobResult.java:144)
Caused by: org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy
\tat org.apache.flink.runtime.executiongraph.failover.ExecutionFailureHandler.handleFailure(Execution.java:176)
Caused by: java.io.IOException: Insufficient number of network buffers: required 512, but only 478 available.
\tat org.apache.flink.runtime.io.network.buffer.NetworkBufferPool.internalCreateBufferPool(Network.java:495)
\t... 4 more
"""


#: What Spark says where the task failed on each executor.
EXCLUDED = """
ExcludeOnFailure behavior can be configured via spark.excludeOnFailure.*.

"""


@pytest.mark.parametrize("below", ["", EXCLUDED, "\nDriver stacktrace:\nmore\n"])
def test_our_error_is_found_between_the_lines_of_java(below: str) -> None:
    text = WORKER.partition("Caused by")[0] if below else WORKER
    text = text.format(raised="nnn_core.errors.InputError: 'a.parquet' is not a Parquet file.") + below
    found = explain(RuntimeError(text))
    assert (type(found), str(found)) == (InputError, "'a.parquet' is not a Parquet file.")


def test_what_else_a_worker_raises_is_a_defect_and_keeps_its_traceback() -> None:
    found = explain(RuntimeError(WORKER.format(raised="ValueError: boom")))
    assert type(found) is RuntimeError
    assert str(found).startswith("Traceback (most recent call last):\n")
    assert "ValueError: boom" in str(found)
    assert "java" not in str(found)


def test_what_an_engine_announces_is_told() -> None:
    text = """Pipeline job-1 failed in state FAILED: Job aborted due to stage failure:
Aborting TaskSet 1.0 because task 0 (partition 0)
cannot run anywhere due to node and executor excludeOnFailure.
Most recent failure:
Lost task 0.0 in stage 1.0
"""
    assert last_cause(text) == (
        "Job aborted due to stage failure: Aborting TaskSet 1.0 because task 0 (partition 0) "
        "cannot run anywhere due to node and executor excludeOnFailure."
    )
    assert last_cause("Job aborted due to stage failure:") == "Job aborted due to stage failure:."


def test_of_an_engine_the_last_cause_is_told_with_what_helps() -> None:
    found = explain(RuntimeError(BUFFERS))
    assert isinstance(found, RunnerError)
    assert str(found) == (
        "the engine could not run the job: Insufficient number of network buffers: required 512, but only 478 "
        "available. Nothing was published, and finished work is kept. Raise taskmanager.memory.network.min and .max of "
        "Flink's configuration, or lower --parallelism."
    )
    assert found.exit_code == 11


@pytest.mark.parametrize(
    ("text", "cause", "hint"),
    [
        ("Caused by: a.b.NoResourceAvailableException: Could not acquire", "Could not acquire.", "free slots"),
        ("Caused by: java.lang.OutOfMemoryError: Java heap space", "Java heap space.", "more memory"),
        ('java.io.IOException: Cannot run program "docker": error=2', "Cannot run program", "is incomplete"),
        ("Caused by: a.b.StatusRuntimeException: CANCELLED: client cancelled", "client cancelled.", "restart strategy"),
        (
            "Caused by: java.util.concurrent.TimeoutException: Waited 3 minutes (plus 164289 nanoseconds delay) for "
            "SettableFuture@1fc427bb[status=PENDING]",
            "the job: a worker did not answer for 3 minutes.",
            "ran out of memory or was killed",
        ),
        ("java.lang.IllegalStateException: Process died with exit code 1", "exit code 1.", "is incomplete"),
        ("a.b.InvalidClassException: local class incompatible", "local class incompatible.", "versions of job server"),
        ("Caused by: java.util.concurrent.TimeoutException", "TimeoutException.", "log of the engine"),
        ("", "it gave no reason.", "log of the engine"),
    ],
)
def test_known_failures(text: str, cause: str, hint: str) -> None:
    message = str(explain(RuntimeError(text)))
    assert cause in message
    assert hint in message


def test_a_job_service_that_is_not_there() -> None:
    message = str(explain(grpc.FutureTimeoutError()))
    assert "the job service does not answer." in message
    assert "--job_endpoint" in message


def test_a_message_of_several_lines_keeps_them() -> None:
    raised = "nnn_core.errors.GateError: first\nsecond"
    assert str(find_error(WORKER.format(raised=raised))) == "first\nsecond"


def test_an_engine_that_fails_is_explained_by_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(runner: PortableRunner, pipeline: beam.Pipeline, options: PipelineOptions) -> None:
        options.view_as(StandardOptions).runner = None  # as Beam does
        raise RuntimeError(BUFFERS)

    monkeypatch.setattr(PortableRunner, "run_pipeline", fail)
    options = PipelineOptions(["--runner=PortableRunner", "--job_endpoint=localhost:1"])
    with pytest.raises(RunnerError, match="Insufficient number of network buffers"):
        run(options, lambda root: root | beam.Create([1]))
