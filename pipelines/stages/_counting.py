"""Counters of a stage: artefacts computed and reused, what they held, and milliseconds of work summed over workers."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path

from apache_beam.metrics import Metrics

from nnn_core.storage import tally
from pipelines.stages.metrics import COMPUTED, MSEC, NAMESPACE, PEAK_BYTES, REUSED, WRITTEN, tell

#: Seconds until memory is looked at again. The system remembers the most, and shorter work holds little; looking takes
#: as long as scoring a small file.
_LOOK_AGAIN = 0.2

#: When this process looked at its memory.
_looked = -math.inf


@contextlib.contextmanager
def timed(stage: str) -> Iterator[None]:
    """Count what happens inside as the stage's work: its milliseconds, and the bytes that it stores."""
    with tally() as written, timed_part(stage, MSEC):
        yield
    count_work(stage, written.bytes)


@contextlib.contextmanager
def timed_part(stage: str, what: str) -> Iterator[None]:
    """Add the time spent inside to milliseconds of the stage, and to their distribution over artefacts."""
    start = time.perf_counter()
    yield
    count_seconds(stage, what, time.perf_counter() - start)


def count_work(stage: str, written: int) -> None:
    """Count the bytes that a piece of work stored, and look at the memory of the process that did it."""
    if written:
        count(stage, WRITTEN, written)
    if peak := _peak_memory():
        Metrics.distribution(NAMESPACE, PEAK_BYTES).update(peak)


def _peak_memory() -> int:
    """The most memory that this process has held, in bytes; 0 where the system does not tell, or was asked just now."""
    global _looked
    if time.monotonic() - _looked < _LOOK_AGAIN:
        return 0
    _looked = time.monotonic()
    # What getrusage says includes the process that this one was forked from.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0


def count_seconds(stage: str, what: str, seconds: float) -> None:
    """Add time to the stage's milliseconds, and to their distribution over artefacts."""
    spent = round(1000 * seconds)
    Metrics.counter(NAMESPACE, f"{stage}/{what}").inc(spent)
    Metrics.distribution(NAMESPACE, f"{stage}/{what}_each").update(spent)


def count(stage: str, what: str, number: int = 1) -> None:
    """Count artefacts of a stage as ``COMPUTED`` or ``REUSED``, or what they held."""
    Metrics.counter(NAMESPACE, f"{stage}/{what}").inc(number)
    if what in (COMPUTED, REUSED):
        tell(stage, done=number)
