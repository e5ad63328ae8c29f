"""Counters of a stage: artefacts computed and reused, what they held, and milliseconds of work summed over workers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from apache_beam.metrics import Metrics

from pipelines.progress import tell

NAMESPACE = "nnn"

#: Artefacts, and milliseconds of work on them.
COMPUTED, REUSED, MSEC = "computed", "reused", "msec"

#: What artefacts held: rows, rejected rows, bytes of input or output, (candidate, reference) pairs.
ROWS, REJECTED, BYTES, PAIRS = "rows", "rejected", "bytes", "pairs"

#: Captions that the model was given a part of only, because it takes no more.
TRUNCATED = "truncated"

#: Parts of the work: in the model, summed over its threads, and reading the bank.
MODEL_MSEC, LOAD_MSEC = "model_msec", "load_msec"
PARTS = {"model": MODEL_MSEC, "load": LOAD_MSEC}

#: Time that the model's threads had while shards were embedded; the model's share of it is its utilisation.
MODEL_HAD_MSEC = "model_had_msec"


@contextlib.contextmanager
def timed(stage: str, what: str = MSEC) -> Iterator[None]:
    """Add the time spent inside to the stage's milliseconds, and to their distribution over artefacts."""
    start = time.perf_counter()
    yield
    count_seconds(stage, what, time.perf_counter() - start)


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


def expect(stage: str, number: int = 1) -> None:
    """Say that a stage will have so many artefacts more; for progress alone."""
    tell(stage, expected=number)
