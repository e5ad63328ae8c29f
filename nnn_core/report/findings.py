"""The result of an evaluation: its figures for programs, and the report for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from nnn_core.evaluation.summary import Evaluation
from nnn_core.report._content import Report
from nnn_core.report._numbers import unit_of
from nnn_core.report.review import Review
from nnn_core.report.sections import Fairness, OwnPairs, Rivals, Run
from nnn_core.table.manifest import Manifest


@dataclass(frozen=True)
class Findings:
    """What is found beside the review, as far as it was asked for.

    Attributes:
        bank_rows: rows of the bank; None if it is not known.
        own_pairs: how many of these rows belong to candidates; None if the bank is not known.
        fair: the evaluation of means that were taken without the own pairs of the bank.
        rivals: rows of ``evaluation.rivals.compare_corrections``.
        fairness: how evenly the values of each attribute are retrieved.
    """

    bank_rows: int | None = None
    own_pairs: int | None = None
    fair: Evaluation | None = None
    rivals: list[dict[str, Any]] = field(default_factory=list)
    fairness: tuple[Fairness, ...] = ()


def evaluation_record(table: str, manifest: Manifest, review: Review, findings: Findings) -> dict[str, Any]:
    """The figures, and the report under ``report``; ready for JSON.

    Args:
        table: URI of the table.
        manifest: of the version that was evaluated.
        review: what held-out queries tell.
        findings: what was found beside it.
    """
    objective = review.evaluation.objective
    own = None
    if findings.bank_rows is not None and findings.own_pairs is not None:
        gain, fair = review.evaluation.gain[objective], findings.fair.gain[objective] if findings.fair else None
        own = OwnPairs(findings.own_pairs, findings.bank_rows, objective, gain, fair, unit_of(objective))
    point, unit = review.evaluation.point, unit_of(objective)
    run = Run.of("nnn evaluate", table, manifest, manifest.version, None, review.asked)
    report = Report(
        title=f"Evaluation of version {manifest.version}",
        run=replace(run, k=point.k, alpha=point.alpha),
        rivals=Rivals.of(findings.rivals, objective, unit) if findings.rivals else None,
        fairness=findings.fairness,
        own_pairs=own,
        notes=review.notes,
        **review.sections(manifest.settings),
    )
    return {
        **asdict(review.evaluation),
        "candidates": review.candidates,
        "own_pairs": findings.own_pairs,
        "fair": asdict(findings.fair) if findings.fair else None,
        "rivals": findings.rivals,
        "report": json.loads(report.to_json()),
    }
