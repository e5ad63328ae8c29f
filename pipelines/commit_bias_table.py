"""CommitBiasTable: rows to table parts, and all parts to one committed version."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton

from nnn_core.corpus import Corpus, check_coverage
from nnn_core.manifest import Manifest, SearchReport, Side, commit_version, current_manifest
from nnn_core.parts import BiasSettings, RowSlice, TablePart, collect_rows, resolve_k, write_part
from nnn_core.references import Bank
from pipelines.metrics import COMPUTED, NAMESPACE, REUSED, count, timed

STAGE = "write_table"
VERSION_METRIC = "table_version"


@dataclass(frozen=True)
class Target:
    """What the new version builds on.

    Attributes:
        version: the number it wants.
        existing: paths of the current version's files by SHA-256.
    """

    version: int
    existing: dict[str, str]


def read_target(table_uri: str) -> Target:
    """Look at the table as it is now."""
    current = current_manifest(table_uri)
    if current is None:
        return Target(1, {})
    return Target(current.version + 1, {part.sha256: part.path for part in current.files})


@dataclass
class CommitBiasTable(beam.PTransform):  # type: ignore[misc]
    """(part number, RowSlice) to the committed manifest, a single element.

    The steps: ReadTarget looks at the table; WriteParts sorts, checks and stores each part;
    CommitVersion creates the manifest, which is the only thing that readers see.

    Attributes:
        table: URI of the table.
        k: number of neighbours; None for the largest of the grid that fits.
        grid: values of k whose means are kept, where the bank suffices for them.
        settings: makes the settings once ``k``, ``grid``, ``bank_digest`` and ``precomputed`` are known.
        bank: a single element.
        corpus: a single element.
        fewest_seen: fewest references that each candidate shard was scored against.
        search: how the scores were found, a single element.
        precomputed: for each input shard, whether it held vectors.
    """

    table: str
    k: int | None
    grid: tuple[int, ...]
    settings: Callable[..., BiasSettings]
    bank: beam.PCollection[tuple[Bank, Side]]
    corpus: beam.PCollection[Corpus]
    fewest_seen: beam.PCollection[int]
    search: beam.PCollection[SearchReport]
    precomputed: beam.PCollection[bool]

    def expand(self, rows: beam.PCollection[tuple[int, RowSlice]]) -> beam.PCollection[Manifest]:
        target = AsSingleton(
            rows.pipeline | "Table" >> beam.Create([self.table]) | "ReadTarget" >> beam.Map(read_target)
        )
        precomputed = AsSingleton(self.precomputed | "AllPrecomputed" >> beam.CombineGlobally(all))
        settings = AsSingleton(
            self.fewest_seen
            | "FewestSeen" >> beam.CombineGlobally(min).without_defaults()
            | "ResolveK" >> beam.Map(_resolve, self.k, self.grid, self.settings, AsSingleton(self.bank), precomputed)
        )
        return (
            rows
            | "ByPart" >> beam.GroupByKey()
            | "WriteParts" >> beam.Map(_write, self.table, target, settings)
            | "AllParts" >> beam.combiners.ToList()
            | "CommitVersion"
            >> beam.Map(
                _commit,
                self.table,
                target,
                settings,
                AsSingleton(self.bank),
                AsSingleton(self.corpus),
                AsSingleton(self.search),
            )
        )


def _resolve(
    min_seen: int,
    k: int | None,
    grid: tuple[int, ...],
    settings: Callable[..., BiasSettings],
    bank: tuple[Bank, Side],
    precomputed: bool,
) -> BiasSettings:
    fitting = tuple(value for value in grid if value <= bank[0].rows)
    resolved, kept = resolve_k(k, fitting, min_seen)
    return settings(k=resolved, grid=kept, bank_digest=bank[0].digest, precomputed=precomputed)


def _write(keyed: tuple[int, Iterable[RowSlice]], uri: str, target: Target, settings: BiasSettings) -> TablePart:
    number, slices = keyed
    with timed(STAGE):
        part = write_part(uri, target.version, number, collect_rows(slices), settings, target.existing)
    count(STAGE, REUSED if part.path in target.existing.values() else COMPUTED)
    return part


def _commit(
    parts: list[TablePart],
    uri: str,
    target: Target,
    settings: BiasSettings,
    bank: tuple[Bank, Side],
    corpus: Corpus,
    search: SearchReport,
) -> Manifest:
    files = tuple(sorted(parts, key=lambda part: part.min_id))
    manifest = Manifest(target.version, settings, corpus.dim, corpus.lineage, bank[1], search, files)
    check_coverage(manifest, corpus)
    committed = commit_version(uri, manifest)
    Metrics.distribution(NAMESPACE, VERSION_METRIC).update(committed.version)
    return committed
