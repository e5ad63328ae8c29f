"""ExportFiles, ExportIndex and ExportBiases: embedded shards to what a vector engine takes, and to one manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from nnn_core.consumers.engines.overlap import Sample, TopOverlap
from nnn_core.consumers.engines.recipe import Recipe
from nnn_core.consumers.engines.registry import find_engine
from nnn_core.consumers.export import Embeddings, commit_export, export_biases, export_record
from nnn_core.consumers.export_files import UPDATES, Exported, FileExport, WrittenFile
from nnn_core.consumers.export_index import IndexFile
from nnn_core.consumers.held import load_biases
from nnn_core.consumers.rerank import count_at_least, needed_depth, plain_scores
from nnn_core.embedded.shards import EmbeddedShard, read_shard
from nnn_core.encoders.fingerprints import check_dimension
from nnn_core.errors import InputError
from nnn_core.evaluation.queries import StoredQueries
from nnn_core.evaluation.rankings import DEPTH, Rankings
from nnn_core.table.reading import BiasTable
from pipelines.stages.once import unite


@dataclass(frozen=True)
class ExportTask:
    """What every step of an export needs to know.

    Attributes:
        table: URI of the table.
        version: number of the table's version.
        output: URI of the folder of the export.
        seed: seed of the sample of queries.
        queries_given: whether queries are sampled; if not, candidates are sampled in place of queries.
    """

    table: str
    version: int
    output: str
    seed: int
    queries_given: bool

    @property
    def biases(self) -> BiasTable:
        """The version, loaded once in each process."""
        return load_biases(self.table, self.version)

    def commit(
        self,
        folders: Sequence[str],
        embeddings: Embeddings,
        stored: StoredQueries,
        files: Sequence[WrittenFile],
        overlap: TopOverlap | None,
        details: dict[str, Any],
    ) -> str:
        """Write the manifest of the export; returns its URI.

        Args:
            folders: folders of the written files, below the output.
            embeddings: the exported embeddings as a whole.
            stored: the sampled queries that rankings were compared on, as stored.
            files: every file that the export wrote.
            overlap: overlap of the engine's ranking with the exact one; None where no engine ranks.
            details: entries of the manifest that only this kind of export has.
        """
        source = "queries" if self.queries_given else "candidates in place of queries"
        asked = {"rows": stored.rows, "seed": self.seed, "source": source, "digest": stored.digest}
        record = export_record(self.biases, self.table, embeddings, files, overlap, asked, details)
        return commit_export(self.output, folders, record)


@dataclass
class SampleQueries(beam.PTransform):  # type: ignore[misc]
    """Embedded shards to a sample of their rows, stored as queries, a single element.

    Attributes:
        task: what every step of the export needs to know.
        size: how many rows to sample.
        work: URI of the folder of artefacts.
    """

    task: ExportTask
    size: int
    work: str

    def expand(self, shards: beam.PCollection[EmbeddedShard]) -> beam.PCollection[StoredQueries]:
        return (
            shards
            | "SampleShard" >> beam.Map(self.sample_shard)
            | "MergeSamples" >> beam.CombineGlobally(Sample.merge)
            | "StoreQueries" >> beam.Map(self.store)
        )

    def sample_shard(self, shard: EmbeddedShard) -> Sample:
        """The sample of one shard."""
        check_dimension(self.task.biases.manifest.dim, shard.dim, self.task.table, repr(shard.source))
        return Sample.of_shard(shard, self.size, self.task.seed)

    def store(self, sample: Sample) -> StoredQueries:
        """Store the sample.

        Raises:
            InputError: it is empty.
        """
        if not sample.rows:
            raise InputError(
                f"no row of {'--queries' if self.task.queries_given else '--embeddings'} can be used, so no "
                "overlap can be measured. Check the input."
            )
        return sample.to_queries().store(self.work)


@dataclass
class _Export(beam.PTransform):  # type: ignore[misc]
    """What all kinds of export need.

    Attributes:
        task: what every step of the export needs to know.
        queries: the sampled queries as stored, a single element.
        embeddings: the embeddings as a whole, a single element; nothing is written before they were checked as a whole.
    """

    task: ExportTask
    queries: beam.PCollection[StoredQueries]
    embeddings: beam.PCollection[Embeddings]

    @property
    def sides(self) -> tuple[AsSingleton, AsSingleton]:
        """The sample and the embeddings as a whole, for every step."""
        return AsSingleton(self.queries), AsSingleton(self.embeddings)

    def rank_all(self, shards: beam.PCollection[EmbeddedShard]) -> beam.PCollection[Rankings]:
        """The plain and the debiased rankings of all candidates, a single element; no file is written."""
        return (
            shards
            | "RankShards" >> beam.Map(_rank_shard, self.task, *self.sides)
            | "MergeRankings" >> beam.CombineGlobally(unite).without_defaults()
        )


def _rank_shard(shard: EmbeddedShard, task: ExportTask, stored: StoredQueries, embeddings: Embeddings) -> Rankings:
    del embeddings  # that it exists is what matters
    block = read_shard(shard)
    ids = block.ids.to_pylist()
    return Rankings.of(stored.load().vectors, block.vectors, ids, task.biases.bias_of(ids))


@dataclass
class ExportFiles(_Export):
    """Embedded shards to a file each, or to what brings an index up to date, and then the URI of the manifest.

    Attributes:
        files: how the files are made.
        target: share of the exact top 10 that is to be kept where the bias is an attribute, 0 to 1.
    """

    files: FileExport
    target: float = 0.99

    def expand(self, shards: beam.PCollection[EmbeddedShard]) -> beam.PCollection[str]:
        exported = (
            shards
            | "ExportShard" >> beam.Map(self.export_shard, *self.sides)
            | "AllFiles" >> beam.CombineGlobally(unite).without_defaults()
        )
        ranks = None
        if self.files.recipe.form == "attribute":
            rankings = exported | "Rankings" >> beam.Map(lambda each: each.rankings)
            ranks = AsSingleton(shards | "CountPlain" >> _CountPlain(self.task, self.queries, rankings))
        last = (self.task, self.files.recipe, None, ranks, self.target, self.files)
        return exported | "CommitExport" >> beam.Map(_commit_exported, *self.sides, *last)

    def export_shard(self, shard: EmbeddedShard, stored: StoredQueries, embeddings: Embeddings) -> Exported:
        """The file of one shard."""
        del embeddings  # that it exists is what matters
        return self.files.export(shard, self.task.biases, stored.load())


def _commit_exported(
    exported: Exported,
    stored: StoredQueries,
    embeddings: Embeddings,
    task: ExportTask,
    recipe: Recipe,
    index: str | None,
    ranks: list[Any] | None = None,
    target: float = 0.99,
    files: FileExport | None = None,
) -> str:
    tuned = dataclasses.asdict(exported.tuned) if exported.tuned else None
    depths = needed_depth(ranks, target, embeddings.rows) if ranks is not None else None
    depth = max(DEPTH, depths.needed) if depths else None
    details = {"recipe": recipe.to_record(depth), "index": index, "tuned": tuned}
    if depths:
        details["depths"] = dataclasses.asdict(depths)
    removals, update = files.remove(task.biases) if files else ([], {})
    if update:
        details["update"] = {**update, **dataclasses.asdict(exported.counts)}
    folders = [recipe.folder, UPDATES, find_engine(recipe.engine).delete_folder]
    return task.commit(folders, embeddings, stored, [*exported.files, *removals], exported.overlap, details)


@dataclass
class ExportIndex(_Export):
    """Embedded shards to one FAISS index, which is searched to measure the overlap, and then the URI of the manifest.

    Attributes:
        recipe: how vectors and queries are augmented.
        index: how the index is built.
    """

    recipe: Recipe
    index: IndexFile

    def expand(self, shards: beam.PCollection[EmbeddedShard]) -> beam.PCollection[str]:
        return (
            self.rank_all(shards)
            | "BuildIndex" >> beam.Map(self.build_index, *self.sides)
            | "CommitExport" >> beam.Map(_commit_exported, *self.sides, self.task, self.recipe, self.index.factory)
        )

    def build_index(self, rankings: Rankings, stored: StoredQueries, embeddings: Embeddings) -> Exported:
        """The index and the ids of its rows, both in memory as a whole."""
        return self.index.export(embeddings, self.recipe, self.task.biases, stored.load(), rankings, self.task.output)


@dataclass
class ExportBiases(_Export):
    """Embedded shards to the depth that a plain search needs, with the biases to look up, and then the manifest's URI.

    Attributes:
        hub_deviations: robust standard deviations above the median from which a bias makes a hub.
        target_overlap: share of the exact top 10 that is to be kept, 0 to 1.
    """

    hub_deviations: float
    target_overlap: float

    def expand(self, shards: beam.PCollection[EmbeddedShard]) -> beam.PCollection[str]:
        rankings = self.rank_all(shards)
        counted = shards | "CountPlain" >> _CountPlain(self.task, self.queries, rankings)
        return counted | "CommitBiases" >> beam.Map(self.commit_biases, *self.sides)

    def commit_biases(self, ranks: list[Any], stored: StoredQueries, embeddings: Embeddings) -> str:
        """Write the biases and the manifest."""
        files, hubs = export_biases(self.task.biases, self.hub_deviations, self.task.output)
        depths = dataclasses.asdict(needed_depth(ranks, self.target_overlap, embeddings.rows))
        details = {"recipe": None, "depths": depths, "hubs": hubs}
        return self.task.commit(["biases"], embeddings, stored, files, None, details)


@dataclass
class _CountPlain(beam.PTransform):  # type: ignore[misc]
    """Embedded shards to the plain ranks of each query's exact top 10, a single element.

    Attributes:
        task: what every step of the export needs to know.
        queries: the sampled queries as stored, a single element.
        rankings: the exact rankings of all candidates, a single element.
    """

    task: ExportTask
    queries: beam.PCollection[StoredQueries]
    rankings: beam.PCollection[Rankings]

    def expand(self, shards: beam.PCollection[EmbeddedShard]) -> beam.PCollection[list[Any]]:
        sides = AsSingleton(self.queries), AsSingleton(self.rankings)
        counted = shards | "CountShard" >> beam.Map(self.count, *sides)
        return counted | "AddCounts" >> beam.CombineGlobally(_add_counts).without_defaults()

    def count(self, shard: EmbeddedShard, stored: StoredQueries, rankings: Rankings) -> list[Any]:
        """For each query, how many candidates of a shard a plain search finds before each of the exact top 10."""
        exact, table = rankings.debiased, self.task.biases
        scores = plain_scores(exact, [table.bias_of(ids) for ids in exact.ids])
        return count_at_least(stored.load().vectors, read_shard(shard).vectors, scores)


def _add_counts(parts: Iterable[list[Any]]) -> list[Any]:
    return [sum(counts) for counts in zip(*parts, strict=True)]
