"""Counters of a stage: artefacts computed and reused, and milliseconds of work summed over workers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from apache_beam.metrics import Metrics

NAMESPACE = "nnn"
COMPUTED, REUSED, MSEC = "computed", "reused", "msec"

#: Of a stage that runs a model: rows encoded (over MSEC, its throughput), and captions that were cut.
ENCODED, TRUNCATED = "encoded", "truncated"


@contextlib.contextmanager
def timed(stage: str) -> Iterator[None]:
    """Add the time spent inside to the stage's milliseconds."""
    start = time.perf_counter()
    yield
    Metrics.counter(NAMESPACE, f"{stage}/{MSEC}").inc(round(1000 * (time.perf_counter() - start)))


def count(stage: str, what: str, number: int = 1) -> None:
    """Count artefacts of a stage as ``COMPUTED`` or ``REUSED``, or rows as ``ENCODED`` or ``TRUNCATED``."""
    Metrics.counter(NAMESPACE, f"{stage}/{what}").inc(number)
