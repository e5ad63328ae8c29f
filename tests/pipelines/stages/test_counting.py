"""Counters of a stage cost little beside the smallest piece of work."""

from __future__ import annotations

import pytest

from pipelines.stages import _counting


def test_memory_is_not_looked_at_for_every_small_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(_counting.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(_counting, "_looked", -1.0)
    peaks = []
    for clock[0] in (0.0, 0.1, 0.19, 0.2, 5.0):
        peaks.append(_counting._peak_memory() > 1 << 20)
    assert peaks == [True, False, False, True, True]
