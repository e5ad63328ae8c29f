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
from pipelines.stages.metrics import LISTENERS, UNITS, Step

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
        rows: rows that are done, where they are told one batch after the other.
        rows_expected: rows that are known to be needed; None where an artefact has nobody knows how many.
        unit: what is counted as rows.
    """

    done: int = 0
    expected: int | None = None
    started: float = field(default_factory=time.monotonic)
    rows: int = 0
    rows_expected: int | None = 0
    unit: str = "rows"

    def add(self, step: Step) -> None:
        """Take in what was done since."""
        self.done += step.done
        self.rows += step.rows
        if step.expected:
            self.expected = (self.expected or 0) + step.expected
        known = self.rows_expected is not None and step.rows_expected is not None
        self.rows_expected = (self.rows_expected or 0) + (step.rows_expected or 0) if known else None

    @property
    def total(self) -> int:
        """The best guess of all that is needed."""
        return max(self.done, self.expected or 0)

    @property
    def place(self) -> tuple[int, int | None]:
        """How much is done, and of how much, None where nobody knows: of rows where they are counted, or of artefacts.

        A file is one artefact, however long its rows take.
        """
        if self.rows and self.rows_expected:
            return min(self.rows, self.rows_expected), self.rows_expected
        return self.done, None if self.expected is None else self.total

    def words(self, now: float) -> str:
        """Such as ``12 of 40, 3.1/s, 9 s left``, or ``12 so far, 3.1/s`` where nobody knows of how many.

        With rows, ``0 of 2, 640 of 6,000 rows, 16 rows/s, 6 min left``, without their total where nobody knows it.
        """
        spent = max(now - self.started, 1e-3)
        parts = [f"{self.done:,} so far" if self.expected is None else f"{self.done:,} of {self.total:,}"]
        if self.rows:
            total = f" of {_amount(self.rows_expected)}" if self.rows_expected else ""
            parts.append(f"{_amount(self.rows)}{total} {self.unit}, {_rate(self.rows / spent, f' {self.unit}')}")
        elif spent >= 1.0 or not self.done:  # what began just now has no rate yet
            parts.append(_rate(self.done / spent))
        done, total_done = self.place
        if total_done is not None and 0 < done < total_done:
            parts.append(f"{_seconds((total_done - done) * spent / done)} left")
        return ", ".join(parts)


def _rate(per_second: float, what: str = "") -> str:
    """Such as ``3.1/s``, or ``20 s each`` where a second is not enough for one."""
    if 0 < per_second < 0.1:
        return f"{_seconds(1 / per_second)} each"
    return f"{_amount(per_second) if per_second >= 1000 else f'{per_second:.3g}'}{what}/s"


def _amount(number: float) -> str:
    """Such as ``640``, ``6,000`` or ``2.4 billion``."""
    for power, name in ((12, "trillion"), (9, "billion"), (6, "million")):
        if number >= 10**power:
            return f"{number / 10**power:,.1f} {name}"
    return f"{number:,.0f}"


def _seconds(value: float) -> str:
    """Such as ``9 s``, ``4 min`` or ``2.5 h``."""
    if value < 100:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 6000 else f"{value / 3600:.1f} h"


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
        words, (done, total) = tally.words(time.monotonic()), tally.place
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, words=words)
        self._progress.update(self._tasks[stage], completed=done, total=total, words=words)

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
        figures = {"done": tally.done, "expected": None if tally.expected is None else tally.total}
        rows = {tally.unit: tally.rows, f"{tally.unit}_expected": tally.rows_expected or None} if tally.rows else {}
        _LOG.info(Event("progress", stage=stage, **figures, **rows, seconds=round(now - tally.started, 3)))


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

    def add(stage: str, step: Step) -> None:
        # A job need not end because nobody reads its progress any more.
        with lock, contextlib.suppress(OSError):
            tally = tallies.setdefault(stage, Tally(unit=UNITS.get(stage, "rows")))
            tally.add(step)
            screen.show(stage, tally)

    LISTENERS.append(add)
    try:
        yield tallies
    finally:
        LISTENERS.pop()
        screen.close()
