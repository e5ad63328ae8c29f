"""The pipeline of ``nnn evaluate``: from files of held-out queries to one stored result."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated, Any

import apache_beam as beam
import pydantic.dataclasses
from apache_beam.pvalue import AsList, AsSingleton

from nnn_core import storage
from nnn_core.embedded.corpus import Corpus
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard
from nnn_core.encoders import EncoderSource
from nnn_core.encoders.prompts import recorded_prompts
from nnn_core.errors import ConfigError
from nnn_core.evaluation.means import ShardMeans, look_up_means
from nnn_core.evaluation.positives import check_bank_of, check_rest
from nnn_core.evaluation.summary import Request
from nnn_core.redaction import refuse_credentials
from nnn_core.report.findings import Findings, evaluation_record
from nnn_core.report.review import Review
from nnn_core.scoring.bank import Bank, gather_references
from nnn_core.table.manifest import Manifest
from pipelines.options import CHECKED, Option, QueryColumnOptions, ReferenceColumnOptions
from pipelines.stages.compare_methods import CompareFairness, CompareMethods
from pipelines.stages.embed_files import embed_files
from pipelines.stages.exclude_positives import ExcludePositives, FindPositives
from pipelines.stages.gather_candidates import GatherCandidates
from pipelines.stages.judge_bias import GatherQueries, JudgeBias
from pipelines.stages.merge_partials import MEANS, MergePartials
from pipelines.stages.once import Once
from pipelines.stages.review_bias import ReviewBias
from pipelines.stages.score_candidates import ScoreCandidates, Scorer

#: Heading of --help.
MEASURED = "more to measure"


@pydantic.dataclasses.dataclass(frozen=True, config=CHECKED)
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
    request: Request
    references: Annotated[str | None, Option("GLOB")] = None
    relevance: Annotated[str | None, Option("GLOB")] = None
    allow_overlap: Annotated[bool, Option(switch=True)] = False
    encoder: Annotated[str | None, Option("SPEC")] = None
    threads: Annotated[int, Option("N", filled=True)] = 1
    exclude_bank_positives: Annotated[bool, Option(group=MEASURED)] = False
    compare: Annotated[bool, Option(group=MEASURED)] = False
    attributes: Annotated[str | None, Option("GLOB", MEASURED)] = None
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


def define_evaluation(
    root: beam.Pipeline, config: EvaluationConfig, manifest: Manifest, encoder: EncoderSource | None
) -> beam.PCollection[str]:
    """Wire the evaluation; the single element is the URI of its result.

    Args:
        root: the pipeline to build on.
        config: what the evaluation was asked for.
        manifest: manifest of the version that is evaluated.
        encoder: the model, not loaded; None when all input holds vectors.
    """
    asking, holding = _requests(config, manifest, encoder)
    asked = embed_files(root, "queries", config.queries, asking, encoder, config.threads)
    candidates = embed_files(root, "candidates", config.candidates, holding, encoder, config.threads)
    shards = candidates.embedded | "CandidateShards" >> beam.FlatMap(lambda embedded: embedded.shards)
    bank, found = None, {}
    if config.references:
        loose = dataclasses.replace(asking, columns=config.reference_columns)
        references = embed_files(root, "references", config.references, loose, encoder, config.threads)
        bank = root | "ShardReferences" >> Once(_gather_bank, AsList(references.embedded), config)
        bank = bank | "CheckBank" >> beam.Map(_check_bank, manifest, config)
        positives, found["positives"] = shards | "FindPositives" >> FindPositives(bank, config.work)
        found["bank_rows"] = bank | "BankRows" >> beam.Map(lambda known: known.rows)
    queries = asked.embedded | "GatherQueries" >> GatherQueries(
        bank, config.relevance, config.allow_overlap, config.work
    )
    means = shards | "LookUpMeans" >> beam.Map(look_up_means, config.table, config.version, config.work)
    request = root | "Request" >> Once(lambda: config.request)
    review = means | "ReviewBias" >> ReviewBias(queries, asked, candidates, request, config.threads)
    if config.exclude_bank_positives:  # which the configuration refuses where there are no references
        left = references.embedded | "ExcludePositives" >> ExcludePositives(positives, config.work)
        rest = root | "ShardRest" >> Once(_gather_bank, AsList(left), config)
        rest = rest | "CheckRest" >> beam.Map(_check_rest, AsSingleton(found["positives"]), max(manifest.settings.grid))
        fair = rest | "ScoreRest" >> _ScoreRest(config, manifest, candidates.embedded, shards)
        found["fair"] = fair | "JudgeRest" >> JudgeBias(queries, request, config.threads)
    if config.compare:
        compare = CompareMethods(shards, bank, config.request.objective, config.threads)
        found["rivals"] = queries | "CompareRivals" >> compare
    if config.attributes:
        found["fairness"] = review | "CompareValues" >> CompareFairness(shards, queries, config.attributes)
    findings = root | "Findings" >> Once(_findings, tuple(found), *map(AsSingleton, found.values()))
    return review | "StoreResult" >> beam.Map(_store_result, AsSingleton(findings), config, manifest)


def _requests(
    config: EvaluationConfig, manifest: Manifest, encoder: EncoderSource | None
) -> tuple[EmbeddingRequest, EmbeddingRequest]:
    """How the files of queries are read and encoded, and those of candidates."""
    digest, settings = encoder.fingerprint.digest if encoder else None, manifest.settings
    prompts, work = recorded_prompts(settings.encoder), config.work
    return (
        EmbeddingRequest(settings.reference_modality, config.query_columns, digest, work, prompts.reference),
        EmbeddingRequest(settings.candidate_modality, config.candidate_columns, digest, work, prompts.candidate),
    )


def _gather_bank(inputs: list[EmbeddedInput], config: EvaluationConfig) -> Bank:
    return gather_references(inputs, 1 << 16, None, 1.0, storage.join(config.work, "rejects"), False)


def _check_bank(bank: Bank, manifest: Manifest, config: EvaluationConfig) -> Bank:
    if config.exclude_bank_positives:
        check_bank_of(bank, manifest.settings.bank_digest, config.table)
    return bank


def _check_rest(bank: Bank, positives: int, k: int) -> Bank:
    check_rest(bank, k, positives)
    return bank


@dataclass
class _ScoreRest(beam.PTransform):  # type: ignore[misc]
    """The bank without its positives to the means of all candidate shards, computed anew.

    Attributes:
        config: what the evaluation was asked for.
        manifest: manifest of the version that is evaluated.
        candidates: the files of the candidates, embedded.
        shards: the embedded shards in these files.
    """

    config: EvaluationConfig
    manifest: Manifest
    candidates: beam.PCollection[EmbeddedInput]
    shards: beam.PCollection[EmbeddedShard]

    def expand(self, rest: beam.PCollection[Bank]) -> beam.PCollection[ShardMeans]:
        config, settings = self.config, self.manifest.settings
        corpus = (
            self.candidates
            | "GatherCandidates" >> GatherCandidates(1.0, storage.join(config.work, "rejects"))
            | "OutlineCandidates" >> beam.Map(Corpus.outline)
        )
        exact = rest.pipeline | "NothingToCalibrate" >> Once(list)
        scorer = Scorer(max(settings.grid), settings.exclude_own_pairs, config.work, config.threads, "auto")
        merged = (
            self.shards
            | "ScoreCandidates" >> ScoreCandidates(rest, corpus, exact, scorer)
            | "MergePartials" >> MergePartials(rest, corpus, settings.grid, config.work)
        )
        return merged[MEANS]


def _findings(names: tuple[str, ...], *values: Any) -> Findings:
    return Findings(**dict(zip(names, values, strict=True)))


def _store_result(review: Review, findings: Findings, config: EvaluationConfig, manifest: Manifest) -> str:
    """Leave the result where the program looks for it."""
    record = evaluation_record(config.table, manifest, review, findings)
    storage.create(config.result_uri, json.dumps(record).encode())
    return config.result_uri
