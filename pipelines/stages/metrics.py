"""Counters of a stage: artefacts computed and reused, what they held, and milliseconds of work summed over workers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

from apache_beam.metrics import Metrics

from nnn_core import storage

NAMESPACE = "nnn"


class StageName(StrEnum):
    """The stages that count their work, by the names that metrics, summaries and progress show, in order of a refresh.

    The evaluation and the export embed queries; a refresh embeds validation queries.
    """

    EMBED_CANDIDATES = "embed_candidates"
    EMBED_REFERENCES = "embed_references"
    EMBED_QUERIES = "embed_queries"
    CALIBRATE_SEARCH = "calibrate_search"
    MEASURE_VECTORS = "measure_vectors"
    SCORE_CANDIDATES = "score_candidates"
    MERGE_PARTIALS = "merge_partials"
    EMBED_VALIDATION = "embed_validation"
    JUDGE_BIAS = "judge_bias"
    WRITE_TABLE = "write_table"


#: Artefacts, and milliseconds of work on them.
COMPUTED, REUSED, MSEC = "computed", "reused", "msec"

#: What artefacts held: rows, rejected rows, (candidate, reference) pairs.
ROWS, REJECTED, PAIRS = "rows", "rejected", "pairs"

#: Captions that the model was given a part of only, because it takes no more.
TRUNCATED = "truncated"

#: Bytes of input, bytes that were stored, and bytes of rows on their way to their part of the table.
READ, WRITTEN, SHUFFLED = "read", "written", "shuffled"

#: Parts of the work: in the model, summed over its threads; reading the bank; and finding the highest scores.
MODEL_MSEC, LOAD_MSEC, SEARCH_MSEC = "model_msec", "load_msec", "search_msec"
PARTS = {"model": MODEL_MSEC, "load": LOAD_MSEC, "search": SEARCH_MSEC}

#: Distribution of the most memory that a worker process has held so far, in bytes.
PEAK_BYTES = "peak_bytes"

#: Time that the model's threads had while shards were embedded; the model's share of it is its utilisation.
MODEL_HAD_MSEC = "model_had_msec"


@contextlib.contextmanager
def timed(stage: str) -> Iterator[None]:
    """Count what happens inside as the stage's work: its milliseconds, and the bytes that it stores."""
    with storage.tally() as written, timed_part(stage, MSEC):
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
    """The most memory that this process has held, in bytes; 0 where the system does not tell."""
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


def expect(stage: str, number: int = 1) -> None:
    """Say that a stage will have so many artefacts more; for progress alone."""
    tell(stage, expected=number)


#: Who shows progress in this process: (stage, done, expected); the last one is told.
LISTENERS: list[Callable[[str, int, int], None]] = []


def tell(stage: str, done: int = 0, expected: int = 0) -> None:
    """Say that a stage did something, or that there is more to do; nothing happens where nobody listens."""
    if LISTENERS:
        LISTENERS[-1](stage, done, expected)
