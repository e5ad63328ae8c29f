"""The benchmark of choices runs, on clouds that are tiny; what it finds out is not tested."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import choice


def test_every_split_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    row = choice.run("no hubs", choice.splits_of(choice.null_trial(60, 40, 48), 3))
    choice.show(row, 1.0)
    assert capsys.readouterr().out.startswith("no hubs")
    assert (row.splits, sum(row.sizes)) == (3, pytest.approx(48, abs=1))
    assert 0.0 <= row.chosen <= 1.0
    assert min(row.regret, row.candidate_regret, row.best_regret, row.fixed_regret) >= 0.0


def test_a_lead_within_one_standard_error() -> None:
    values = choice.np.array([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]])
    outcome = choice.Outcome(0, 2, 1, values)
    assert [outcome.lead(point) for point in range(3)] == [0.75, 0.0, 0.25]
    assert [outcome.is_near(point) for point in range(3)] == [False, True, True]
