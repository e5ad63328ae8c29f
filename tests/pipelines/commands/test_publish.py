"""``nnn evaluate --publish``: a version with another k or alpha that passes the gates of a refresh."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import GRID, IDS, publish

from nnn_core.errors import GateError
from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.queries import _Unused
from nnn_core.evaluation.summary import Evaluation, Request
from nnn_core.gates.catalogue import RULES
from nnn_core.gates.thresholds import Thresholds
from nnn_core.table.manifest import list_versions, read_manifest
from nnn_core.table.reading import load_bias_table
from pipelines.commands._evaluate import _publish
from pipelines.config import EvaluationConfig

GOOD, NO_GAIN = Interval(0.02, 0.01, 0.03), Interval(-0.02, -0.03, -0.01)


@pytest.fixture
def table(tmp_path: Path) -> str:
    publish(str(tmp_path / "table"), alpha=0.75)
    return str(tmp_path / "table")


def publish_point(table: str, k: int, alpha: float, gain: Interval = GOOD, *accepted: str, **other: Any) -> int:
    point, objective = Point(k, alpha), "recall@1"
    found = {objective: gain}
    bits = (gain.value, (gain.high - gain.low) / 4)
    unused, ranks = _Unused(0, 0, 0), (1.0, 1.0)
    evaluation = Evaluation(point, None, objective, 80, 80, 0, unused, found, found, found, bits, 0.9, ranks, ())
    result = dataclasses.asdict(evaluation) | {"candidates": len(IDS), "report": "page"} | other.pop("result", {})
    version = other.pop("version", 1)
    config = EvaluationConfig(table, version, "c", "q", f"{table}-work", Request(point, GRID))
    return _publish(config, result, other.pop("thresholds", Thresholds()), accepted).version


def test_every_gate_is_recorded_with_the_evaluation(table: str) -> None:
    assert publish_point(table, 2, 0.5) == 2
    manifest = read_manifest(table)
    assert (manifest.settings.k, manifest.settings.alpha) == (2, 0.5)
    assert manifest.evaluation is not None
    assert manifest.evaluation["gain"]["recall@1"] == dataclasses.asdict(GOOD)
    assert "report" not in manifest.evaluation
    assert [gate.name for gate in manifest.gates] == [rule.name for rule in RULES]
    gates = {gate.name: gate for gate in manifest.gates}
    means = load_bias_table(table).means_for(IDS)[:, GRID.index(2)]
    assert gates["spread"].value == pytest.approx(np.ptp(means), rel=1e-5)
    assert gates["max_abs_bias"].value == pytest.approx(0.5 * means.max(), rel=1e-5)
    assert (gates["alpha"].value, gates["lost_candidates"].value, gates["gain"].value) == (1.5, 0.0, 0.02421)
    judged = "judged before: the means are those of version 1"
    assert [gate.name for gate in manifest.gates if gate.sentence == judged] == [
        "bank_repeats",
        "near_copies",
        "repeated_files",
    ]


def test_biases_are_compared_with_the_current_version(table: str) -> None:
    """Means of an earlier version may be others than those that readers have now."""
    assert publish_point(table, 4, 0.5) == 2
    limits = Thresholds(min_rows=1)
    assert publish_point(table, 2, 0.5, version=2, thresholds=limits) == 3
    gates = {gate.name: gate for gate in read_manifest(table).gates}
    assert (gates["drift_psi"].value, gates["moved_rows"].value, gates["alpha"].value) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("alpha", "gain", "failed"),
    [(0.75, NO_GAIN, ["gain"]), (0.0, GOOD, ["alpha"]), (8.0, NO_GAIN, ["max_abs_bias", "alpha", "gain"])],
)
def test_one_that_fails_is_not_published(table: str, alpha: float, gain: Interval, failed: list[str]) -> None:
    with pytest.raises(GateError) as refused:
        publish_point(table, 2, alpha, gain)
    message, verb = str(refused.value), "lowers" if gain is NO_GAIN else "raises"
    lead = f"k = 2, alpha = {alpha:g} {verb} recall@1 by 0.0200 (95 % interval [{gain.low:+.4f}, {gain.high:+.4f}])."
    assert message.startswith(f"{lead} {len(failed)} of 19 gates failed, so nothing was published:\n  {failed[0]}: ")
    assert len(list(Path(f"{table}-work/gates").iterdir())) == 1
    assert list_versions(table) == [1]
    assert publish_point(table, 2, alpha, gain, *failed) == 2
    assert [gate.name for gate in read_manifest(table).gates if gate.accepted] == failed
    # What stands was accepted, so the same again finds nothing new.
    assert publish_point(table, 2, alpha, gain, version=2) == 2


def test_a_tuned_alpha_may_be_any(table: str) -> None:
    assert publish_point(table, 2, 0.0, result={"choice": {"point": {"k": 2, "alpha": 0.0}}}) == 2
    settings = read_manifest(table).settings
    assert (settings.k, settings.alpha) == (4, 0.0), "k stays, as it says nothing beside alpha 0"
