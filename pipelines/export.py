"""The pipeline of ``nnn export``: from embeddings to files of an engine and one manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any

import apache_beam as beam
import numpy as np
import pydantic.dataclasses
from apache_beam.pvalue import AsList, AsSingleton

from nnn_core import storage
from nnn_core.consumers.engines.faiss_file import MOST_INDEX_BYTES, build_index, check_size, search_ids, to_bytes
from nnn_core.consumers.engines.layouts import check_files
from nnn_core.consumers.engines.overlap import (
    SAMPLE_ROWS,
    Sample,
    merge_samples,
    overlap_of,
    sample_shard,
    sampled_queries,
)
from nnn_core.consumers.engines.recipe import CENTRES, FORMS, QUANTISATIONS, Recipe, make_recipe
from nnn_core.consumers.engines.registry import METRICS, RERANK, engine_names, find_engine
from nnn_core.consumers.export import (
    Embeddings,
    Rankings,
    WrittenFile,
    bias_range,
    commit_export,
    export_record,
    export_shard,
    gather_embeddings,
    ids_to_bytes,
    keep_file,
    load_biases,
    rank_block,
    read_block,
)
from nnn_core.consumers.rerank import (
    ROWS_PER_FILE,
    biases_to_bytes,
    check_target,
    count_at_least,
    hubs,
    needed_depth,
    plain_scores,
)
from nnn_core.embedded.corpus import embedded_shards
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, read_shard
from nnn_core.encoders import EncoderSource
from nnn_core.encoders.contract import static_parts
from nnn_core.encoders.fingerprints import check_dimension
from nnn_core.encoders.prompts import recorded_prompts
from nnn_core.errors import ConfigError, InputError
from nnn_core.evaluation.metrics import Z_ALARM
from nnn_core.evaluation.queries import StoredQueries, load_queries, store_queries
from nnn_core.evaluation.rankings import DEPTH, Ranking
from nnn_core.inputs.readers import Columns
from nnn_core.redaction import refuse_credentials
from nnn_core.table.manifest import Manifest
from pipelines.options import CHECKED, Option, QueryColumnOptions
from pipelines.stages.embed_shards import EmbedShards, ModelUse
from pipelines.stages.list_shards import ListShards
from pipelines.stages.metrics import StageName
from pipelines.stages.once import Once

#: Headings of --help.
GROUPS = ("the exported form", "measured overlap")
_form, _measured = (partial(Option, group=title) for title in GROUPS)


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=CHECKED)
class ExportConfig(QueryColumnOptions):
    """What to export, each option declared here once.

    Attributes:
        table: folder of the bias table.
        version: which version (default: the current one).
        embeddings: shards of the candidates of the index.
        engine: engine to write files for; rerank for none.
        output: new folder of the files and of export.json.
        work: folder of artefacts, that of the refresh.
        encoder: model, as for nnn refresh; not needed for vectors.
        max_reject_rate: share that may be unusable.
        metric: distance of the index (default: %(default)s).
        form: augmentation (default: that of the metric).
        centre: what is taken off every bias, which changes no ranking; nonnegative makes every score at least 0
            (default: %(default)s).
        quantisation: what the engine will do (default: %(default)s).
        index: FAISS's factory string (default: Flat; SQ8 for int8).
        max_index_bytes: bytes of vectors that a FAISS index is built of in memory (default: %(default)s).
        threads: threads that build a FAISS index; with more than one an HNSW graph differs from run to run
            (default: %(default)s).
        queries: shards of queries (default: some of the candidates).
        sample: how many queries (default: %(default)s).
        seed: seed of the sample (default: %(default)s).
        target_overlap: with --engine rerank: how much of the exact top 10 is to be kept (default: %(default)s).
        hub_deviations: with --engine rerank: a candidate is a hub when its bias lies more than X robust standard
            deviations above the median (default: %(default)s).

    Raises:
        ConfigError: a value that cannot work.
        InputError: a share that is none.
    """

    table: Annotated[str, Option("URI")]
    version: Annotated[int, Option("N", filled=True)]
    embeddings: Annotated[str, Option("GLOB")]
    engine: Annotated[str, Option(choices=tuple(engine_names()))]
    output: Annotated[str, Option("URI")]
    work: Annotated[str, Option("URI")]
    encoder: Annotated[str | None, Option("SPEC")] = None
    max_reject_rate: Annotated[float, Option("RATE")] = 0.0
    metric: Annotated[str, _form(choices=tuple(METRICS))] = "ip"
    form: Annotated[str, _form(choices=FORMS)] = "auto"
    centre: Annotated[str, _form(choices=CENTRES)] = "mean"
    quantisation: Annotated[str, _form(choices=QUANTISATIONS)] = "none"
    index: Annotated[str | None, _form("FACTORY")] = None
    max_index_bytes: Annotated[int, _form("N")] = MOST_INDEX_BYTES
    threads: Annotated[int, _form("N")] = 1
    queries: Annotated[str | None, _measured("GLOB")] = None
    sample: Annotated[int, _measured("N")] = SAMPLE_ROWS
    seed: Annotated[int, _measured("N")] = 0
    target_overlap: Annotated[float, _measured("SHARE")] = 0.99
    hub_deviations: Annotated[float, _measured("X")] = Z_ALARM

    def __post_init__(self) -> None:
        _ = self.query_columns
        check_target(self.target_overlap)
        for flag in ("table", "embeddings", "output", "work", "queries"):
            if getattr(self, flag) is not None:
                refuse_credentials(getattr(self, flag), f"--{flag}")
        if self.engine != RERANK:
            find_engine(self.engine)
        if self.index is not None and self.engine != "faiss":
            raise ConfigError(f"--index says nothing to --engine {self.engine}; only faiss builds an index here.")
        if self.sample < 1 or self.threads < 1 or self.max_index_bytes < 1:
            raise ConfigError("--sample, --threads and --max-index-bytes must be at least 1.")
        if not 0.0 <= self.max_reject_rate <= 1.0:
            raise ConfigError(f"--max-reject-rate {self.max_reject_rate} must lie between 0 and 1.")

    @cached_property
    def query_columns(self) -> Columns:
        """The candidates' names, except where others were given for the queries, which need no ids."""
        return dataclasses.replace(super().query_columns, require_id=False)

    @property
    def factory(self) -> str:
        """FAISS's factory string."""
        return self.index or ("SQ8" if self.quantisation == "int8" else "Flat")


def recipe_of(config: ExportConfig, manifest: Manifest) -> Recipe | None:
    """The recipe of the engine; None where the order is corrected afterwards.

    Raises:
        ConfigError: see ``make_recipe``.
    """
    if config.engine == RERANK:
        return None
    options = (config.form, config.centre, config.quantisation)
    return make_recipe(config.engine, config.metric, manifest.dim, bias_range(manifest), *options)


def recorded(recipe: Recipe | None) -> dict[str, Any] | None:
    """The recipe as the manifest has it."""
    return None if recipe is None else {**recipe.to_record(), "folder": find_engine(recipe.engine).folder}


def define_export(
    root: beam.Pipeline,
    config: ExportConfig,
    manifest: Manifest,
    recipe: Recipe | None,
    encoder: EncoderSource | None,
) -> beam.PCollection[str]:
    """Wire the export; the single element is the URI of its manifest."""
    digest, prompts = encoder.fingerprint.digest if encoder else None, recorded_prompts(manifest.settings.encoder)
    held = EmbeddingRequest(
        manifest.settings.candidate_modality, config.candidate_columns, digest, config.work, prompts.candidate
    )
    inputs = (
        root
        | "ListEmbeddings" >> ListShards(config.embeddings, "--embeddings")
        | "EmbedCandidates" >> EmbedShards(held, encoder, StageName.EMBED_CANDIDATES, ModelUse(config.threads))
    )
    parts = static_parts(encoder, prompts) if encoder else None
    embeddings = AsSingleton(root | "GatherEmbeddings" >> Once(_gather, AsList(inputs), config, parts))
    shards = inputs | "Shards" >> beam.FlatMap(lambda each: embedded_shards([each])) | "Spread" >> beam.Reshuffle()
    asked = shards
    if config.queries:
        modality = manifest.settings.reference_modality
        request = EmbeddingRequest(modality, config.query_columns, digest, config.work, prompts.reference)
        asked = (
            root
            | "ListQueries" >> ListShards(config.queries, "--queries")
            | "EmbedQueries" >> EmbedShards(request, encoder, StageName.EMBED_QUERIES, ModelUse(config.threads))
            | "QueryShards" >> beam.FlatMap(lambda each: embedded_shards([each]))
        )
    queries = AsSingleton(asked | "SampleQueries" >> _SampleQueries(config, manifest))
    if recipe is None:
        return shards | "ExportBiases" >> _ExportBiases(config, queries, embeddings)
    if find_engine(recipe.engine).layout == "index":
        return shards | "ExportIndex" >> _ExportIndex(config, recipe, queries, embeddings)
    return shards | "ExportFiles" >> _ExportFiles(config, recipe, queries, embeddings)


def _gather(inputs: list[EmbeddedInput], config: ExportConfig, encoder: dict[str, str] | None) -> Embeddings:
    table = load_biases(config.table, config.version)
    folder = storage.join(config.work, "rejects")
    embeddings = gather_embeddings(inputs, table, config.table, encoder, config.max_reject_rate, folder)
    if config.engine != RERANK:
        check_files(find_engine(config.engine), len(embeddings.shards))
    return embeddings


@dataclass
class _SampleQueries(beam.PTransform):  # type: ignore[misc]
    """Embedded shards to a sample of their rows, stored as queries.

    Attributes:
        config: how many, and the seed.
        manifest: of the table, whose dimension they must have.
    """

    config: ExportConfig
    manifest: Manifest

    def expand(self, shards: beam.PCollection[EmbeddedShard]) -> beam.PCollection[StoredQueries]:
        return (
            shards
            | "SampleShard" >> beam.Map(self.sample_shard)
            | "MergeSamples" >> beam.CombineGlobally(merge_samples)
            | "StoreQueries" >> beam.Map(self.store)
        )

    def sample_shard(self, shard: EmbeddedShard) -> Sample:
        """The sample of one shard."""
        check_dimension(self.manifest.dim, shard.dim, self.config.table, repr(shard.source))
        return sample_shard(shard, self.config.sample, self.config.seed)

    def store(self, sample: Sample) -> StoredQueries:
        """Store the sample."""
        if not sample.rows:
            raise InputError(
                f"no row of {'--queries' if self.config.queries else '--embeddings'} can be used, so no overlap can be "
                "measured; look at the input."
            )
        return store_queries(sampled_queries(sample), 0, self.config.work)


@dataclass
class _ExportFiles(beam.PTransform):  # type: ignore[misc]
    """Embedded shards to one file each, and then the manifest.

    Attributes:
        config: what to export.
        recipe: how.
        queries: a singleton side input of ``StoredQueries``.
        embeddings: a singleton side input of ``Embeddings``.
    """

    config: ExportConfig
    recipe: Recipe
    queries: AsSingleton
    embeddings: AsSingleton

    def expand(self, shards: beam.PCollection[EmbeddedShard]) -> beam.PCollection[str]:
        return (
            shards
            | "ExportShard" >> beam.Map(_export_shard, self.config, self.recipe, self.queries, self.embeddings)
            | "AllFiles" >> beam.CombineGlobally(_merge_written).without_defaults()
            | "CommitExport" >> beam.Map(_commit_files, self.config, self.recipe, self.queries, self.embeddings)
        )


_Written = tuple[tuple[WrittenFile, ...], Rankings | None]


def _export_shard(
    shard: EmbeddedShard, config: ExportConfig, recipe: Recipe, stored: StoredQueries, embeddings: Embeddings
) -> _Written:
    # The embeddings are asked for so that nothing is written before they were checked as a whole.
    table = load_biases(config.table, config.version)
    written, rankings = export_shard(shard, recipe, table, load_queries(stored), config.output)
    return (written,), rankings


def _merge_written(parts: Iterable[_Written]) -> _Written:
    files: tuple[WrittenFile, ...] = ()
    merged: Rankings | None = None
    for some, rankings in parts:
        files += some
        if rankings is not None:
            merged = rankings if merged is None else merged | rankings
    return files, merged


def _commit_files(
    written: _Written, config: ExportConfig, recipe: Recipe, stored: StoredQueries, embeddings: Embeddings
) -> str:
    files, rankings = written
    assert rankings is not None
    assert rankings.exported is not None
    return _commit(config, recipe, stored, embeddings, files, rankings, {"index": None})


def _commit(
    config: ExportConfig,
    recipe: Recipe,
    stored: StoredQueries,
    embeddings: Embeddings,
    files: tuple[WrittenFile, ...],
    rankings: Rankings,
    details: dict[str, Any],
) -> str:
    assert rankings.exported is not None
    overlap = overlap_of(rankings.exact, rankings.exported, rankings.plain)
    details = {"recipe": recorded(recipe), **details}
    table = load_biases(config.table, config.version)
    record = export_record(table, config.table, embeddings, files, overlap, _asked(config, stored), details)
    return commit_export(config.output, [find_engine(recipe.engine).folder], record)


def _asked(config: ExportConfig, stored: StoredQueries) -> dict[str, Any]:
    source = "queries" if config.queries else "candidates in place of queries"
    return {"rows": stored.rows, "seed": config.seed, "source": source, "digest": stored.digest}


@dataclass
class _ExportIndex(beam.PTransform):  # type: ignore[misc]
    """Embedded shards to one FAISS index, which is searched to measure the overlap, and then the manifest.

    Attributes:
        config: what to export.
        recipe: how.
        queries: a singleton side input of ``StoredQueries``.
        embeddings: a singleton side input of ``Embeddings``.
    """

    config: ExportConfig
    recipe: Recipe
    queries: AsSingleton
    embeddings: AsSingleton

    def expand(self, shards: beam.PCollection[EmbeddedShard]) -> beam.PCollection[str]:
        ranked = _rank_shards(shards, self.config, self.queries, self.embeddings)
        return ranked | "BuildIndex" >> beam.Map(_build_index, self.config, self.recipe, self.queries, self.embeddings)


def _rank_shards(
    shards: beam.PCollection[EmbeddedShard], config: ExportConfig, queries: AsSingleton, embeddings: AsSingleton
) -> beam.PCollection[_Written]:
    """The exact rankings of all candidates, a single element; no file is written."""
    return (
        shards
        | "RankShards" >> beam.Map(_rank_shard, config, queries, embeddings)
        | "MergeRankings" >> beam.CombineGlobally(_merge_written).without_defaults()
    )


def _rank_shard(shard: EmbeddedShard, config: ExportConfig, stored: StoredQueries, embeddings: Embeddings) -> _Written:
    block, table = read_shard(shard), load_biases(config.table, config.version)
    ids = block.ids.to_pylist()
    return (), rank_block(load_queries(stored).vectors, block.vectors, ids, table.bias_of(ids))


def _build_index(
    ranked: _Written, config: ExportConfig, recipe: Recipe, stored: StoredQueries, embeddings: Embeddings
) -> str:
    assert ranked[1] is not None
    check_size(embeddings.rows, recipe, config.max_index_bytes)
    ids, bias, vectors = read_block(embeddings.shards, recipe, load_biases(config.table, config.version))
    index = build_index(config.factory, recipe, vectors, config.threads)
    found = search_ids(index, recipe, load_queries(stored).vectors, ids, DEPTH)
    exported = Ranking(tuple(tuple(row) for row in found))
    folder = find_engine(recipe.engine).folder
    files = (
        keep_file(config.output, f"{folder}/index", ".faiss", to_bytes(index), len(ids)),
        keep_file(config.output, f"{folder}/ids", ".parquet", ids_to_bytes(ids, bias), len(ids)),
    )
    rankings = Rankings(ranked[1].exact, exported, ranked[1].plain)
    return _commit(config, recipe, stored, embeddings, files, rankings, {"index": config.factory})


@dataclass
class _ExportBiases(beam.PTransform):  # type: ignore[misc]
    """Embedded shards to the depth that a plain search needs, with the biases to look up, and then the manifest.

    Attributes:
        config: what to export.
        queries: a singleton side input of ``StoredQueries``.
        embeddings: a singleton side input of ``Embeddings``.
    """

    config: ExportConfig
    queries: AsSingleton
    embeddings: AsSingleton

    def expand(self, shards: beam.PCollection[EmbeddedShard]) -> beam.PCollection[str]:
        ranked = AsSingleton(_rank_shards(shards, self.config, self.queries, self.embeddings))
        return (
            shards
            | "CountPlain" >> beam.Map(_count_plain, self.config, self.queries, ranked)
            | "AddCounts" >> beam.CombineGlobally(_add_counts).without_defaults()
            | "CommitBiases" >> beam.Map(_commit_biases, self.config, self.queries, self.embeddings)
        )


def _count_plain(shard: EmbeddedShard, config: ExportConfig, stored: StoredQueries, ranked: _Written) -> list[Any]:
    assert ranked[1] is not None
    exact, table = ranked[1].exact, load_biases(config.table, config.version)
    scores = plain_scores(exact, [table.bias_of(ids) for ids in exact.ids])
    return count_at_least(load_queries(stored).vectors, read_shard(shard).vectors, scores)


def _add_counts(parts: Iterable[list[Any]]) -> list[Any]:
    total: list[Any] = []
    for part in parts:
        total = [one + other for one, other in zip(total, part, strict=True)] if total else part
    return total


def _commit_biases(ranks: list[Any], config: ExportConfig, stored: StoredQueries, embeddings: Embeddings) -> str:
    table = load_biases(config.table, config.version)
    hub = hubs(table.bias, config.hub_deviations)
    files = []
    for first in range(0, len(table.bias), ROWS_PER_FILE):
        rows = slice(first, first + ROWS_PER_FILE)
        ids = table.ids.slice(first, ROWS_PER_FILE).combine_chunks()
        data = biases_to_bytes(ids, table.bias[rows], hub[rows])
        files.append(keep_file(config.output, "biases/part", ".parquet", data, len(ids)))
    depths = needed_depth(ranks, config.target_overlap, embeddings.rows)
    details = {"recipe": None, "depths": dataclasses.asdict(depths), "hubs": int(np.count_nonzero(hub))}
    record = export_record(table, config.table, embeddings, files, None, _asked(config, stored), details)
    return commit_export(config.output, ["biases"], record)
