"""The benchmark of choices runs, on clouds that are tiny; what it finds out is not tested."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import choice


def test_both_rules_are_applied_to_every_draw(capsys: pytest.CaptureFixture[str]) -> None:
    trials = choice.banks_of(choice.null_trial(60, 80, 48), 2)
    (row,) = choice.run("no hubs", trials, 3, sizes=(40, 50))
    choice.show(row, False)
    assert capsys.readouterr().out.startswith("no hubs")
    assert row.queries == 40
    assert set(row.mean) == {"before", "now"}
    assert all(0.0 <= row.zero[name] <= 1.0 for name in choice.RULES)


def test_alpha_zero_is_worth_nothing() -> None:
    pool = choice.Pool.of(choice.null_trial(40, 30, 20))
    assert pool.gains[0] == 0.0
    assert pool.first.shape == (len(pool.points), 20)
    assert pool.first.min() >= 1
