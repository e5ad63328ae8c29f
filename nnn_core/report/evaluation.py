"""The report of an evaluation, and its parts that a refresh's report has too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnn_core.embedded.side import Side
from nnn_core.encoders.fingerprints import shown_parts
from nnn_core.report._content import Report
from nnn_core.report.review import Review, quality_of, tuning_of
from nnn_core.report.sections import Fairness, OwnPairs, Quality, Rivals, Run, Source
from nnn_core.table.manifest import Manifest


def evaluation_report(
    table: str,
    manifest: Manifest,
    review: Review,
    rivals: Rivals | None = None,
    fairness: Sequence[Fairness] = (),
    own_pairs: OwnPairs | None = None,
) -> Report:
    """What ``nnn evaluate`` found.

    Args:
        table: its URI.
        manifest: of the version that was evaluated.
        review: of the queries.
        rivals: if methods were compared.
        fairness: one of each attribute.
        own_pairs: if the bank is known.
    """
    point = review.evaluation.point
    run = run_section("nnn evaluate", table, manifest, manifest.version, None, review)
    return Report(
        title=f"Evaluation of version {manifest.version}",
        run=Run(**{**vars(run), "k": point.k, "alpha": point.alpha}),
        rivals=rivals,
        fairness=tuple(fairness),
        own_pairs=own_pairs,
        notes=tuple(overlap_notes(review)),
        **review_sections(review, manifest),
    )


def run_section(
    command: str, table: str, manifest: Manifest, version: int | None, previous: int | None, review: Review | None
) -> Run:
    """What ran, and on what.

    Args:
        command: such as ``nnn refresh``.
        table: its URI.
        manifest: of the version that the report is about.
        version: its number; None if it was not published.
        previous: the version before it.
        review: of held-out queries, if there were any.
    """
    settings = manifest.settings
    return Run(
        command=command,
        table=table,
        version=version,
        previous=previous,
        k=settings.k,
        alpha=settings.alpha,
        candidates=_source(settings.candidate_modality, manifest.candidates),
        bank=_source(settings.reference_modality, manifest.references),
        searches=manifest.search.methods,
        fingerprints=tuple(sorted(shown_parts(settings.encoder).items())),
        queries=Source(settings.reference_modality, review.asked) if review else None,
    )


def _source(modality: str, side: Side) -> Source:
    return Source(modality, side.rows, side.rejected, len(side.inputs), side.digest)


def review_sections(review: Review | None, manifest: Manifest) -> dict[str, Any]:
    """The sections that held-out queries give; none without queries."""
    if review is None:
        return {}
    return {
        "quality": (quality_of(review.evaluation, direction(manifest)),),
        "tuning": tuning_of(review.evaluation),
        "hubness": review.hubness,
        "hubs": review.hubs,
        "changes": review.changes,
        "shown": review.shown,
    }


def direction(manifest: Manifest) -> str:
    """Such as ``text to image``."""
    return f"{manifest.settings.reference_modality} to {manifest.settings.candidate_modality}"


def overlap_notes(review: Review) -> list[str]:
    """A warning where queries are in the bank."""
    if not review.overlap:
        return []
    return [f"{review.overlap:,} of {review.asked:,} queries are in the bank, so the figures flatter the bias."]


def beside(report: Report, others: Sequence[Report]) -> tuple[Quality, ...]:
    """The quality tables of several reports, each named by its table, version and bank."""
    tables = []
    for each in (report, *others):
        run = each.run
        name = f"version {run.version} of {run.table}, bank {run.bank.digest[:8]}"
        tables += [Quality(f"{one.title.split(' (', 1)[0]} ({name})", one.queries, one.figures) for one in each.quality]
    return tuple(tables)
