"""The pipeline of ``nnn evaluate``: from files of held-out queries to one stored result."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any

import apache_beam as beam
import pydantic.dataclasses
from apache_beam.pvalue import AsSingleton

from nnn_core import storage
from nnn_core.embedded.corpus import Corpus, embedded_shards
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedShard, read_ids
from nnn_core.encoders import EncoderSource
from nnn_core.encoders.prompts import recorded_prompts
from nnn_core.errors import ConfigError
from nnn_core.evaluation.means import ShardMeans, store_means
from nnn_core.evaluation.positives import check_bank_of, check_rest
from nnn_core.evaluation.queries import StoredQueries
from nnn_core.evaluation.summary import Evaluation, Request
from nnn_core.redaction import refuse_credentials
from nnn_core.report.evaluation import evaluation_report, rivals_section
from nnn_core.report.review import Review, unit_of
from nnn_core.report.sections import Fairness, OwnPairs
from nnn_core.scoring.bank import Bank
from nnn_core.table.manifest import Manifest
from nnn_core.table.reading import BiasTable, load_bias_table
from pipelines.options import CHECKED, Option, QueryColumnOptions, ReferenceColumnOptions
from pipelines.stages.compare_methods import CompareFairness, CompareMethods
from pipelines.stages.embed_files import EmbeddedFiles, embed_files
from pipelines.stages.embed_shards import ModelUse
from pipelines.stages.exclude_positives import CountPositives, ExcludePositives, FindPositives
from pipelines.stages.gather import GatherCandidates, ShardReferences
from pipelines.stages.judge_bias import GatherQueries, JudgeBias
from pipelines.stages.merge_partials import MEANS, MergePartials
from pipelines.stages.once import Once
from pipelines.stages.review_bias import ReviewBias
from pipelines.stages.score_candidates import ScoreCandidates, Scorer

#: Heading of --help.
MEASURED = "more to measure"


@pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=CHECKED)
class EvaluationConfig(QueryColumnOptions, ReferenceColumnOptions):
    """What to evaluate, each option declared here once.

    Attributes:
        table: folder of the bias table.
        version: which version (default: the current one).
        candidates: shards of the items of the index.
        queries: shards of the held-out queries.
        work: folder of artefacts, that of the refresh.
        references: the bank: makes sure that no query is in it, and counts its rows that belong to candidates.
        relevance: what answers a query: query_id, candidate_id (or relevant, a list), grade (default: its pair id).
        allow_overlap: accept queries that are in the bank.
        encoder: model, as for nnn refresh; not needed for vectors.
        threads: threads of one worker process (default: all cores).
        exclude_bank_positives: judge also what the bias would be without the bank's rows that belong to candidates:
            the fair figure where the bank describes the index (scores anew).
        compare: the same for CSLS, Distribution Normalization, Inverted Softmax, QB-Norm and DB-Norm; of more than
            100,000 candidates a sample is compared on.
        attributes: tables of id and attributes: how evenly their values are retrieved.
        request: which point is judged, and by what, which the command works out from its own options.
        run: name of this run, which is no option.

    Raises:
        ConfigError: a value that cannot work.
    """

    table: Annotated[str, Option("URI")]
    version: Annotated[int, Option("N", filled=True)]
    candidates: Annotated[str, Option("GLOB")]
    queries: Annotated[str, Option("GLOB")]
    work: Annotated[str, Option("URI")]
    references: Annotated[str | None, Option("GLOB")] = None
    relevance: Annotated[str | None, Option("GLOB")] = None
    allow_overlap: Annotated[bool, Option(switch=True)] = False
    encoder: Annotated[str | None, Option("SPEC")] = None
    threads: Annotated[int, Option("N", filled=True)] = 1
    exclude_bank_positives: Annotated[bool, Option(group=MEASURED)] = False
    compare: Annotated[bool, Option(group=MEASURED)] = False
    attributes: Annotated[str | None, Option("GLOB", MEASURED)] = None
    request: Request
    run: str = "run"

    def __post_init__(self) -> None:
        # What a name means is found out now, and not by a worker.
        _ = self.query_columns, self.reference_columns
        for flag in ("table", "candidates", "queries", "work", "relevance", "references", "attributes"):
            if (uri := getattr(self, flag)) is not None:
                refuse_credentials(uri, f"--{flag}")
        if self.references is None and (self.compare or self.exclude_bank_positives):
            raise ConfigError(
                "--compare and --exclude-bank-positives need the bank that the table was made with; name it with "
                "--references."
            )

    @property
    def result_uri(self) -> str:
        """Where the last step leaves what it found."""
        return storage.join(self.work, "runs", f"{self.run}.json")


@dataclass(frozen=True)
class Findings:
    """What is found beside the review, as far as it was asked for.

    Attributes:
        bank_rows: rows of the bank; None if it is not known.
        positives: how many of them belong to candidates.
        fair: the evaluation without these.
        rivals: see ``comparison.compare_methods``.
        fairness: one of each attribute.
    """

    bank_rows: int | None = None
    positives: int = 0
    fair: Evaluation | None = None
    rivals: list[dict[str, Any]] = field(default_factory=list)
    fairness: tuple[Fairness, ...] = ()


@dataclass(frozen=True)
class _Wiring:
    """What the parts of the pipeline share.

    Attributes:
        config: what to evaluate.
        manifest: of the version.
        candidates: files.
        references: files; None if nobody knows the bank.
        bank: a single element; None likewise.
        shards: the candidates' embedded shards.
        queries: a single element.
        request: a single element.
    """

    config: EvaluationConfig
    manifest: Manifest
    candidates: EmbeddedFiles
    references: EmbeddedFiles | None
    bank: beam.PCollection[Bank] | None
    shards: beam.PCollection[EmbeddedShard]
    queries: beam.PCollection[StoredQueries]
    request: beam.PCollection[Request]


def define_evaluation(
    root: beam.Pipeline, config: EvaluationConfig, manifest: Manifest, encoder: EncoderSource | None
) -> beam.PCollection[str]:
    """Wire the evaluation; the single element is the URI of its result."""
    digest, prompts = encoder.fingerprint.digest if encoder else None, recorded_prompts(manifest.settings.encoder)
    asking = EmbeddingRequest(
        manifest.settings.reference_modality, config.query_columns, digest, config.work, prompts.reference
    )
    holding = EmbeddingRequest(
        manifest.settings.candidate_modality, config.candidate_columns, digest, config.work, prompts.candidate
    )
    use = ModelUse(config.threads)
    references = bank = None
    if config.references:
        loose = dataclasses.replace(asking, columns=config.reference_columns)
        references = embed_files(root, "references", config.references, loose, encoder, use=use)
        bank = references.embedded | "ShardReferences" >> _shard_references(config)
        bank = bank | "CheckBank" >> beam.Map(_check_bank, manifest, config)
    asked = embed_files(root, "queries", config.queries, asking, encoder, use=use)
    candidates = embed_files(root, "candidates", config.candidates, holding, encoder, use=use)
    queries = asked.embedded | "GatherQueries" >> GatherQueries(
        bank, config.relevance, config.allow_overlap, config.work
    )
    shards = candidates.embedded | "CandidateShards" >> beam.FlatMap(lambda result: embedded_shards([result]))
    means = shards | "LookUpMeans" >> beam.Map(look_up_means, config.table, config.version, config.work)
    request = root | "Request" >> Once(lambda: config.request)
    review = means | "ReviewBias" >> ReviewBias(queries, asked, candidates, request, config.threads)
    findings = root | "Findings" >> Once(Findings)
    wiring = _Wiring(config, manifest, candidates, references, bank, shards, queries, request)
    if bank is not None:
        findings = _look_for_positives(findings, wiring)
    if config.compare:
        compared = queries | "CompareRivals" >> CompareMethods(shards, bank, config.request.objective, config.threads)
        findings = findings | "AddRivals" >> beam.Map(_add, "rivals", AsSingleton(compared))
    if config.attributes:
        even = review | "CompareValues" >> CompareFairness(shards, queries, config.attributes)
        findings = findings | "AddFairness" >> beam.Map(_add, "fairness", AsSingleton(even))
    return review | "StoreResult" >> beam.Map(store_result, AsSingleton(findings), config, manifest)


def _shard_references(config: EvaluationConfig) -> ShardReferences:
    return ShardReferences(1 << 16, None, 1.0, storage.join(config.work, "rejects"), False)


def _check_bank(bank: Bank, manifest: Manifest, config: EvaluationConfig) -> Bank:
    if config.exclude_bank_positives:
        check_bank_of(bank, manifest.settings.bank_digest, config.table)
    return bank


def _look_for_positives(findings: beam.PCollection[Findings], wiring: _Wiring) -> beam.PCollection[Findings]:
    """Count the bank's rows that belong to candidates and, if asked to, judge means that were taken without them."""
    config = wiring.config
    positives = wiring.shards | "FindPositives" >> FindPositives(wiring.bank, config.work)
    number = wiring.bank | "CountPositives" >> CountPositives(positives)
    findings = findings | "AddPositives" >> beam.Map(_add_positives, AsSingleton(number), AsSingleton(wiring.bank))
    if not config.exclude_bank_positives:
        return findings
    fair = _judge_without(positives, number, wiring)
    return findings | "AddFair" >> beam.Map(_add, "fair", AsSingleton(fair))


def _judge_without(positives: Any, number: beam.PCollection[int], wiring: _Wiring) -> beam.PCollection[Evaluation]:
    config, settings = wiring.config, wiring.manifest.settings
    assert wiring.references is not None
    rest = (
        wiring.references.embedded
        | "ExcludePositives" >> ExcludePositives(positives, config.work)
        | "ShardRest" >> _shard_references(config)
        | "CheckRest" >> beam.Map(_check_rest, AsSingleton(number), max(settings.grid))
    )
    corpus = (
        wiring.candidates.embedded
        | "GatherCandidates" >> GatherCandidates(1.0, storage.join(config.work, "rejects"))
        | "OutlineCandidates" >> beam.Map(Corpus.outline)
    )
    exact = wiring.shards.pipeline | "NothingToCalibrate" >> Once(list)
    scorer = Scorer(max(settings.grid), settings.exclude_own_pairs, config.work, config.threads, "auto")
    merged = (
        wiring.shards
        | "ScoreWithout" >> ScoreCandidates(rest, corpus, exact, scorer)
        | "MergeWithout" >> MergePartials(rest, corpus, settings.grid, config.work)
    )
    return merged[MEANS] | "JudgeWithout" >> JudgeBias(wiring.queries, wiring.request, config.threads)


def _check_rest(bank: Bank, positives: int, k: int) -> Bank:
    check_rest(bank, k, positives)
    return bank


def _add(findings: Findings, name: str, value: Any) -> Findings:
    return dataclasses.replace(findings, **{name: value})


def _add_positives(findings: Findings, number: int, bank: Bank) -> Findings:
    return dataclasses.replace(findings, positives=number, bank_rows=bank.rows)


def look_up_means(shard: EmbeddedShard, table: str, version: int, work: str) -> ShardMeans:
    """The means of a shard's candidates, from the table.

    Raises:
        InputError: a candidate is not in the table.
    """
    loaded = _table(table, version)
    means = loaded.means_for(read_ids(shard).to_pylist())
    return store_means(shard, means, loaded.manifest.settings.grid, work)


@lru_cache(maxsize=1)
def _table(uri: str, version: int) -> BiasTable:
    return load_bias_table(uri, version)


def store_result(review: Review, findings: Findings, config: EvaluationConfig, manifest: Manifest) -> str:
    """Leave the result where the program looks for it."""
    evaluation, objective = review.evaluation, review.evaluation.objective
    own = None
    if findings.bank_rows is not None:
        fair = findings.fair.gain[objective] if findings.fair else None
        own = OwnPairs(
            findings.positives,
            findings.bank_rows,
            objective,
            evaluation.gain[objective],
            fair,
            unit_of(objective),
        )
    rivals = rivals_section(findings.rivals, objective) if findings.rivals else None
    report = evaluation_report(config.table, manifest, review, rivals, findings.fairness, own)
    record = {
        **dataclasses.asdict(evaluation),
        "candidates": review.candidates,
        "bank_positives": None if findings.bank_rows is None else findings.positives,
        "fair": dataclasses.asdict(findings.fair) if findings.fair else None,
        "rivals": findings.rivals,
        "report": json.loads(report.to_json()),
    }
    storage.create(config.result_uri, json.dumps(record).encode())
    return config.result_uri
