"""CommitBiasTable: rows to table parts, and all parts with the list of their hubs to one committed version."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsIter, AsList, AsSingleton
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput, VectorBlock, read_shard
from nnn_core.gates.row_statistics import RowStatistics
from nnn_core.gates.thresholds import Thresholds
from nnn_core.publishing import HubsToName, describe_version, publish
from nnn_core.report import Shown
from nnn_core.report.refresh import Draft, Lineage
from nnn_core.report.review import Review
from nnn_core.report.shown import show_again
from nnn_core.scoring.merged import Total
from nnn_core.scoring.nearest import Nearest, find_vectors, nearest_in
from nnn_core.table.hubs import MOST_REFERENCES
from nnn_core.table.manifest import Manifest
from nnn_core.table.parts import BiasSettings, RowSlice, TablePart, collect_rows
from pipelines.stages._counting import count, timed
from pipelines.stages._memory import give_back
from pipelines.stages.metrics import COMPUTED, NAMESPACE, REUSED, ROWS, StageName
from pipelines.stages.once import Once

_STAGE = StageName.COMMIT_BIAS_TABLE

VERSION_METRIC = "table_version"

#: Name of the metric that is the number of candidates which the bank holds a copy of.
NEAR_COPIES = "near_copies"


#: Parts of the table that were written, none where rows of the current version were measured, and statistics.
Written = tuple[tuple[TablePart, ...], RowStatistics]


@dataclass(frozen=True)
class _HubLook:
    """What one file of candidates holds of hubs.

    Attributes:
        vectors: of those that are to be explained, a block for each embedded shard that has some.
        shown: what those look like that the report shows.
    """

    vectors: tuple[VectorBlock, ...]
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Basis:
    """What the parts of a version are written by.

    Attributes:
        settings: of the biases.
        previous: manifest of the version that was current before anything was scored; None for a first version.
        total: what is known of all candidate shards together.
    """

    settings: BiasSettings
    previous: Manifest | None
    total: Total


@dataclass
class CommitBiasTable(beam.PTransform):  # type: ignore[misc]
    """(part number, RowSlice) to the committed manifest, a single element.

    The steps: WriteParts sorts, checks, stores and measures each part, against the current version's rows of the same
    ids; CountPrevious measures that version's parts; FindHubs, LookAtHubs and NearestReferences say what the worst hubs
    look like and which bank queries they are nearest to; CommitVersion judges and creates the manifest, which is the
    only thing that readers see.

    Attributes:
        table: URI of the table.
        work: URI of the folder of artefacts.
        report: where the content of the report goes, whatever comes of the version.
        thresholds: bounds of the gates.
        accepted: names of gates whose failure is overridden.
        candidates: the candidates' files, embedded, by the name of their stage; others are left out.
        request: how the candidates' files are read.
        bank: likewise the files of the bank.
        basis: what parts are written by, a single element.
        lineage: finds what the rows were computed from.
        review: what held-out queries tell, a single element; None without queries.
        show: columns of the candidates' files whose values the report shows.
    """

    table: str
    work: str
    report: str
    thresholds: Thresholds
    accepted: tuple[str, ...]
    candidates: beam.PCollection[tuple[str, EmbeddedInput]]
    request: EmbeddingRequest
    bank: beam.PCollection[tuple[str, EmbeddedInput]]
    basis: beam.PCollection[Basis]
    lineage: Once
    review: beam.PCollection[Review] | None
    show: tuple[str, ...] = ()

    def expand(self, rows: beam.PCollection[tuple[int, RowSlice]]) -> beam.PCollection[Manifest]:
        basis = AsSingleton(self.basis)
        written = rows | "ByPart" >> beam.GroupByKey() | "WriteParts" >> beam.ParDo(_WriteParts(self.table), basis)
        before = (
            self.basis
            | "PreviousParts" >> beam.FlatMap(lambda known: known.previous.files if known.previous else ())
            | "SpreadParts" >> beam.Reshuffle()
            | "CountPrevious" >> beam.ParDo(_CountPrevious(self.table), basis)
        )
        both = AsIter((written, before) | "BothVersions" >> beam.Flatten())
        hubs = AsSingleton(rows.pipeline | "FindHubs" >> Once(self.find_hubs, both, basis))
        looking = beam.FlatMap(_look_at_hubs, hubs, self.request, self.show)
        looks = AsList(self.candidates | "LookAtHubs" >> looking)
        nearest = AsIter(self.bank | "NearestReferences" >> beam.FlatMap(_nearest_of, looks, basis))
        review = self.review and AsSingleton(self.review)
        return rows.pipeline | "CommitVersion" >> Once(self.commit, both, basis, self.lineage, review, nearest, looks)

    def find_hubs(self, written: Iterable[Written], basis: Basis) -> HubsToName:
        """See ``HubsToName.of``."""
        parts, statistics = _together(written)
        return HubsToName.of(self.table, parts, basis.settings, basis.previous, statistics)

    def commit(
        self,
        written: Iterable[Written],
        basis: Basis,
        lineage: Lineage,
        review: Review | None,
        nearest: Iterable[dict[str, Nearest]],
        looks: Iterable[_HubLook],
    ) -> Manifest:
        """See ``publish``; the version and its near copies are counted, and the end of the refresh is logged."""
        previous = basis.previous
        parts, statistics = _together(written)
        manifest = describe_version(parts, basis.settings, lineage, previous, review)
        shown = sorted((one for look in looks for one in look.shown), key=lambda one: one.id)
        draft = Draft(self.table, manifest, previous, statistics, lineage, review, shown={one.id: one for one in shown})
        committed = publish(draft, nearest, self.thresholds, self.accepted, self.work, self.report)
        Metrics.distribution(NAMESPACE, VERSION_METRIC).update(committed.version)
        Metrics.distribution(NAMESPACE, NEAR_COPIES).update(statistics.near_copies)
        # The alert on missed refreshes waits for this line.
        what = "unchanged" if committed == previous else "published"
        logging.getLogger("nnn").info("nnn refresh done: version %d of %s %s", committed.version, self.table, what)
        return committed


def _together(written: Iterable[Written]) -> Written:
    """All that was written as one."""
    parts, statistics = list[TablePart](), RowStatistics()
    for more, measured in written:
        parts += more
        statistics |= measured
    return tuple(parts), statistics


class _Measuring(beam.DoFn):  # type: ignore[misc]
    """Measures parts, and puts what it found of a bundle together: statistics are of one size, however many rows."""

    def __init__(self, table: str) -> None:
        self._table = table

    def setup(self) -> None:
        give_back()

    def start_bundle(self) -> None:
        self._found: list[Written] = []

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._found:
            yield GlobalWindows.windowed_value(self._found[0])

    def take(self, *parts: TablePart, statistics: RowStatistics) -> None:
        self._found = [_together((*self._found, (parts, statistics)))]


class _WriteParts(_Measuring):
    def process(self, keyed: tuple[int, Iterable[RowSlice]], basis: Basis) -> None:
        part, statistics = _write(keyed, self._table, basis.settings, basis.previous)
        self.take(part, statistics=statistics)


class _CountPrevious(_Measuring):
    def process(self, part: TablePart, basis: Basis) -> None:
        assert basis.previous is not None, "the part is of it"
        self.take(statistics=RowStatistics.of_previous(part, self._table, basis.settings, basis.previous))


def _write(
    keyed: tuple[int, Iterable[RowSlice]], table: str, settings: BiasSettings, previous: Manifest | None
) -> tuple[TablePart, RowStatistics]:
    """Store one part of the table, unless the current version has it, and measure it."""
    number, slices = keyed
    version = previous.version + 1 if previous else 1
    existing = {part.sha256: part.path for part in previous.files} if previous else {}
    with timed(_STAGE):
        rows = collect_rows(slices)
        part = TablePart.write(table, version, number, rows, settings, existing)
        statistics = RowStatistics.of_part(table, part, rows, settings, previous)
    count(_STAGE, REUSED if part.path in existing.values() else COMPUTED)
    count(_STAGE, ROWS, part.rows)
    return part, statistics


def _look_at_hubs(
    named: tuple[str, EmbeddedInput], hubs: HubsToName, request: EmbeddingRequest, show: tuple[str, ...]
) -> Iterator[_HubLook]:
    stage, embedded = named
    wanted = hubs.explained | hubs.shown
    if stage != StageName.EMBED_CANDIDATES or not wanted:
        return
    # The ids of all candidates are read for this, so they are read once for both.
    blocks = [block for shard in embedded.located() if (block := find_vectors(shard, wanted)) is not None]
    if not blocks:
        return
    names = [block.ids.to_pylist() for block in blocks]
    places = [[row for row, name in enumerate(each) if name in hubs.explained] for each in names]
    vectors = tuple(block.take(np.array(rows)) for block, rows in zip(blocks, places, strict=True) if rows)
    yield _HubLook(vectors, show_again(embedded, request, hubs.shown.intersection(itertools.chain(*names)), show))


def _nearest_of(named: tuple[str, EmbeddedInput], looks: list[_HubLook], basis: Basis) -> Iterator[dict[str, Nearest]]:
    """For each shard of a file the reference queries that are nearest to each hub, by its id."""
    stage, embedded = named
    hubs = [block for look in looks for block in look.vectors]
    if not hubs or stage != StageName.EMBED_REFERENCES:
        return
    for shard in embedded.shards:
        with timed(_STAGE):
            block = read_shard(shard)
            nearest: dict[str, Nearest] = {}
            for each in hubs:
                found = nearest_in(block, each, basis.settings.exclude_own_pairs, MOST_REFERENCES)
                nearest.update(zip(each.ids.to_pylist(), found, strict=True))
        yield nearest
