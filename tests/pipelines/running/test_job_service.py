"""Waiting for a job that others do: its end, its progress by files, and the worker that never begins."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import grpc
import pytest
from apache_beam.runners.worker import sdk_worker, worker_pool_main
from listening import listening

from nnn_core import storage
from nnn_core.errors import RunnerError
from pipelines.running import _job_service as job_service
from pipelines.running._job_service import Watch, await_end, hush_worker, on_loopback
from pipelines.running._progress import Lines, Tally


class Job:
    """What Beam returns for a job: it ends when it is told to, or is cancelled."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.ended, self.cancelled, self.failure = threading.Event(), False, failure

    def wait_until_finish(self) -> None:
        assert self.ended.wait(60)
        if self.failure:
            raise self.failure

    def cancel(self) -> None:
        self.cancelled = True
        self.ended.set()


class Said(Lines):
    """Remembers what was shown, and does something then."""

    def __init__(self, job: Job) -> None:
        self.said, self.job = dict[str, int](), job

    def show(self, stage: str, tally: Tally) -> None:
        self.said[stage] = tally.done
        if len(self.said) == 2:
            self.job.ended.set()


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_service, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(job_service, "_LOOK_SHARE", 0.0)


def watch(folder: Path, seconds: float) -> Watch:
    return Watch(str(folder), str(folder / "runs" / "x.begun"), seconds)


def test_a_worker_that_never_begins_ends_the_job(tmp_path: Path) -> None:
    job = Job()
    with pytest.raises(RunnerError, match=r"no worker began within 0.01 s \(--worker-start-timeout\).*apache_beam"):
        await_end(job, watch(tmp_path, 0.01), Lines())
    assert job.cancelled


def test_after_the_first_sign_a_job_may_take_its_time_and_its_new_files_are_counted(tmp_path: Path) -> None:
    storage.create(str(tmp_path / "embedded" / "old.json"), b"")
    job = Job()
    display = Said(job)
    seen = watch(tmp_path, 0.2)
    storage.create(seen.beacon, b"")

    def work() -> None:
        threading.Event().wait(0.3)
        for name in ("embedded/new.json", "embedded/new-0.parquet", "partials/a.parquet", "partials/b.parquet"):
            storage.create(str(tmp_path / name), b"")

    worker = threading.Thread(target=work)
    worker.start()
    await_end(job, seen, display)
    worker.join()
    assert display.said["files embedded"] == 1
    assert display.said["partials scored"] in (1, 2)
    assert not job.cancelled


def test_a_job_of_which_nothing_is_seen_for_long_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_service, "_QUIET_SECONDS", 0.2)
    job, seen = Job(), watch(tmp_path, 9.0)
    storage.create(seen.beacon, b"")
    storage.create(str(tmp_path / "partials" / "a.parquet"), b"")
    threading.Timer(0.5, job.ended.set).start()
    await_end(job, seen, Lines())
    assert "no new file below" in caplog.text
    assert "Ctrl-C cancels the job" in caplog.text


def test_how_a_job_failed_is_passed_on(tmp_path: Path) -> None:
    job = Job(RuntimeError("so"))
    job.ended.set()
    with pytest.raises(RuntimeError, match="so"):
        await_end(job, watch(tmp_path, 9.0), Lines())


def test_ctrl_c_cancels_the_job(tmp_path: Path) -> None:
    class Interrupting(Lines):
        def show(self, stage: str, tally: Tally) -> None:
            raise KeyboardInterrupt

    job, seen = Job(), watch(tmp_path, 9.0)
    storage.create(seen.beacon, b"")

    def late() -> None:
        threading.Event().wait(0.1)
        storage.create(str(tmp_path / "partials" / "a.parquet"), b"")

    threading.Thread(target=late).start()
    with pytest.raises(KeyboardInterrupt):
        await_end(job, seen, Interrupting())
    assert job.cancelled


def test_a_job_is_cancelled_in_the_way_that_is_asked_for(tmp_path: Path) -> None:
    job, asked = Job(), list[str]()
    with pytest.raises(RunnerError):
        await_end(job, watch(tmp_path, 0.01), Lines(), lambda: asked.append("by its page"))
    assert asked == ["by its page"]
    assert not job.cancelled
    job.ended.set()


def test_a_worker_in_this_process_says_nothing_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda failed: told.append(failed.exc_type))
    monkeypatch.setattr(sdk_worker, "print", print, raising=False)
    hush_worker()

    def fail(error: Exception) -> None:
        raise error

    for error in (grpc.RpcError("the engine hung up"), ValueError("a defect")):
        thread = threading.Thread(target=fail, args=(error,))
        thread.start()
        thread.join()
    assert told == [ValueError]
    assert sdk_worker.print is not print


def test_a_worker_in_this_process_is_reached_from_this_machine_only() -> None:
    with on_loopback():
        address, server = worker_pool_main.BeamFnExternalWorkerPoolServicer.start()
    try:
        assert listening(os.getpid()) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
        grpc.channel_ready_future(grpc.insecure_channel(address)).result(timeout=60)
    finally:
        server.stop(None)
