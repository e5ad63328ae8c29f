"""The report of a refresh: what was computed, what the gates say, and how the biases moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from nnn_core.embedded.corpus import Corpus
from nnn_core.embedded.profile import SideSums
from nnn_core.gates.catalogue import RULES
from nnn_core.gates.row_statistics import RowStatistics, compared_k, near_copies_message
from nnn_core.report._content import Report
from nnn_core.report._sections import BiasShift, Gate, HubChanges, Run, Shown, Verdict
from nnn_core.report.review import Review
from nnn_core.scoring.bank import Bank
from nnn_core.table import gate as gates
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.table.manifest import Manifest, SearchReport

#: Bars of the distribution of biases.
_BARS = 48
_NOT_PUBLISHED = "A refresh that was not published"


@dataclass(frozen=True)
class Lineage:
    """What a version was computed from, and how.

    Attributes:
        corpus: all candidates, as a whole.
        references: the bank, as a whole.
        sums: of the vectors of both sides.
        search: how the scores were found.
        needs: the artefacts that it was made of.
    """

    corpus: Corpus
    references: Bank
    sums: SideSums
    search: SearchReport
    needs: Needs


@dataclass(frozen=True)
class Draft:
    """A version in the making, and all that its gates and its report need to know.

    Attributes:
        table: URI of the table.
        manifest: of the version, with the verdicts of all gates once it was judged; the current one if nothing changed.
        previous: the current version's manifest; None for a first version.
        statistics: of the rows of both versions.
        lineage: what it was computed from.
        review: what held-out queries tell; None without queries.
        hubs: its hubs against those of the current version; None where nothing changed.
        shown: what hubs look like, by id, as far as that is known.
    """

    table: str
    manifest: Manifest
    previous: Manifest | None
    statistics: RowStatistics
    lineage: Lineage
    review: Review | None
    hubs: HubChanges | None = None
    shown: Mapping[str, Shown] = field(default_factory=dict)

    @property
    def unchanged(self) -> bool:
        """Whether this is the current version itself, so that nothing is to be published."""
        return self.manifest == self.previous

    @property
    def blocked(self) -> bool:
        """Whether it must not be published."""
        return not self.unchanged and any(gate.blocks for gate in self.manifest.gates)

    def _other_point(self) -> Iterator[str]:
        """A note where this version undoes the k and alpha of the one before it, which somebody may have chosen."""
        if self.previous is None or (self.review is not None and self.review.evaluation.choice is not None):
            return
        now, before = ((each.settings.k, each.settings.alpha) for each in (self.manifest, self.previous))
        if now != before:
            yield (
                f"k = {now[0]} and alpha = {now[1]:g} replace k = {before[0]} and alpha = {before[1]:g} of version "
                f"{self.previous.version}. To keep those, give --k {before[0]} --alpha {before[1]:g}."
            )

    def describe(self) -> Report:
        """Everything but what the stages cost."""
        manifest, previous, review, statistics = self.manifest, self.previous, self.review, self.statistics
        lineage, asked = self.lineage, (review.asked, review.rejects.rejected) if review else (None,)
        published, before = None if self.blocked else manifest.version, previous.version if previous else None
        sides = [("candidates", lineage.corpus.outcome.rejects), ("references", lineage.references.outcome.rejects)]
        if review:
            sides.append(("validation", review.rejects))
        notes = [*self._other_point()]
        if copies := statistics.near_copies:
            notes.append(near_copies_message(copies, statistics.means.rows, manifest.settings.exclude_own_pairs))
        sections = review.sections(manifest.settings) if review else {}
        sections["shown"] = {**self.shown, **sections.get("shown", {})}
        run = Run.of("nnn refresh", self.table, manifest, published, before, *asked)
        if statistics.before.rows:
            new, gone = (each.rows - statistics.moved.rows for each in (statistics.means, statistics.before))
            run = replace(run, candidates=replace(run.candidates, new=new, gone=gone))
        report = Report(
            title=_NOT_PUBLISHED if self.blocked else f"Version {manifest.version} of the bias table",
            run=run,
            biases=_bias_shift(statistics, manifest, previous),
            listed_hubs=self.hubs,
            rejects=tuple(each for each in sides if each[1].rejected),
            gates=tuple(map(_gate, manifest.gates)),
            notes=(*notes, *(review.notes if review else ())),
            **sections,
        )
        return report.unchanged(manifest.version) if self.unchanged else report


def _gate(found: gates.Gate) -> Gate:
    verdict: Verdict = "warn" if found.accepted else found.verdict
    rule = next((each for each in RULES if each.name == found.name), None)
    shown = rule.shown if rule else "{:.4g}".format
    value, threshold = ("" if number is None else shown(number) for number in (found.value, found.threshold))
    note = f"{found.sentence}; accepted by name" if found.accepted else found.sentence
    return Gate(found.name, verdict, value, threshold, note)


def _bias_shift(statistics: RowStatistics, manifest: Manifest, previous: Manifest | None) -> BiasShift | None:
    """The biases of both versions, at a k that both have and the new alpha; None where all biases are 0."""
    settings = manifest.settings
    if settings.alpha == 0.0 or not statistics.means.rows + statistics.before.rows:
        return None
    edges, counts, before = statistics.bars(_BARS)
    k = compared_k(settings, previous)
    figures = [(f"k of the comparison (this version: {settings.k})", float(k))] if k != settings.k else []
    if statistics.moved.rows:
        figures.append(("common shift (changes no ranking)", settings.alpha * statistics.shift))
    known = {gate.name: gate.value for gate in manifest.gates if gate.value is not None}
    figures += [(rule.figure, known[rule.name]) for rule in RULES if rule.figure and rule.name in known]
    old = tuple(before) if any(before) else ()
    return BiasShift(tuple((settings.alpha * edges).tolist()), tuple(counts), old, tuple(figures))
