"""CommitBiasTable: rows to table parts, and all parts to one committed version."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsList, AsSingleton

from nnn_core import storage
from nnn_core.embedded.corpus import Corpus
from nnn_core.embedded.profile import SideSums
from nnn_core.embedded.side import Side
from nnn_core.evaluation.canaries import find_canaries, store_canaries
from nnn_core.evaluation.metrics import top_overlap
from nnn_core.gates.facts import Facts
from nnn_core.gates.judge import judge, refusal
from nnn_core.gates.row_statistics import RowStatistics, count_previous, measure_part, merge_statistics
from nnn_core.gates.thresholds import Thresholds
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.report.refresh import Refreshed, refresh_report
from nnn_core.report.review import Review
from nnn_core.table.lifecycle.cleaning import Needs, store_needs
from nnn_core.table.manifest import (
    Manifest,
    SearchReport,
    check_coverage,
    commit_version,
    current_manifest,
    says_the_same,
)
from nnn_core.table.parts import BiasSettings, RowSlice, TablePart, collect_rows, write_part
from pipelines.stages.metrics import COMPUTED, NAMESPACE, REUSED, ROWS, StageName, count, timed
from pipelines.stages.once import Once

_STAGE = StageName.WRITE_TABLE

VERSION_METRIC = "table_version"

#: Name of the metric that is the number of candidates which the bank holds a copy of.
NEAR_COPIES = "near_copies"


@dataclass(frozen=True)
class Target:
    """What the new version builds on.

    Attributes:
        version: the number it wants.
        previous: the current version; None when there is none.
    """

    version: int
    previous: Manifest | None

    @property
    def existing(self) -> dict[str, str]:
        """Paths of the current version's files by SHA-256."""
        return {part.sha256: part.path for part in self.previous.files} if self.previous else {}


@dataclass(frozen=True)
class Standard:
    """What a version must meet to be published.

    Attributes:
        thresholds: of the gates.
        accepted: gates whose failure is overridden.
        work: folder of artefacts, where the gates of a version that failed are listed.
        report: where the content of the report goes, whatever comes of it.
    """

    thresholds: Thresholds
    accepted: tuple[str, ...]
    work: str
    report: str


@dataclass(frozen=True)
class Lineage:
    """What a table was computed from, and how.

    Attributes:
        corpus: the candidates.
        references: lineage of the bank.
        sums: of the vectors of both sides.
        search: how the scores were found.
        needs: the artefacts.
        rejects: (side, what was rejected).
    """

    corpus: Corpus
    references: Side
    sums: SideSums
    search: SearchReport
    needs: Needs
    rejects: tuple[tuple[str, RejectSummary], ...] = ()


def read_target(table_uri: str) -> Target:
    """Look at the table as it is now."""
    current = current_manifest(table_uri)
    return Target(1 if current is None else current.version + 1, current)


@dataclass
class CommitBiasTable(beam.PTransform):  # type: ignore[misc]
    """(part number, RowSlice) to the committed manifest, a single element.

    The steps: ReadTarget looks at the table; WriteParts sorts, checks, stores and measures each part,
    against the previous version's rows of the same ids; CountPrevious measures that version's parts;
    CommitVersion judges and creates the manifest, which is the only thing that readers see.

    Attributes:
        table: URI of the table.
        settings: a single element.
        standard: what a version must meet.
        lineage: a single element.
        review: what held-out queries tell, a single element; None without queries.
    """

    table: str
    settings: beam.PCollection[BiasSettings]
    standard: Standard
    lineage: beam.PCollection[Lineage]
    review: beam.PCollection[Review] | None

    def expand(self, rows: beam.PCollection[tuple[int, RowSlice]]) -> beam.PCollection[Manifest]:
        targets = rows.pipeline | "ReadTarget" >> Once(read_target, self.table)
        target = AsSingleton(targets)
        settings = AsSingleton(self.settings)
        written = rows | "ByPart" >> beam.GroupByKey() | "WriteParts" >> beam.Map(_write, self.table, target, settings)
        before = (
            targets
            | "PreviousParts" >> beam.FlatMap(lambda found: found.previous.files if found.previous else ())
            | "SpreadParts" >> beam.Reshuffle()
            | "CountPrevious" >> beam.Map(_count_previous, self.table, target, settings)
        )
        statistics = (
            (written | "Statistics" >> beam.Values(), before)
            | "BothVersions" >> beam.Flatten()
            | "AllRows" >> beam.CombineGlobally(merge_statistics).without_defaults()
        )
        return rows.pipeline | "CommitVersion" >> Once(
            _commit,
            AsList(written | "Parts" >> beam.Keys()),
            self.table,
            self.standard,
            target,
            settings,
            AsSingleton(self.lineage),
            AsSingleton(statistics),
            self.review and AsSingleton(self.review),
        )


def _write(
    keyed: tuple[int, Iterable[RowSlice]], uri: str, target: Target, settings: BiasSettings
) -> tuple[TablePart, RowStatistics]:
    number, slices = keyed
    with timed(_STAGE):
        rows = collect_rows(slices)
        part = write_part(uri, target.version, number, rows, settings, target.existing)
        statistics = measure_part(uri, part, rows, settings, target.previous)
    count(_STAGE, REUSED if part.path in target.existing.values() else COMPUTED)
    count(_STAGE, ROWS, part.rows)
    return part, statistics


def _count_previous(part: TablePart, uri: str, target: Target, settings: BiasSettings) -> RowStatistics:
    assert target.previous is not None, "parts of a version that does not exist"
    return count_previous(uri, part, settings, target.previous)


def _commit(
    parts: list[TablePart],
    uri: str,
    standard: Standard,
    target: Target,
    settings: BiasSettings,
    lineage: Lineage,
    statistics: RowStatistics,
    review: Review | None,
) -> Manifest:
    manifest = _describe(parts, target.version, settings, lineage, review)
    check_coverage(manifest, lineage.corpus)
    # What is published already was judged when it was new.
    new = target.previous is None or not says_the_same(target.previous, manifest)
    if new:
        facts = _facts(manifest, target.previous, statistics, review, standard.work)
        manifest = replace(manifest, gates=judge(facts, standard.thresholds, standard.accepted))
    elif target.previous is not None:
        manifest = target.previous
    if review is not None:
        store_canaries(manifest, review.queries, review.first[1], standard.work)
    store_needs(manifest, lineage.needs, standard.work, uri)
    blocked = new and any(gate.blocks for gate in manifest.gates)
    # Before the commit: after it nothing may fail any more.
    made = Refreshed(uri, manifest, new and not blocked, target.previous, statistics, lineage.rejects, review)
    storage.create(standard.report, refresh_report(made).to_json())
    if blocked:
        raise refusal(manifest.gates, standard.work)
    committed = commit_version(uri, manifest) if new else manifest
    Metrics.distribution(NAMESPACE, VERSION_METRIC).update(committed.version)
    Metrics.distribution(NAMESPACE, NEAR_COPIES).update(statistics.near_copies)
    # The alert on missed refreshes waits for this line.
    what = "published" if new else "unchanged"
    logging.getLogger("nnn").info("nnn refresh done: version %d of %s %s", committed.version, uri, what)
    return committed


def _describe(
    parts: list[TablePart], version: int, settings: BiasSettings, lineage: Lineage, review: Review | None
) -> Manifest:
    """The manifest, before any gate."""
    return Manifest(
        version,
        settings,
        lineage.corpus.dim,
        replace(lineage.corpus.side, centroid=lineage.sums.candidates.centroid),
        replace(lineage.references, centroid=lineage.sums.references.centroid),
        lineage.search,
        tuple(sorted(parts, key=lambda part: part.min_id)),
        evaluation=json.loads(json.dumps(asdict(review.evaluation))) if review else None,
    )


def _facts(
    manifest: Manifest, previous: Manifest | None, statistics: RowStatistics, review: Review | None, work: str
) -> Facts:
    """What the gates judge by; as canaries, held-out queries are held against the previous version's ranking."""
    if review is None:
        return Facts(manifest, previous, statistics)
    evaluation = review.evaluation
    before = find_canaries(previous, review.queries, work) if previous else None
    return Facts(
        manifest,
        previous,
        statistics,
        gain_interval=evaluation.gain[evaluation.objective],
        shared_queries=review.overlap or 0,
        alpha_chosen=evaluation.choice is not None,
        top_overlap=None if before is None else top_overlap(before, review.first[1]),
    )
