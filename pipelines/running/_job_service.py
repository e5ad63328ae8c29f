"""A job on a job service: whether a worker ever began, how far it is by the files that it writes, and how it ended."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from apache_beam.runners.worker import sdk_worker
from grpc import RpcError

from nnn_core import storage
from nnn_core.errors import NNNError, RunnerError
from pipelines.running._progress import Lines, Tally

_LOG = logging.getLogger("nnn")

#: Seconds between two looks at the files, and how much longer than a look the time between two is at least, so that
#: a large folder of a store is not listed all the time.
_LOOK_SECONDS, _LOOK_SHARE = 2.0, 20.0

#: Seconds without a new file after which the user is told so, each time anew.
_QUIET_SECONDS = 600.0

#: Seconds that an engine has to take note that a job is cancelled.
_CANCEL_SECONDS = 10.0

#: Folders of artefacts, how the names end that are counted there, and what they are called.
_FOLDERS = {"embedded": (".json", "files embedded"), "partials": ("", "partials scored")}


@dataclass(frozen=True)
class Watch:
    """What the launcher of a job looks at while workers elsewhere do it.

    Attributes:
        work: URI of the folder of artefacts.
        beacon: URI of the object that the first worker creates.
        start_seconds: how long to wait for that object.
    """

    work: str
    beacon: str
    start_seconds: float


@dataclass
class _Look:
    """Looks at the files of a job.

    Attributes:
        watch: where they are.
        display: who shows the progress.
        begun: whether a worker gave a sign of life.
        since: when the job was handed over, seconds of a monotonic clock.
        news: when there was a new file, or this was last told.
    """

    watch: Watch
    display: Lines
    begun: bool = False
    since: float = field(default_factory=time.monotonic)
    news: float = field(default_factory=time.monotonic)
    _before: dict[str, int] = field(default_factory=dict)
    _shown: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with contextlib.suppress(NNNError):
            self._before = self._shown = self._count()

    def __call__(self) -> None:
        """Look once.

        Raises:
            RunnerError: no worker began in time.
        """
        try:
            self.begun = self.begun or storage.exists(self.watch.beacon)
            if self.begun:
                self._show()
        except NNNError:  # what cannot be seen from here may well be written there
            return
        if not self.begun and time.monotonic() - self.since >= self.watch.start_seconds:
            raise RunnerError(_no_worker(self.watch.start_seconds))

    def _show(self) -> None:
        found, now = self._count(), time.monotonic()
        if found != self._shown:
            self.news = now
        elif now - self.news >= _QUIET_SECONDS:
            self.news = now
            _LOG.warning(_no_news(self.watch.work))
        for folder, number in found.items():
            if number != self._shown.get(folder, 0):
                new = number - self._before.get(folder, 0)
                self.display.show(_FOLDERS[folder][1], Tally(new, None, self.since))
        self._shown = found

    def _count(self) -> dict[str, int]:
        return {
            folder: sum(name.endswith(end) for name in storage.list_names(storage.join(self.watch.work, folder)))
            for folder, (end, _) in _FOLDERS.items()
        }


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Keep what Beam serves in this process, as a worker of ``--environment_type=LOOPBACK``, to this machine.

    It listens on every address although it says localhost, and whoever reaches a worker can hand it code to run.
    """
    real = grpc.server

    def serve(*args: Any, **options: Any) -> Any:
        server = real(*args, **options)
        listen = server.add_insecure_port
        server.add_insecure_port = lambda address: listen(address.replace("[::]", "localhost"))
        return server

    grpc.server = serve
    try:
        yield
    finally:
        grpc.server = real


def hush_worker() -> None:
    """Keep a worker in this process, as ``--environment_type=LOOPBACK`` has it, from writing to standard error.

    It prints each traceback besides handing it to the engine, which hands it back; and it takes the end of the engine
    for a failure of its connection.
    """
    sdk_worker.print = lambda *_, **__: None
    before = threading.excepthook

    def tell(failed: threading.ExceptHookArgs) -> None:
        if not issubclass(failed.exc_type, RpcError):
            before(failed)

    threading.excepthook = tell


def await_end(result: Any, watch: Watch | None, display: Lines, cancel: Callable[[], None] | None = None) -> None:
    """Wait until a job that was handed over has ended; cancel it if nobody begins with it or waits for it.

    Args:
        result: what Beam returned for the job.
        watch: where its files are; None if there is nothing to look at.
        display: who shows the progress.
        cancel: cancels the job; by default the job service is asked to.

    Raises:
        RunnerError: no worker began in time.
        KeyboardInterrupt: somebody pressed Ctrl-C.
        Exception: what Beam says of a job that failed.
    """
    look = _Look(watch, display) if watch else None
    ended, failures = threading.Event(), list[BaseException]()

    def wait() -> None:
        try:
            result.wait_until_finish()
        except BaseException as error:
            failures.append(error)
        finally:
            ended.set()

    _in_background(wait)
    pause = _LOOK_SECONDS
    try:
        while not ended.wait(pause):
            start = time.monotonic()
            if look:
                look()
            pause = max(_LOOK_SECONDS, _LOOK_SHARE * (time.monotonic() - start))
    except (RunnerError, KeyboardInterrupt):
        _try(cancel or result.cancel)
        raise
    if failures:
        raise failures[0]


def _no_worker(seconds: float) -> str:
    return (
        f"no worker began within {seconds:g} s (--worker-start-timeout), so the job was cancelled. Nothing was "
        "published. Check the log of the worker pool (EXTERNAL), or of the task manager or executor (PROCESS). "
        "Its python needs this package and apache_beam. Each task manager or executor needs its own pool. The "
        "cluster needs a free slot, and workers must reach --work."
    )


def _no_news(work: str) -> str:
    return (
        f"no new file below {work!r} for {_QUIET_SECONDS / 60:.0f} min. If no file should take that long, look "
        "for waiting tasks on the engine's page. The engine waits forever for a pool worker that died as it "
        "started. Ctrl-C cancels the job, and the same command continues it."
    )


def _try(cancel: Callable[[], None]) -> None:
    """Ask for the end of a job, without waiting for an engine that does not answer."""

    def ask() -> None:
        with contextlib.suppress(Exception):
            cancel()

    _in_background(ask).join(_CANCEL_SECONDS)


def _in_background(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread
