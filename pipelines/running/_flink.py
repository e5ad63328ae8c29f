"""What a Flink cluster is asked and told on its pages, because Beam's job server does not."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any
from urllib.request import Request, urlopen

from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions, StandardOptions

_LOG = logging.getLogger("nnn")

#: Restart strategies of Flink that run nothing again; none is the default.
_NO_RETRIES = {"none", "off", "disable"}

#: States in which a job of Flink has ended, all in all.
_ENDED = {"FINISHED", "CANCELED", "FAILED"}

#: Seconds that Flink has to answer.
_ASKING_SECONDS = 5.0


def cluster_of(options: PipelineOptions) -> str | None:
    """Address of the pages of the Flink cluster that a job goes to; None for other engines and Flink in one process."""
    master: str = options.view_as(FlinkRunnerOptions).flink_master
    if options.view_as(StandardOptions).runner != "FlinkRunner" or master.startswith("["):
        return None
    return master if master.startswith(("http://", "https://")) else f"http://{master}"


def slots_of(cluster: str) -> int | None:
    """Slots of all task managers; None if the cluster does not say."""
    overview = _ask(cluster, "overview") or {}
    return int(overview.get("slots-total", 0)) or None


def has_beam(cluster: str, job_server: str | None) -> bool:
    """Whether a cluster has Beam's classes for its own, so that no job needs to bring them.

    Args:
        cluster: address of its pages.
        job_server: path of the job server's file.
    """
    if not job_server or not _prefers_own_classes(_settings_of(cluster)):
        return False
    beside: list[str] = (_ask(cluster, "jobmanager/environment") or {}).get("classpath", [])
    return PurePath(job_server).name in {PurePath(each).name for each in beside}


def warn_of_settings(cluster: str) -> None:
    """Say what a cluster is not set for: to run again what a worker that died was at, and to keep workers.

    Only the cluster can be told otherwise. Beam asks Flink for attempts for streams alone, and for a batch Flink does
    not take them from the configuration of its client either. Beam keeps no worker longer than a stage if its classes
    came with the job.
    """
    settings = _settings_of(cluster)
    if not settings:
        return
    if settings.get("restart-strategy.type", settings.get("restart-strategy", "none")) in _NO_RETRIES:
        _LOG.warning(
            "the Flink cluster at %s has no restart strategy, so the job fails if one worker dies (finished "
            "work is kept). Set restart-strategy.type: fixed-delay in its configuration, with "
            "restart-strategy.fixed-delay.attempts: 3 and restart-strategy.fixed-delay.delay: 10 s.",
            cluster,
        )
    if not _prefers_own_classes(settings):
        _LOG.warning(
            "the Flink cluster at %s loads Beam's classes with each job, so its Python workers restart for "
            "every stage. Put the job server's file into its lib folder, and set classloader.resolve-order: "
            "parent-first (deploy/flink/README.md).",
            cluster,
        )


def cancel(cluster: str, name: str) -> None:
    """Cancel the job of this name, which Beam's job server does not: it only ceases to wait for it.

    Where several of this name run, none is touched: the others may be somebody else's.
    """
    jobs = (_ask(cluster, "jobs/overview") or {}).get("jobs", [])
    running = [job["jid"] for job in jobs if job["name"] == name and job["state"] not in _ENDED]
    if len(running) == 1:
        _ask(cluster, f"jobs/{running[0]}?mode=cancel", "PATCH")


def _settings_of(cluster: str) -> dict[str, str]:
    """The configuration of the job manager; empty if the cluster does not say."""
    return {each["key"]: each["value"] for each in _ask(cluster, "jobmanager/config") or []}


def _prefers_own_classes(settings: Mapping[str, str]) -> bool:
    """Whether a class that both the cluster and a job have is the cluster's, which workers outlive a stage by."""
    return settings.get("classloader.resolve-order") == "parent-first"


def _ask(cluster: str, page: str, method: str = "GET") -> Any:
    """What a cluster says; None if it does not."""
    request = Request(f"{cluster}/{page}", method=method)
    with contextlib.suppress(OSError, ValueError), urlopen(request, timeout=_ASKING_SECONDS) as answer:
        return json.load(answer)
    return None
