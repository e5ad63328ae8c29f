"""Which runners a job may run on, why others are refused, and the options that an engine needs."""

from __future__ import annotations

from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)

from nnn_core.errors import ConfigError, did_you_mean
from pipelines.running._flink import cluster_of, has_beam, slots_of

_LOCAL = "FnApiRunner"

#: Names under which people ask for the local runner. ``DirectRunner`` itself would first try to
#: download another runner's binary, and would silently use it where the network lets it.
_LOCAL_NAMES = ("", "direct", "fnapi")

#: Runners behind Beam's job service, whose workers are other processes.
_PORTABLE = ("FlinkRunner", "SparkRunner", "PrismRunner", "PortableRunner")

#: All that the job was tested on, by the name without "Runner" in lower case. The last one is of use to tests: it
#: hands a bundle that failed to its step again.
_TESTED = {
    name.removesuffix("Runner").lower(): name for name in (*_PORTABLE, "DataflowRunner", "BundleBasedDirectRunner")
}

#: Why a runner is refused.
_REFUSED = {
    "dask": (
        "it silently loses rows: it merges tagged outputs, drops what finish_bundle returns and runs only the last sink"
    ),
}

#: How long an engine keeps a worker that has nothing to do, in milliseconds. By default it ends with each stage, and
#: the next stage waits for a Python program to start. It keeps one that died as well, and what is tried again within
#: this time fails.
_KEPT_MILLIS = 5_000
#: The same on Spark, which tries on another executor. Its stages take turns on the executors, so each has a worker
#: without work for as long as that of the other takes to start, half a minute on a machine that is at work.
_KEPT_MILLIS_ON_SPARK = 60_000

#: What Flink and Spark reach into, which Java 17 forbids unless it is told otherwise.
OPENED = (
    "java.lang",
    "java.lang.invoke",
    "java.lang.reflect",
    "java.io",
    "java.net",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "sun.nio.ch",
    "sun.nio.cs",
    "sun.security.action",
    "sun.util.calendar",
)

#: How Java compiles and collects in what lives no longer than a job: the job server that a command starts, and Spark's
#: executors.
_SHORT_LIVED = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def settle_runner(options: PipelineOptions) -> None:
    """Name the runner as Beam does, let every name of the local one mean that of this process, and add what an engine
    needs where the user said nothing.

    Raises:
        ConfigError: a runner that loses rows or that nobody tested, or worker processes of the local one.
    """
    standard = options.view_as(StandardOptions)
    standard.runner = _find_runner(standard.runner or "")
    if standard.runner == _LOCAL:
        _refuse_processes(options.view_as(DirectOptions))
    if is_portable(options):
        _add_needs(options)


def runs_locally(options: PipelineOptions) -> bool:
    """Whether the job runs in this process."""
    return bool(options.view_as(StandardOptions).runner == _LOCAL)


def is_portable(options: PipelineOptions) -> bool:
    """Whether the job goes to a job service, such as Flink's, whose workers are other processes."""
    return options.view_as(StandardOptions).runner in _PORTABLE


def _find_runner(given: str) -> str:
    """The runner's name as Beam has it, of a name in any case, with or without "Runner" and its module."""
    name = given.rpartition(".")[2].lower().removesuffix("runner")
    if name in _LOCAL_NAMES:
        return _LOCAL
    if name in _TESTED:
        return _TESTED[name]
    offered = f"DirectRunner (the default: this process), {', '.join(_PORTABLE)}, DataflowRunner"
    if name in _REFUSED:
        raise ConfigError(
            f"--runner={given} is refused: {_REFUSED[name]}. Use one of {offered}; deploy/README.md says what was run "
            "on each."
        )
    hint = did_you_mean(given, [*_TESTED.values(), "DirectRunner"])
    raise ConfigError(
        f"--runner={given} was not tested with this job, and an untested runner may silently lose "
        f"rows{hint or '.'} Use one of {offered}."
    )


def _refuse_processes(direct: DirectOptions) -> None:
    if direct.direct_running_mode == "multi_processing" or direct.direct_num_workers != 1:
        raise ConfigError(
            "--direct_running_mode=multi_processing and --direct_num_workers are not supported: a local job "
            "runs in one process. --threads sets its number of cores (default: all)."
        )


def _add_needs(options: PipelineOptions) -> None:
    portable, server = options.view_as(PortableOptions), options.view_as(JobServerOptions)
    # A worker in this process starts at once, and would keep it from ending as long as the engine keeps the worker.
    if portable.environment_type not in (None, "LOOPBACK"):
        on_spark = options.view_as(StandardOptions).runner == "SparkRunner"
        kept = _KEPT_MILLIS_ON_SPARK if on_spark else _KEPT_MILLIS
        portable.environment_cache_millis = portable.environment_cache_millis or kept
    # Else Beam asks pip what is installed here, and stages the answer for the log of each worker.
    options.view_as(DebugOptions).add_experiment("disable_logging_submission_environment")
    properties = [*_SHORT_LIVED, *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED)]
    if options.view_as(StandardOptions).runner == "FlinkRunner":
        properties += _settle_flink(options)
    if options.view_as(StandardOptions).runner == "SparkRunner":
        # Spark tries again at once. On the same executor it would meet the worker that died, four times.
        properties.append("-Dspark.excludeOnFailure.enabled=true")
        # Where a step fails everywhere, as at a gate, it would wait two minutes for a further executor.
        properties.append("-Dspark.scheduler.excludeOnFailure.unschedulableTaskSetTimeout=20s")
        properties.append(f"-Dspark.executor.extraJavaOptions={' '.join(_SHORT_LIVED)}")
    server.job_server_jvm_properties = [*properties, *server.job_server_jvm_properties]


def _settle_flink(options: PipelineOptions) -> list[str]:
    """Set what a job on Flink needs; what the job server's Java is told besides."""
    flink, cluster = options.view_as(FlinkRunnerOptions), cluster_of(options)
    if cluster is None:
        return []
    if flink.parallelism < 1:
        # Else Flink takes what its configuration says, by default one task at a time on the whole cluster.
        flink.parallelism = slots_of(cluster) or flink.parallelism
    # A property of the job server of deploy/flink; any other takes no notice, and sends its classes with each job.
    return ["-Dnnn.sends.classes=false"] if has_beam(cluster, flink.flink_job_server_jar) else []
