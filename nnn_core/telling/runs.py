"""What there is to tell of a run, whether it succeeded or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Run:
    """A run that has ended.

    Attributes:
        command: the command that ran, such as ``refresh``.
        table: URI of the bias table.
        exit_code: 0 for success.
        finished: when it ended, in seconds since 1970.
        seconds: how long it took.
        version: the version of the table that it published, found unchanged or evaluated; None if it came to none.
        rows: candidates of that version.
        bias_mean: mean bias of that version.
        rejected: rows of the input that could not be used.
        gates: verdict of each gate by name: pass, fail, accepted or skipped.
        stages: seconds of work by stage; summed over workers, so they may exceed ``seconds``.
        settings: k, alpha and other values that describe the version, by name.
        error: what went wrong; None for success.
    """

    command: str
    table: str
    exit_code: int
    finished: float
    seconds: float
    version: int | None = None
    rows: int | None = None
    bias_mean: float | None = None
    rejected: int | None = None
    gates: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
