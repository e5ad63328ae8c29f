"""Progress of a local run: a bar for each stage, fed by all worker processes over a loopback socket.

Beam tells the metrics of a run when it is over. What a stage counts is therefore also told to the process that started
the run: within it at once, from other processes as a datagram a count, which where it is lost costs its mark on a bar.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from nnn_core.events import Event
from pipelines.stages.metrics import _HERE, PORT

_LOG = logging.getLogger("nnn")


#: Seconds between two lines where there is no terminal.
LINE_SECONDS = 15.0


@dataclass
class Tally:
    """How far a stage is.

    Attributes:
        done: artefacts that are there.
        expected: artefacts that are known to be needed, as far as anyone knows yet.
        started: when it was first heard of, seconds of a monotonic clock.
    """

    done: int = 0
    expected: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def total(self) -> int:
        """The best guess of all that is needed."""
        return max(self.done, self.expected)

    def words(self, now: float) -> str:
        """Such as ``12 of 40, 3.1/s, 9 s left``."""
        rate = self.done / max(now - self.started, 1e-3)
        left = f", {format_seconds((self.total - self.done) / rate)} left" if 0 < self.done < self.total else ""
        return f"{self.done:,} of {self.total:,}, {rate:.3g}/s{left}"


def format_seconds(value: float) -> str:
    """Such as ``9 s``, ``4 min`` or ``2.5 h``."""
    if value < 100:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 6000 else f"{value / 3600:.1f} h"


class Display(Protocol):
    """Where progress is shown."""

    def show(self, stage: str, tally: Tally) -> None: ...
    def close(self) -> None: ...


class Bars:
    """One bar a stage, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[words]}"),
            console=Console(stderr=True),
            transient=True,
            expand=True,
        )
        self._tasks: dict[str, object] = {}
        self._progress.start()

    def show(self, stage: str, tally: Tally) -> None:
        words = tally.words(time.monotonic())
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=tally.total, words=words)
        self._progress.update(self._tasks[stage], completed=tally.done, total=tally.total, words=words)  # type: ignore[arg-type]

    def close(self) -> None:
        self._progress.stop()


class Lines:
    """A plain line for the stage that moved last, every ``LINE_SECONDS``."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def show(self, stage: str, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_SECONDS:
            self._last = now
            self.write(stage, tally, now)

    def write(self, stage: str, tally: Tally, now: float) -> None:
        """Say how far the stage is."""
        print(f"{stage:<18} {tally.words(now)}", file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class Messages(Lines):
    """The same as messages of the log, for programs that read it."""

    def write(self, stage: str, tally: Tally, now: float) -> None:
        seconds = round(now - tally.started, 3)
        _LOG.info(Event("progress", stage=stage, done=tally.done, expected=tally.total, seconds=seconds))


@contextlib.contextmanager
def shown(display: Display | None = None) -> Iterator[dict[str, Tally]]:
    """Show the progress of what runs inside; the tallies are those of the stages so far."""
    tallies: dict[str, Tally] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)
        stop = threading.Event()
        screen = display or (Bars() if sys.stderr.isatty() else Lines())
        listener = threading.Thread(target=_listen, args=(server, stop, tallies, screen), daemon=True)
        before = os.environ.get(PORT)
        os.environ[PORT] = str(server.getsockname()[1])
        _HERE.append(deque())
        listener.start()
        try:
            yield tallies
        finally:
            os.environ.pop(PORT) if before is None else os.environ.__setitem__(PORT, before)
            stop.set()
            listener.join()
            _HERE.pop()
            screen.close()


def _listen(server: socket.socket, stop: threading.Event, tallies: dict[str, Tally], display: Display) -> None:
    told = _HERE[-1]
    while True:
        stopping = stop.is_set()  # before the last look at what was told
        while told:
            _add(*told.popleft(), tallies, display)
        try:
            stage, done, expected = json.loads(server.recv(4096))
            _add(str(stage), int(done), int(expected), tallies, display)
        except TimeoutError:
            if stopping:
                return
        except (ValueError, TypeError):  # a stranger's datagram
            continue


def _add(stage: str, done: int, expected: int, tallies: dict[str, Tally], display: Display) -> None:
    tally = tallies.setdefault(stage, Tally())
    tally.done += done
    tally.expected += expected
    display.show(stage, tally)
