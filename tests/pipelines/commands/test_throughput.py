"""What is said of a model's speed and of a search's error follows from a run's figures."""

from __future__ import annotations

import pytest

from pipelines.commands._summary import _describe_models, _speed_of, print_summary
from pipelines.stages.metrics import MODEL_HAD_MSEC, MODEL_MSEC, MSEC, ROWS


def test_speed_by_hand() -> None:
    assert _speed_of({MSEC: 0}) == {}
    assert _speed_of({ROWS: 300, MSEC: 2000}) == {"rows_per_second": 150.0}
    counters = {ROWS: 300, MSEC: 2000, MODEL_MSEC: 3600, MODEL_HAD_MSEC: 4000}
    assert _speed_of(counters) == {"rows_per_second": 150.0, "model_utilisation": 0.9}


def test_only_stages_with_a_model_are_told_of() -> None:
    stages = {
        "embed_candidates": {"rows": 3000, "rows_per_second": 1212.5, "model_utilisation": 0.974, "truncated": 0},
        "embed_references": {"rows": 12, "rows_per_second": 3.0, "model_utilisation": 1.0, "truncated": 1200},
        "score_candidates": {"rows": 5, "rows_per_second": 7.0},
    }
    assert list(_describe_models(stages)) == [
        "embed_candidates: 3,000 rows at 1,212.5 a second, the model at work 97 % of its time",
        "embed_references: 12 rows at 3.0 a second, the model at work 100 % of its time; 1,200 captions are "
        "too long for the model, and were cut",
    ]


def test_the_error_of_an_approximate_search_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"mean": 4e-4, "p99": 2e-3, "max": 0.013, "rank_correlation": 0.99987, "candidates": 1200}
    found = {"text": "x", "stages": {}, "manifest": "m", "report": "r", "own_pairs": None}
    print_summary(found | {"search": {"error": error}})
    assert (
        "search       error of a mean: average 4.0e-04, 99th percentile 2.0e-03, maximum 1.3e-02, rank "
        "correlation 0.99987 (1,200 candidates measured)"
    ) in capsys.readouterr().out.splitlines()
    print_summary(found | {"search": {"error": None}})
    assert "search" not in capsys.readouterr().out
