"""CommitBiasTable: rows to table parts, and all parts to one committed version."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsList, AsSingleton

from nnn_core.gates.row_statistics import RowStatistics
from nnn_core.gates.thresholds import Thresholds
from nnn_core.publishing import describe_version, publish
from nnn_core.report.refresh import Draft, Lineage
from nnn_core.report.review import Review
from nnn_core.table.manifest import Manifest, current_manifest
from nnn_core.table.parts import BiasSettings, RowSlice, TablePart, collect_rows, write_part
from pipelines.stages._counting import count, timed
from pipelines.stages.metrics import COMPUTED, NAMESPACE, REUSED, ROWS, StageName
from pipelines.stages.once import Once

_STAGE = StageName.COMMIT_BIAS_TABLE

VERSION_METRIC = "table_version"

#: Name of the metric that is the number of candidates which the bank holds a copy of.
NEAR_COPIES = "near_copies"


@dataclass
class CommitBiasTable(beam.PTransform):  # type: ignore[misc]
    """(part number, RowSlice) to the committed manifest, a single element.

    The steps: ReadPrevious looks at the table; WriteParts sorts, checks, stores and measures each part, against the
    current version's rows of the same ids; CountPrevious measures that version's parts; CommitVersion judges and
    creates the manifest, which is the only thing that readers see.

    Attributes:
        table: URI of the table.
        work: URI of the folder of artefacts.
        report: where the content of the report goes, whatever comes of the version.
        thresholds: bounds of the gates.
        accepted: names of gates whose failure is overridden.
        settings: of the biases, a single element.
        lineage: what the rows were computed from, a single element.
        review: what held-out queries tell, a single element; None without queries.
    """

    table: str
    work: str
    report: str
    thresholds: Thresholds
    accepted: tuple[str, ...]
    settings: beam.PCollection[BiasSettings]
    lineage: beam.PCollection[Lineage]
    review: beam.PCollection[Review] | None

    def expand(self, rows: beam.PCollection[tuple[int, RowSlice]]) -> beam.PCollection[Manifest]:
        current = rows.pipeline | "ReadPrevious" >> Once(current_manifest, self.table)
        settings, previous = AsSingleton(self.settings), AsSingleton(current)
        written = (
            rows | "ByPart" >> beam.GroupByKey() | "WriteParts" >> beam.Map(_write, self.table, settings, previous)
        )
        before = (
            current
            | "PreviousParts" >> beam.FlatMap(lambda found: found.files if found else ())
            | "SpreadParts" >> beam.Reshuffle()
            | "CountPrevious" >> beam.Map(RowStatistics.of_previous, self.table, settings, previous)
        )
        statistics = (
            (written | "Statistics" >> beam.Values(), before)
            | "BothVersions" >> beam.Flatten()
            | "AllRows" >> beam.CombineGlobally(RowStatistics.merge).without_defaults()
        )
        return rows.pipeline | "CommitVersion" >> Once(
            self.commit,
            AsList(written | "Parts" >> beam.Keys()),
            settings,
            previous,
            AsSingleton(statistics),
            AsSingleton(self.lineage),
            self.review and AsSingleton(self.review),
        )

    def commit(
        self,
        parts: list[TablePart],
        settings: BiasSettings,
        previous: Manifest | None,
        statistics: RowStatistics,
        lineage: Lineage,
        review: Review | None,
    ) -> Manifest:
        """See ``publish``; the version and its near copies are counted, and the end of the refresh is logged."""
        manifest = describe_version(parts, settings, lineage, previous, review)
        draft = Draft(self.table, manifest, previous, statistics, lineage, review)
        committed = publish(draft, self.thresholds, self.accepted, self.work, self.report)
        Metrics.distribution(NAMESPACE, VERSION_METRIC).update(committed.version)
        Metrics.distribution(NAMESPACE, NEAR_COPIES).update(statistics.near_copies)
        # The alert on missed refreshes waits for this line.
        what = "unchanged" if committed == previous else "published"
        logging.getLogger("nnn").info("nnn refresh done: version %d of %s %s", committed.version, self.table, what)
        return committed


def _write(
    keyed: tuple[int, Iterable[RowSlice]], table: str, settings: BiasSettings, previous: Manifest | None
) -> tuple[TablePart, RowStatistics]:
    """Store one part of the table, unless the current version has it, and measure it."""
    number, slices = keyed
    version = previous.version + 1 if previous else 1
    existing = {part.sha256: part.path for part in previous.files} if previous else {}
    with timed(_STAGE):
        rows = collect_rows(slices)
        part = write_part(table, version, number, rows, settings, existing)
        statistics = RowStatistics.of_part(table, part, rows, settings, previous)
    count(_STAGE, REUSED if part.path in existing.values() else COMPUTED)
    count(_STAGE, ROWS, part.rows)
    return part, statistics
