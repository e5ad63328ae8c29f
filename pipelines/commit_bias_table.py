"""CommitBiasTable: rows to table parts, and all parts to one committed version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton

from nnn_core.corpus import Corpus, check_coverage
from nnn_core.gates.comparison import RowStatistics, count_previous, measure_part, merge_statistics
from nnn_core.gates.gate import Gate
from nnn_core.gates.judge import Evidence, Facts, judge, require_pass, write_report
from nnn_core.gates.thresholds import Thresholds
from nnn_core.manifest import Manifest, SearchReport, Side, commit_version, current_manifest, says_the_same
from nnn_core.parts import BiasSettings, RowSlice, TablePart, collect_rows, write_part
from nnn_core.profile import SideSums
from nnn_core.references import Bank
from pipelines.metrics import COMPUTED, NAMESPACE, REUSED, count, timed

STAGE = "write_table"
VERSION_METRIC = "table_version"


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
    """

    thresholds: Thresholds
    accepted: tuple[str, ...]
    work: str


@dataclass(frozen=True)
class Judged:
    """What validation queries tell, as far as there are any.

    Attributes:
        evidence: for the gates.
        evaluation: for the manifest, as JSON has it; None without queries.
    """

    evidence: Evidence = field(default_factory=Evidence)
    evaluation: dict[str, Any] | None = None


@dataclass(frozen=True)
class Sides:
    """Both sides as wholes.

    Attributes:
        corpus: the candidates.
        references: lineage of the bank.
        sums: of the vectors.
        origins: 1, or 2 if some vectors came ready-made and others from the encoder.
    """

    corpus: Corpus
    references: Side
    sums: SideSums
    origins: int


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
        bank: a single element.
        corpus: a single element.
        sums: of the vectors of both sides, a single element.
        search: how the scores were found, a single element.
        origins: whether vectors came ready-made, as a set of what there was; a single element.
        judged: what queries tell, a single element.
    """

    table: str
    settings: beam.PCollection[BiasSettings]
    standard: Standard
    bank: beam.PCollection[tuple[Bank, Side]]
    corpus: beam.PCollection[Corpus]
    sums: beam.PCollection[SideSums]
    search: beam.PCollection[SearchReport]
    origins: beam.PCollection[frozenset[bool]]
    judged: beam.PCollection[Judged]

    def expand(self, rows: beam.PCollection[tuple[int, RowSlice]]) -> beam.PCollection[Manifest]:
        targets = rows.pipeline | "Table" >> beam.Create([self.table]) | "ReadTarget" >> beam.Map(read_target)
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
            | "AllRows" >> beam.CombineGlobally(merge_statistics)
        )
        sides = self.corpus | "Sides" >> beam.Map(
            _both_sides, AsSingleton(self.bank), AsSingleton(self.sums), AsSingleton(self.origins)
        )
        return (
            written
            | "Parts" >> beam.Keys()
            | "AllParts" >> beam.combiners.ToList()
            | "CommitVersion"
            >> beam.Map(
                _commit,
                self.table,
                self.standard,
                target,
                settings,
                AsSingleton(sides),
                AsSingleton(self.search),
                AsSingleton(statistics),
                AsSingleton(self.judged),
            )
        )


def _both_sides(corpus: Corpus, bank: tuple[Bank, Side], sums: SideSums, origins: frozenset[bool]) -> Sides:
    return Sides(corpus, bank[1], sums, len(origins))


def _write(
    keyed: tuple[int, Iterable[RowSlice]], uri: str, target: Target, settings: BiasSettings
) -> tuple[TablePart, RowStatistics]:
    number, slices = keyed
    with timed(STAGE):
        rows = collect_rows(slices)
        part = write_part(uri, target.version, number, rows, settings, target.existing)
        statistics = measure_part(uri, part, rows, settings, target.previous)
    count(STAGE, REUSED if part.path in target.existing.values() else COMPUTED)
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
    sides: Sides,
    search: SearchReport,
    statistics: RowStatistics,
    judged: Judged,
) -> Manifest:
    files = tuple(sorted(parts, key=lambda part: part.min_id))
    candidates = replace(sides.corpus.lineage, centroid=sides.sums.candidates.centroid)
    references = replace(sides.references, centroid=sides.sums.references.centroid)
    manifest = Manifest(
        target.version,
        settings,
        sides.corpus.dim,
        candidates,
        references,
        search,
        files,
        evaluation=judged.evaluation,
    )
    check_coverage(manifest, sides.corpus)
    # What is published already was judged when it was new.
    if target.previous is None or not says_the_same(target.previous, manifest):
        facts = Facts(manifest, target.previous, candidates.rows, statistics, sides.origins, judged.evidence)
        manifest = replace(manifest, gates=_pass_gates(facts, standard))
    committed = commit_version(uri, manifest)
    Metrics.distribution(NAMESPACE, VERSION_METRIC).update(committed.version)
    return committed


def _pass_gates(facts: Facts, standard: Standard) -> tuple[Gate, ...]:
    gates = judge(facts, standard.thresholds, standard.accepted)
    if any(gate.blocks for gate in gates):
        require_pass(gates, write_report(standard.work, gates))
    return gates
