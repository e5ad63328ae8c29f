"""The report of a refresh: what was computed, what the gates say, and how the biases moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nnn_core.gates.catalogue import RULES
from nnn_core.gates.histogram import BINS, WIDTH, Counts
from nnn_core.gates.row_statistics import RowStatistics, compared_k, near_copies_message
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.report._content import Report
from nnn_core.report.evaluation import overlap_notes, review_sections, run_section
from nnn_core.report.review import Review
from nnn_core.report.sections import BiasShift, Gate, Verdict
from nnn_core.table import gate as gates
from nnn_core.table.manifest import Manifest

#: Bars of the distribution of biases.
_BARS = 48


@dataclass(frozen=True)
class Refreshed:
    """What a refresh came to.

    Attributes:
        table: URI of the table.
        manifest: manifest of the version that was made, with all gates.
        published: whether the version's number was committed by this run.
        previous: manifest of the version before; None for a first one.
        statistics: what was counted over the rows of both versions.
        rejects: (side, summary of the rows that were rejected).
        review: what held-out queries tell, if there were any.
    """

    table: str
    manifest: Manifest
    published: bool
    previous: Manifest | None
    statistics: RowStatistics
    rejects: tuple[tuple[str, RejectSummary], ...]
    review: Review | None = None


def refresh_report(made: Refreshed) -> Report:
    """Everything but what the stages cost."""
    manifest, previous = made.manifest, made.previous
    blocked = any(gate.blocks for gate in manifest.gates)
    version = manifest.version if made.published or not blocked else None
    review = made.review
    return Report(
        title="A refresh that was not published" if blocked else f"Version {manifest.version} of the bias table",
        run=run_section("nnn refresh", made.table, manifest, version, previous.version if previous else None, review),
        biases=_bias_shift(made.statistics, manifest, previous),
        rejects=tuple(each for each in made.rejects if each[1].rejected),
        gates=tuple(map(_gate, manifest.gates)),
        notes=tuple(_notes(made, blocked)),
        **review_sections(review, manifest),
    )


def _notes(made: Refreshed, blocked: bool) -> Iterator[str]:
    if not (made.published or blocked):
        yield f"Nothing changed since version {made.manifest.version}, so no version was published."
    if copies := made.statistics.near_copies:
        yield near_copies_message(copies, made.statistics.means.rows, made.manifest.settings.exclude_own_pairs)
    if made.review:
        yield from overlap_notes(made.review)


def _gate(found: gates.Gate) -> Gate:
    verdict: Verdict = "warn" if found.accepted else found.verdict
    value, threshold = ("" if number is None else f"{number:.4g}" for number in (found.value, found.threshold))
    note = f"{found.sentence}; accepted by name" if found.accepted else found.sentence
    return Gate(found.name, verdict, value, threshold, note)


def _bias_shift(statistics: RowStatistics, manifest: Manifest, previous: Manifest | None) -> BiasShift | None:
    """The biases of both versions, at a k that both have and the new alpha; None where all biases are 0."""
    settings = manifest.settings
    counts, before = statistics.means.counts, statistics.before.counts
    used = np.flatnonzero(counts + before)
    if not len(used) or settings.alpha == 0.0:
        return None
    k = compared_k(settings.k, settings.grid, previous.settings.grid if previous else None)
    step = max(1, -(-(int(used[-1]) - int(used[0]) + 1) // _BARS))
    first, bars = int(used[0]), -(-(int(used[-1]) - int(used[0]) + 1) // step)
    edges = settings.alpha * (-1.0 + WIDTH * (first + step * np.arange(bars + 1)))
    figures = [(f"k of the comparison (this version: {settings.k})", float(k))] if k != settings.k else []
    known = {gate.name: gate.value for gate in manifest.gates if gate.value is not None}
    figures += [(rule.figure, known[rule.name]) for rule in RULES if rule.figure and rule.name in known]
    old = _bars(before, first, step, bars) if before.any() else ()
    return BiasShift(tuple(edges.tolist()), _bars(counts, first, step, bars), old, tuple(figures))


def _bars(counts: Counts, first: int, step: int, bars: int) -> tuple[int, ...]:
    padded = np.zeros(max(BINS, first + step * bars), np.int64)
    padded[:BINS] = counts
    return tuple(padded[first : first + step * bars].reshape(bars, step).sum(axis=1).tolist())
