"""The pipeline of ``nnn evaluate``: from files of held-out queries to one stored result."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsList, AsSingleton

from nnn_core import storage
from nnn_core.embedded.corpus import Corpus
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard
from nnn_core.encoders import EncoderSource
from nnn_core.encoders.generations import digest_of
from nnn_core.encoders.prompts import Prompts
from nnn_core.evaluation.coverage import Coverage
from nnn_core.evaluation.means import ShardMeans
from nnn_core.evaluation.own_pairs import check_bank_of, check_rest
from nnn_core.report.findings import Findings, evaluation_record
from nnn_core.report.review import Review
from nnn_core.scoring.bank import Bank, Sides
from nnn_core.scoring.scorer import Scorer
from nnn_core.table.manifest import Manifest
from pipelines.config import EvaluationConfig
from pipelines.stages.compare_corrections import CompareCorrections, CompareFairness
from pipelines.stages.drop_references import DropReferences, FindOwnPairs
from pipelines.stages.embed_files import Files, embed_files
from pipelines.stages.judge_bias import CheckOverlap, GatherQueries, JudgeBias
from pipelines.stages.merge_partials import MEANS, MergePartials
from pipelines.stages.once import Once
from pipelines.stages.review_bias import ReviewBias
from pipelines.stages.score_candidates import ScoreCandidates


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
    files = [Files("queries", config.queries, asking), Files("candidates", config.candidates, holding)]
    if config.references:
        loose = dataclasses.replace(asking, columns=config.reference_columns)
        files.append(Files("references", config.references, loose))
    embedded = embed_files(root, files, encoder, threads=config.threads)
    asked, candidates = embedded.of("queries"), embedded.of("candidates")
    shards = candidates.embedded | "CandidateShards" >> beam.FlatMap(lambda embedded: embedded.shards)
    bank, found = None, dict[str, Any]()
    if config.references:
        references = embedded.of("references")
        bank = root | "ShardReferences" >> Once(_gather_bank, AsList(references.embedded), config, manifest)
        own_pairs, found["own_pairs"] = shards | "FindOwnPairs" >> FindOwnPairs(bank, config.work)
        found["bank_rows"] = bank | "BankRows" >> beam.Map(lambda known: known.rows)
        found["bank_rejects"] = bank | "BankRejects" >> beam.Map(lambda known: known.outcome.rejects)
    queries = asked.embedded | "GatherQueries" >> GatherQueries(
        candidates.embedded, config.relevance, config.max_reject_rate, "--queries", config.work
    )
    if bank is not None:
        queries = queries | "CheckOverlap" >> CheckOverlap(bank, config.allow_overlap)
    held = AsList(candidates.embedded)
    coverage = root | "CheckCandidates" >> Once(Coverage.of, held, manifest, config.table, config.subset)
    means = shards | "LookUpMeans" >> beam.Map(_look_up, AsSingleton(coverage), config)
    request = root | "Request" >> Once(lambda: config.request)
    centroid = root | "Centroid" >> Once(lambda: manifest.references.centroid)
    reviewing = ReviewBias(queries, asked, candidates, request, centroid, config.threads, config.shown_columns)
    review = means | "ReviewBias" >> reviewing
    if config.drop_own_pairs:  # which the configuration refuses where there are no references
        left = references.embedded | "DropOwnPairs" >> DropReferences(own_pairs, config.work)
        known = AsSingleton(found["own_pairs"])
        gathering = Once(_gather_rest, AsList(left), held, known, config, max(manifest.settings.grid))
        fair = _score_rest(root | "GatherRest" >> gathering, config, manifest, embedded.embedded)
        found["fair"] = fair | "JudgeRest" >> JudgeBias(queries, request, config.threads)
    if config.compare:
        compare = CompareCorrections(shards, bank, config.request.objective, config.threads)
        found["rivals"] = queries | "CompareRivals" >> compare
    if config.attributes:
        found["fairness"] = review | "CompareValues" >> CompareFairness(shards, queries, config.attributes)
    found["coverage"] = coverage
    findings = root | "Findings" >> Once(_findings, tuple(found), *map(AsSingleton, found.values()))
    return review | "StoreResult" >> beam.Map(_store_result, AsSingleton(findings), config, manifest)


def _requests(
    config: EvaluationConfig, manifest: Manifest, encoder: EncoderSource | None
) -> tuple[EmbeddingRequest, EmbeddingRequest]:
    """How the files of queries are read and encoded, and those of candidates."""
    settings, work = manifest.settings, config.work
    asked, held = (digest_of(encoder, each) for each in (settings.reference_modality, settings.candidate_modality))
    prompts = Prompts.recorded(settings.encoder)
    return (
        EmbeddingRequest(settings.reference_modality, config.query_columns, asked, work, prompts.reference),
        EmbeddingRequest(settings.candidate_modality, config.candidate_columns, held, work, prompts.candidate),
    )


def _gather_bank(inputs: list[EmbeddedInput], config: EvaluationConfig, manifest: Manifest) -> Bank:
    bank = Bank.gather(inputs, 1 << 16, None, 1.0, config.rejects_folder, False)
    if config.drop_own_pairs:
        check_bank_of(bank, manifest.settings.bank_digest, config.table)
    if bank.digest != manifest.settings.bank_digest:  # what was rejected of the table's own was allowed
        bank.outcome.rejects.check_rate(config.max_reject_rate, "--references", config.rejects_folder)
    return bank


def _look_up(shard: EmbeddedShard, coverage: Coverage, config: EvaluationConfig) -> ShardMeans:
    """Only once the candidates are known to be the table's."""
    return ShardMeans.look_up(shard, config.table, config.version, config.work)


def _gather_rest(
    references: list[EmbeddedInput],
    candidates: list[EmbeddedInput],
    own_pairs: int,
    config: EvaluationConfig,
    k: int,
) -> Sides:
    rest = Bank.gather(references, 1 << 16, None, 1.0, config.rejects_folder, False)
    check_rest(rest, k, own_pairs)
    return Sides(rest, Corpus.gather(candidates, 1.0, config.rejects_folder).outline())


def _score_rest(
    rest: beam.PCollection[Sides],
    config: EvaluationConfig,
    manifest: Manifest,
    files: beam.PCollection[tuple[str, EmbeddedInput]],
) -> beam.PCollection[ShardMeans]:
    """The means of all candidate shards, computed anew with the bank without its own pairs."""
    settings = manifest.settings
    how = (settings.exclude_own_pairs, config.work, config.threads, "auto")
    scorer = Scorer(max(settings.grid), *how, grid=settings.grid)
    scored = files | "ScoreRest" >> ScoreCandidates(rest, None, scorer)
    return (scored | "MergeRest" >> MergePartials(rest, None, scorer, keep_means=True))[MEANS]


def _findings(names: tuple[str, ...], *values: Any) -> Findings:
    return Findings(**dict(zip(names, values, strict=True)))


def _store_result(review: Review, findings: Findings, config: EvaluationConfig, manifest: Manifest) -> str:
    """Leave the result where the program looks for it."""
    record = evaluation_record(config.table, manifest, review, findings)
    storage.create(config.result_uri, json.dumps(record).encode())
    return config.result_uri
