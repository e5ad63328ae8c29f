"""The result of an evaluation: its figures for programs, and the report for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from nnn_core.evaluation.coverage import Coverage
from nnn_core.evaluation.summary import Evaluation
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.report._content import Report
from nnn_core.report._numbers import unit_of
from nnn_core.report._sections import Fairness, OwnPairs, Rivals, Run
from nnn_core.report.review import Review
from nnn_core.table.manifest import Manifest


@dataclass(frozen=True)
class Findings:
    """What is found beside the review, as far as it was asked for.

    Attributes:
        coverage: how much of the table the candidates are.
        bank_rows: number of references in the bank; None if the bank is not known.
        bank_rejects: what was rejected of the bank's files; None if the bank is not known.
        own_pairs: number of references that belong to candidates; None if the bank is not known.
        fair: evaluation of means that were taken without the bank's own pairs; None if not asked for.
        rivals: every method's row, as ``evaluation.rivals.Trial.compare`` returns them; empty if not asked for.
        fairness: how evenly the values of each attribute are retrieved; empty if not asked for.
    """

    coverage: Coverage
    bank_rows: int | None = None
    bank_rejects: RejectSummary | None = None
    own_pairs: int | None = None
    fair: Evaluation | None = None
    rivals: list[dict[str, Any]] = field(default_factory=list)
    fairness: tuple[Fairness, ...] = ()


def evaluation_record(table: str, manifest: Manifest, review: Review, findings: Findings) -> dict[str, Any]:
    """The figures, and the report under ``report``; ready for JSON.

    Args:
        table: URI of the table.
        manifest: manifest of the version that was evaluated.
        review: what held-out queries tell of the bias.
        findings: own pairs, other corrections and fairness, as far as asked for.
    """
    objective = review.evaluation.objective
    unit = unit_of(objective)
    own = None
    if findings.bank_rows is not None and findings.own_pairs is not None:
        gain, fair = review.evaluation.gain[objective], findings.fair.gain[objective] if findings.fair else None
        own = OwnPairs(findings.own_pairs, findings.bank_rows, objective, gain, fair, unit)
    sides = (
        ("queries", review.rejects),
        ("candidates", findings.coverage.rejects),
        ("references", findings.bank_rejects),
    )
    run = Run.of("nnn evaluate", table, manifest, manifest.version, None, review.asked, review.rejects.rejected)
    report = Report(
        title=f"Evaluation of version {manifest.version}",
        run=run,
        rivals=Rivals.of(findings.rivals, objective, unit) if findings.rivals else None,
        fairness=findings.fairness,
        own_pairs=own,
        rejects=tuple((side, rejects) for side, rejects in sides if rejects is not None and rejects.rejected),
        notes=tuple(filter(None, (findings.coverage.describe(), *review.notes))),
        **review.sections(manifest.settings),
    )
    return {
        **asdict(review.evaluation),
        "candidates": review.candidates,
        "of_candidates": findings.coverage.known,
        "own_pairs": findings.own_pairs,
        "fair": asdict(findings.fair) if findings.fair else None,
        "rivals": findings.rivals,
        "report": json.loads(report.to_json()),
    }
