"""The report of an evaluation, and its parts that a refresh's report has too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnn_core.embedded.side import Side
from nnn_core.encoders.fingerprints import shown_parts
from nnn_core.evaluation import fairness as evenness
from nnn_core.evaluation.intervals import Interval
from nnn_core.report._content import Report
from nnn_core.report.review import Review, quality_of, tuning_of, unit_of
from nnn_core.report.sections import Better, Fairness, Figure, OwnPairs, Quality, Rival, Rivals, Run, Source, Unit
from nnn_core.table.manifest import Manifest

#: Measures of which less is more even; of the others more is better, but for the signed bias.
_LOWER = ("absolute_bias", "max_skew", "ndkl")


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
        table: URI of the table.
        manifest: the manifest of the version that was evaluated.
        review: what the held-out queries tell.
        rivals: the comparison of methods, if there was one.
        fairness: a section for each attribute that was compared.
        own_pairs: the bank's rows that belong to candidates, if the bank is known.
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
        table: URI of the table.
        manifest: the manifest of the version that the report is about.
        version: number of that version; None if it was not published.
        previous: number of the version before it; None if there was none.
        review: what held-out queries tell, if there were any.
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
    settings = manifest.settings
    return {
        "quality": (quality_of(review.evaluation, f"{settings.reference_modality} to {settings.candidate_modality}"),),
        "tuning": tuning_of(review.evaluation),
        "hubness": review.hubness,
        "hubs": review.hubs,
        "changes": review.changes,
        "shown": review.shown,
    }


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


def rivals_section(rows: Sequence[Mapping[str, Any]], objective: str) -> Rivals:
    """The comparison of methods.

    Args:
        rows: the methods, as ``evaluation.comparison.compare_methods`` describes them.
        objective: name of the figure that is compared, such as ``recall@1``.
    """
    methods = (
        Rival(
            name=row["title"],
            settings=_setting_words(row["setting"], row["settings"]),
            value=Interval(**row["figures"][objective]),
            gain=Interval(**row["gains"][objective]),
            seconds=row["seconds"]["fit"],
            tuning_seconds=row["seconds"]["search"],
            additive=row["additive"],
        )
        for row in rows
    )
    return Rivals(objective, rows[0]["queries"], tuple(methods), unit_of(objective))


def _setting_words(setting: Mapping[str, Any], tried: int) -> str:
    words = ", ".join(f"{name} = {value:g}" for name, value in setting.items())
    return f"{words} (of {tried})" if tried > 1 else words


def fairness_section(
    attribute: str, queries: int, values: tuple[str, ...], figures: Sequence[evenness.Figure]
) -> Fairness:
    """How evenly the values of one attribute are retrieved.

    Args:
        attribute: name of the attribute.
        queries: how many queries were asked.
        values: the values that are compared, the positive one first.
        figures: what was measured without the bias and with it.
    """
    return Fairness(attribute, values, queries, tuple(map(_figure, figures)))


def _figure(found: evenness.Figure) -> Figure:
    name = found.name.replace("_", " ") + (f" ({' or '.join(found.values)})" if found.values else "")
    measure = found.name.partition("@")[0]
    better: Better = "zero" if measure == "bias" else "lower" if measure in _LOWER else "higher"
    unit: Unit = "percent" if measure == "recall" else "number"
    return Figure(name, found.before, found.after, found.change, unit, better)
