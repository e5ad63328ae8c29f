"""What stages count, by name, and who is told of it while a job runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

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
    COMMIT_BIAS_TABLE = "commit_bias_table"


#: Artefacts, and milliseconds of work on them.
COMPUTED, REUSED, MSEC = "computed", "reused", "msec"

#: What artefacts held: rows, rejected rows, (candidate, reference) pairs.
ROWS, REJECTED, PAIRS = "rows", "rejected", "pairs"

#: Rows of what was computed anew whose vectors were found, as those of images in a folder that changed.
KNOWN = "known"

#: Captions that the model was given a part of only, because it takes no more.
TRUNCATED = "truncated"

#: Candidates with references of their own, and such references.
OWN_CANDIDATES, OWN_REFERENCES = "own_candidates", "own_references"

#: Input files of candidates whose ids are positional keys, and images that turned white as they were decoded.
POSITIONAL_KEYS, WHITENED = "positional_keys", "whitened"

#: Bytes of input, bytes that were stored, and bytes of rows on their way to their part of the table.
READ, WRITTEN, SHUFFLED = "read", "written", "shuffled"

#: What is said of a stage's artefacts, where it was counted.
HELD = (ROWS, KNOWN, REJECTED, READ, PAIRS, TRUNCATED, WRITTEN, SHUFFLED)

#: Parts of the work: in the model, summed over its threads; reading the bank; and finding the highest scores.
MODEL_MSEC, LOAD_MSEC, SEARCH_MSEC = "model_msec", "load_msec", "search_msec"
PARTS = {"model": MODEL_MSEC, "load": LOAD_MSEC, "search": SEARCH_MSEC}

#: Distribution of the most memory that a worker process has held so far, in bytes.
PEAK_BYTES = "peak_bytes"

#: Time that the model's threads had while shards were embedded; the model's share of it is its utilisation.
MODEL_HAD_MSEC = "model_had_msec"


@dataclass(frozen=True)
class Step:
    """What became of a stage since it was last heard of.

    Attributes:
        done: further artefacts that are there.
        expected: further artefacts that are known to be needed.
        rows: further rows that are done, also of artefacts that are not there yet.
        rows_expected: further rows that are known to be needed; None where an artefact has nobody knows how many.
    """

    done: int = 0
    expected: int = 0
    rows: int = 0
    rows_expected: int | None = 0


#: What stages count where others count rows.
UNITS: dict[str, str] = {StageName.SCORE_CANDIDATES: PAIRS}

#: Who shows progress in this process, by name of the stage; the last one is told.
LISTENERS: list[Callable[[str, Step], None]] = []


def tell(stage: str, done: int = 0, expected: int = 0, rows: int = 0, rows_expected: int | None = 0) -> None:
    """Say that a stage did something, or that there is more to do; nothing happens where nobody listens."""
    if LISTENERS:
        LISTENERS[-1](stage, Step(done, expected, rows, rows_expected))
