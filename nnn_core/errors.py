"""Errors that a user is meant to read: the fact, the consequence, the remedy.

Every class of failure has an exit code, so that a scheduler can tell them apart without
parsing text. Anything else that escapes is a defect and leaves Python's own traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

#: Where what is written ends a job. Said of a version that stands already, these words and what follows are left out.
NOTHING_PUBLISHED = "Nothing was published."
#: How an extra of this package, which is on no index, is installed.
INSTALL_EXTRA = "pip install '.[{}]' in the source folder"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` for the end of a message; empty where nothing known is like ``word``."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


class NNNError(Exception):
    """Base of every error raised on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(NNNError):
    """Flags or settings that cannot work, whatever the data."""

    exit_code = 2


class InputError(NNNError):
    """Input that is missing, unreadable, or that contradicts other input."""

    exit_code = 3


class RejectedRowsError(NNNError):
    """More rows were rejected than the user allowed."""

    exit_code = 4


class BankTooSmallError(NNNError):
    """Fewer reference queries than the requested k."""

    exit_code = 5


class DuplicateIdError(NNNError):
    """One candidate id stands for two rows."""

    exit_code = 6


class StorageError(NNNError):
    """A location that cannot be read or written."""

    exit_code = 7


class ConflictError(NNNError):
    """Another publisher committed the version number that this job wanted."""

    exit_code = 8


class CorruptArtifactError(NNNError):
    """A stored artefact or table file whose bytes are not what its name or manifest says."""

    exit_code = 9


class LostArtifactError(CorruptArtifactError):
    """An artefact that is gone or was damaged, and is out of the way: running the job again computes it anew."""


class GateError(NNNError):
    """A version that fails a gate, and so was not published.

    Attributes:
        gates: the gates, each with name, verdict and what that means; empty where they are not known.
        report: URI of the page that was written; None if there is none.
    """

    exit_code = 10

    def __init__(self, message: str, gates: Sequence[Mapping[str, Any]] = (), report: str | None = None) -> None:
        super().__init__(message)
        self.gates = tuple(gates)
        self.report = report


class RunnerError(NNNError):
    """The engine that was to run the job failed, or never began; what it had finished is kept."""

    exit_code = 11


ERRORS: dict[str, type[NNNError]] = {
    cls.__name__: cls
    for cls in (
        ConfigError,
        InputError,
        RejectedRowsError,
        BankTooSmallError,
        DuplicateIdError,
        StorageError,
        ConflictError,
        CorruptArtifactError,
        LostArtifactError,
        GateError,
        RunnerError,
        NNNError,
    )
}
