"""Progress of a local run: a bar for each stage, or lines where there is no terminal.

Beam tells the metrics of a run when it is over, so stages tell what they count as they go (``metrics.tell``).
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nnn_core.events import Event
from pipelines.stages.metrics import LISTENERS

_LOG = logging.getLogger("nnn")

#: Seconds between two lines where there is no terminal.
LINE_SECONDS = 15.0


@dataclass
class Tally:
    """How far a stage is.

    Attributes:
        done: artefacts that are there.
        expected: artefacts that are known to be needed, as far as anyone knows yet; None where nobody has said so.
        started: when it was first heard of, seconds of a monotonic clock.
    """

    done: int = 0
    expected: int | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def total(self) -> int:
        """The best guess of all that is needed."""
        return max(self.done, self.expected or 0)

    def words(self, now: float) -> str:
        """Such as ``12 of 40, 3.1/s, 9 s left``, or ``12 so far, 3.1/s`` where nobody knows of how many."""
        rate = self.done / max(now - self.started, 1e-3)
        if self.expected is None:
            return f"{self.done:,} so far, {rate:.3g}/s"
        left = f", {_seconds((self.total - self.done) / rate)} left" if 0 < self.done < self.total else ""
        return f"{self.done:,} of {self.total:,}, {rate:.3g}/s{left}"


def _seconds(value: float) -> str:
    """Such as ``9 s``, ``4 min`` or ``2.5 h``."""
    if value < 100:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 6000 else f"{value / 3600:.1f} h"


def _end_of(tally: Tally) -> int | None:
    """The end of a bar; None for one that moves without one."""
    return None if tally.expected is None else tally.total


class _Bars:
    """One bar a stage, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = TextColumn("{task.description:<18}"), BarColumn(bar_width=None), TextColumn("{task.fields[words]}")
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True, expand=True)
        self._tasks: dict[str, Any] = {}
        self._progress.start()

    def show(self, stage: str, tally: Tally) -> None:
        words = tally.words(time.monotonic())
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=_end_of(tally), words=words)
        self._progress.update(self._tasks[stage], completed=tally.done, total=_end_of(tally), words=words)

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
        _LOG.info(Event("progress", stage=stage, done=tally.done, expected=_end_of(tally), seconds=seconds))


class Silence(Lines):
    """Nothing, for those who want to hear of warnings and errors only."""

    def write(self, stage: str, tally: Tally, now: float) -> None:
        pass


@contextlib.contextmanager
def shown(display: _Bars | Lines | None = None) -> Iterator[dict[str, Tally]]:
    """Show the progress of what runs inside; the tallies are those of the stages so far."""
    tallies: dict[str, Tally] = {}
    screen = display or (_Bars() if sys.stderr.isatty() else Lines())
    lock = threading.Lock()  # Beam may be asked to run bundles in several threads

    def add(stage: str, done: int, expected: int) -> None:
        # A job need not end because nobody reads its progress any more.
        with lock, contextlib.suppress(OSError):
            tally = tallies.setdefault(stage, Tally())
            tally.done += done
            if expected:
                tally.expected = (tally.expected or 0) + expected
            screen.show(stage, tally)

    LISTENERS.append(add)
    try:
        yield tallies
    finally:
        LISTENERS.pop()
        screen.close()
