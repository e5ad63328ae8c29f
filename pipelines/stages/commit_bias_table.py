"""CommitBiasTable: rows to table parts, and all parts with the list of their hubs to one committed version."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsList, AsSingleton

from nnn_core.embedded.shards import EmbeddedShard, VectorBlock, read_shard
from nnn_core.gates.row_statistics import RowStatistics
from nnn_core.gates.thresholds import Thresholds
from nnn_core.publishing import describe_version, hubs_to_explain, publish
from nnn_core.report.refresh import Draft, Lineage
from nnn_core.report.review import Review
from nnn_core.scoring.bank import Bank
from nnn_core.scoring.nearest import Nearest, find_vectors, nearest_in
from nnn_core.table.hubs import MOST_REFERENCES
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
    current version's rows of the same ids; CountPrevious measures that version's parts; FindHubs, VectorsOfHubs and
    NearestReferences say which bank queries the worst hubs are nearest to; CommitVersion judges and creates the
    manifest, which is the only thing that readers see.

    Attributes:
        table: URI of the table.
        work: URI of the folder of artefacts.
        report: where the content of the report goes, whatever comes of the version.
        thresholds: bounds of the gates.
        accepted: names of gates whose failure is overridden.
        candidates: embedded shards of the candidates.
        bank: the reference queries, a single element.
        settings: of the biases, a single element.
        lineage: what the rows were computed from, a single element.
        review: what held-out queries tell, a single element; None without queries.
    """

    table: str
    work: str
    report: str
    thresholds: Thresholds
    accepted: tuple[str, ...]
    candidates: beam.PCollection[EmbeddedShard]
    bank: beam.PCollection[Bank]
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
        parts = written | "Parts" >> beam.Keys()
        version = (AsList(parts), settings, previous, AsSingleton(statistics))
        hubs = rows.pipeline | "FindHubs" >> Once(hubs_to_explain, self.table, *version)
        vectors = self.candidates | "VectorsOfHubs" >> beam.FlatMap(_vectors_of, AsSingleton(hubs))
        nearest = (
            self.bank
            | "BankShards" >> beam.FlatMap(lambda bank: bank.parts)
            | "SpreadBank" >> beam.Reshuffle()
            | "NearestReferences" >> beam.Map(_nearest_in, AsList(vectors), settings)
        )
        lineage, review = AsSingleton(self.lineage), self.review and AsSingleton(self.review)
        return rows.pipeline | "CommitVersion" >> Once(self.commit, *version, lineage, review, AsList(nearest))

    def commit(
        self,
        parts: list[TablePart],
        settings: BiasSettings,
        previous: Manifest | None,
        statistics: RowStatistics,
        lineage: Lineage,
        review: Review | None,
        nearest: list[dict[str, Nearest]],
    ) -> Manifest:
        """See ``publish``; the version and its near copies are counted, and the end of the refresh is logged."""
        manifest = describe_version(parts, settings, lineage, previous, review)
        draft = Draft(self.table, manifest, previous, statistics, lineage, review)
        committed = publish(draft, nearest, self.thresholds, self.accepted, self.work, self.report)
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


def _vectors_of(shard: EmbeddedShard, hubs: frozenset[str]) -> list[VectorBlock]:
    found = find_vectors(shard, hubs) if hubs else None
    return [] if found is None else [found]


def _nearest_in(shard: EmbeddedShard, hubs: list[VectorBlock], settings: BiasSettings) -> dict[str, Nearest]:
    """The reference queries of a shard that are nearest to each hub, by its id."""
    if not hubs:
        return {}
    with timed(_STAGE):
        block = read_shard(shard)
        nearest: dict[str, Nearest] = {}
        for each in hubs:
            found = nearest_in(block, each, settings.exclude_own_pairs, MOST_REFERENCES)
            nearest.update(zip(each.ids.to_pylist(), found, strict=True))
        return nearest
