"""The pipeline of ``nnn export``: from embeddings to files of an engine and one manifest."""

from __future__ import annotations

import dataclasses
from functools import cached_property, partial
from typing import Annotated

import apache_beam as beam
import pydantic.dataclasses
from apache_beam.pvalue import AsList

from nnn_core import storage
from nnn_core.consumers.along import Along
from nnn_core.consumers.engines.overlap import SAMPLE_ROWS
from nnn_core.consumers.engines.recipe import CENTRES, FORMS, QUANTISATIONS, BiasRange, Recipe, sub_vectors_of
from nnn_core.consumers.engines.registry import METRICS, RERANK, engine_names, find_engine
from nnn_core.consumers.export import Embeddings
from nnn_core.consumers.export_files import FileExport
from nnn_core.consumers.export_index import MOST_INDEX_BYTES, IndexFile
from nnn_core.consumers.held import held_biases, load_biases, read_export
from nnn_core.consumers.rerank import check_target
from nnn_core.consumers.update import Update
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import EncoderSource
from nnn_core.encoders.generations import digest_of
from nnn_core.encoders.probes import static_parts
from nnn_core.encoders.prompts import Prompts
from nnn_core.errors import ConfigError
from nnn_core.evaluation.metrics import Z_ALARM
from nnn_core.inputs.readers import Columns
from nnn_core.table.manifest import Manifest
from pipelines.options import CHECKED, Option, QueryColumnOptions
from pipelines.stages.embed_files import Files, embed_files
from pipelines.stages.export_embeddings import ExportBiases, ExportFiles, ExportIndex, ExportTask, SampleQueries
from pipelines.stages.once import Once

#: Headings of --help.
GROUPS = ("the exported form", "names in the engine", "an index that is there already", "measured overlap")
_form, _name, _update, _measured = (partial(Option, group=title) for title in GROUPS)


#: Engines whose points have ids of their own.
_WITH_UUIDS = ("qdrant", "weaviate")


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=CHECKED)
class ExportConfig(QueryColumnOptions):
    """What to export, each option declared here once.

    Attributes:
        table: folder of the bias table.
        version: which version (default: the current one).
        embeddings: shards of the candidates of the index.
        engine: engine to write files for; rerank writes only biases.
        output: new folder of the files and of export.json.
        work: folder of artefacts, that of the refresh.
        encoder: model, as for nnn refresh; not needed for vectors.
        max_reject_rate: share of unusable rows that is accepted.
        metric: distance of the index (default: %(default)s).
        form: how the bias is stored (default: in the vector, to fit the metric); attribute: plain vectors, with the
            bias as a field.
        centre: constant that is subtracted from every bias (changes no ranking); nonnegative keeps all scores at 0 or
            more (default: %(default)s).
        quantisation: quantisation in the engine (default: %(default)s).
        pad_to: pad with zeros to a multiple of N dimensions, for product quantisers (default: 8 for lancedb; the number
            in PQ... of --index).
        index: FAISS's factory string (default: Flat; SQ8 for int8).
        nprobe: lists that a FAISS IVF index searches (default: the least that reaches --target-overlap).
        ef_search: efSearch of a FAISS HNSW index (default: the least that reaches --target-overlap).
        max_index_bytes: limit of the memory for building a FAISS index, in bytes (default: %(default)s).
        threads: threads that build a FAISS index; with more than one, an HNSW graph differs from run to run
            (default: %(default)s).
        collection: name of the engine's collection, class, index, schema or SQL table.
        namespace: namespace of pinecone or vespa.
        vector_field: field, column or named vector that holds the vector.
        id_field: field or column that holds the candidate's id.
        uuid_column: column of the embeddings with the UUIDs of points in qdrant or weaviate (default: UUIDs made from
            the ids).
        payload: further columns of the embeddings to export, such as title,url.
        since: the version that the index has; only changes since then are written.
        like: folder of the last imported export or update.
        min_change: leave out changes of the bias that are smaller (default: %(default)s).
        queries: shards of queries (default: some of the candidates).
        sample: how many queries (default: %(default)s).
        seed: seed of the sample (default: %(default)s).
        target_overlap: share of the exact top 10 to keep, with --engine rerank or faiss, or --form attribute
            (default: %(default)s).
        hub_deviations: with --engine rerank, a bias this many robust standard deviations above the median makes a hub
            (default: %(default)s).

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
    pad_to: Annotated[int | None, _form("N")] = None
    index: Annotated[str | None, _form("FACTORY")] = None
    nprobe: Annotated[int | None, _form("N")] = None
    ef_search: Annotated[int | None, _form("N")] = None
    max_index_bytes: Annotated[int, _form("N")] = MOST_INDEX_BYTES
    threads: Annotated[int, _form("N")] = 1
    collection: Annotated[str | None, _name("NAME")] = None
    namespace: Annotated[str | None, _name("NAME")] = None
    vector_field: Annotated[str | None, _name("NAME")] = None
    id_field: Annotated[str | None, _name("NAME")] = None
    uuid_column: Annotated[str | None, _name("NAME")] = None
    payload: Annotated[str | None, _name("NAMES")] = None
    since: Annotated[int | None, _update("N")] = None
    like: Annotated[str | None, _update("URI")] = None
    min_change: Annotated[float, _update("X")] = 0.0
    queries: Annotated[str | None, _measured("GLOB")] = None
    sample: Annotated[int, _measured("N")] = SAMPLE_ROWS
    seed: Annotated[int, _measured("N")] = 0
    target_overlap: Annotated[float, _measured("SHARE")] = 0.99
    hub_deviations: Annotated[float, _measured("X")] = Z_ALARM

    def __post_init__(self) -> None:
        _ = self.query_columns
        check_target(self.target_overlap)
        self.refuse_credentials("table", "embeddings", "output", "work", "queries", "like")
        if self.engine != RERANK:
            find_engine(self.engine)
        self._check_names()
        self._check_update()
        if (self.index or self.nprobe or self.ef_search) and self.engine != "faiss":
            raise ConfigError(
                f"--index, --nprobe and --ef-search have no effect on --engine {self.engine}: only faiss builds "
                "an index here."
            )
        for flag, value, kind in (("--nprobe", self.nprobe, "IVF"), ("--ef-search", self.ef_search, "HNSW")):
            if value is not None and (
                value < 1 or kind not in self.factory or None not in (self.nprobe, self.ef_search)
            ):
                raise ConfigError(
                    f"{flag} {value} must be at least 1, alone, and for an {kind} index; --index is {self.factory}."
                )
        if self.sample < 1 or self.threads < 1 or self.max_index_bytes < 1:
            raise ConfigError("--sample, --threads and --max-index-bytes must be at least 1.")
        if not 0.0 <= self.max_reject_rate <= 1.0:
            raise ConfigError(f"--max-reject-rate {self.max_reject_rate} must lie between 0 and 1.")

    def _check_names(self) -> None:
        along = self.payload or self.uuid_column
        if self.engine == RERANK and (self.names or along):
            raise ConfigError(
                "--engine rerank writes only biases, so flags for names and further columns have no effect."
            )
        if self.uuid_column and self.engine not in _WITH_UUIDS:
            raise ConfigError(f"--uuid-column has no effect on --engine {self.engine}, whose ids are the table's.")

    def _check_update(self) -> None:
        if (self.since is None) != (self.like is None) or (self.min_change and self.since is None):
            raise ConfigError(
                "--since N and --like URI need each other, and --min-change X needs both. Give all or none."
            )
        if self.since is None:
            return
        if self.engine in (RERANK, "faiss"):
            raise ConfigError(
                f"--since has no effect on --engine {self.engine}, which reads its files as a whole. Export "
                "again, or use nnn table diff --output."
            )
        if self.since >= self.version:
            raise ConfigError(f"--since {self.since} must be older than version {self.version}, which is exported.")
        Update(self.table, self.since, self.min_change, self.like or "")

    @property
    def names(self) -> dict[str, str]:
        """What the engine calls things, as far as it was said, by what they are."""
        given = {
            "collection": self.collection,
            "namespace": self.namespace,
            "vector": self.vector_field,
            "id": self.id_field,
        }
        return {what: name for what, name in given.items() if name is not None}

    @property
    def along(self) -> Along:
        """What travels along with the vectors."""
        return Along(self.candidate_columns, self.listed(self.payload), self.uuid_column)

    @property
    def update(self) -> Update | None:
        """The version that the index holds; None for an index that is made anew."""
        if self.since is None or self.like is None:
            return None
        return Update(self.table, self.since, self.min_change, self.like)

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
        ConfigError: see ``Recipe.make``.
    """
    if config.engine == RERANK:
        return None
    if config.update is not None:
        return _recipe_of_index(config, config.update, manifest)
    pad_to = config.pad_to or (sub_vectors_of(config.factory) if config.engine == "faiss" else None)
    options = (config.form, config.centre, config.quantisation, pad_to)
    further = (config.names, config.along.payload)
    return Recipe.make(config.engine, config.metric, manifest.dim, BiasRange.of(manifest), *options, *further)


def _recipe_of_index(config: ExportConfig, update: Update, manifest: Manifest) -> Recipe:
    """The recipe of the index that is brought up to date.

    Raises:
        ConfigError: flags say something else than the index has, or the version does not fit into it.
        InputError: there is no such export.
    """
    record = read_export(update.like)
    recipe = Recipe.from_record(record["recipe"])
    of_export = {
        "engine": recipe.engine,
        "metric": recipe.metric,
        "form": recipe.form,
        "names": recipe.names,
        "payload": recipe.payload,
    }
    said = {
        "engine": config.engine,
        "metric": config.metric if config.metric != "ip" else recipe.metric,
        "form": config.form if config.form != "auto" else recipe.form,
        "names": config.names or recipe.names,
        "payload": config.along.payload or recipe.payload,
    }
    if differing := [name for name, value in said.items() if value != of_export[name]]:
        raise ConfigError(
            f"these flags differ from the index of --like {update.like!r} in {', '.join(differing)}. Leave the "
            "flags out, to use what it has."
        )
    held_biases(update)  # raises, before the work, where it is not known what the index holds
    return recipe.for_version(BiasRange.of(manifest))


def define_export(
    root: beam.Pipeline, config: ExportConfig, manifest: Manifest, recipe: Recipe | None, encoder: EncoderSource | None
) -> beam.PCollection[str]:
    """Wire the export; the single element is the URI of its manifest."""
    prompts, modality = Prompts.recorded(manifest.settings.encoder), manifest.settings.candidate_modality
    digest = digest_of(encoder, modality)
    held = EmbeddingRequest(modality, config.candidate_columns, digest, config.work, prompts.candidate)
    sides = [Files("candidates", config.embeddings, held, "--embeddings")]
    if config.queries:
        asking = manifest.settings.reference_modality
        asked_by = (asking, config.query_columns, digest_of(encoder, asking), config.work, prompts.reference)
        sides.append(Files("queries", config.queries, EmbeddingRequest(*asked_by)))
    embedded = embed_files(root, sides, encoder, threads=config.threads)
    inputs = embedded.of("candidates").embedded
    parts = static_parts(encoder, prompts) if encoder else None
    embeddings = root | "GatherEmbeddings" >> Once(_gather, AsList(inputs), config, parts)
    shards = inputs | "Shards" >> beam.FlatMap(lambda each: each.shards) | "Spread" >> beam.Reshuffle()
    asked = shards
    if config.queries:
        asked = embedded.of("queries").embedded | "QueryShards" >> beam.FlatMap(lambda each: each.shards)
    task = ExportTask(config.table, config.version, config.output, config.seed, bool(config.queries))
    sample = asked | "SampleQueries" >> SampleQueries(task, config.sample, config.work)
    shared = (task, sample, embeddings)
    if recipe is None:
        return shards | "ExportBiases" >> ExportBiases(*shared, config.hub_deviations, config.target_overlap)
    along = dataclasses.replace(config.along, payload=recipe.payload)
    if find_engine(recipe.engine).layout == "index":
        look = config.nprobe or config.ef_search
        index = IndexFile(config.factory, config.max_index_bytes, config.threads, config.target_overlap, look, along)
        return shards | "ExportIndex" >> ExportIndex(*shared, recipe, index)
    files = FileExport(recipe, config.output, along, config.update)
    return shards | "ExportFiles" >> ExportFiles(*shared, files, config.target_overlap)


def _gather(inputs: list[EmbeddedInput], config: ExportConfig, encoder: dict[str, str] | None) -> Embeddings:
    table = load_biases(config.table, config.version)
    folder = storage.join(config.work, "rejects")
    embeddings = Embeddings.gather(inputs, table, config.table, encoder, config.max_reject_rate, folder)
    if config.engine != RERANK:
        find_engine(config.engine).check_files(len(embeddings.shards))
    return embeddings
