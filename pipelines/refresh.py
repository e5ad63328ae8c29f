"""The main job: from image and caption shards to a committed version of the bias table.

python -m pipelines.refresh --candidates GLOB --references GLOB --table URI --work URI ...
"""

from __future__ import annotations

import dataclasses
import sys
from importlib import import_module
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsList, AsSingleton

from nnn_core import storage
from nnn_core.embedded.corpus import Corpus, embedded_shards
from nnn_core.embedded.profile import SideSums
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import EncoderSource
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.queries import StoredQueries
from nnn_core.evaluation.summary import Request
from nnn_core.publishing import record_encoder
from nnn_core.report.refresh import Lineage
from nnn_core.report.review import Review
from nnn_core.scoring.bank import Bank, gather_references
from nnn_core.scoring.own_pairs import check_own_pairs
from nnn_core.scoring.partials import Scored
from nnn_core.scoring.scorer import Scorer
from nnn_core.scoring.search.calibration import CalibratedShard, measure_all
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.table.manifest import Manifest, SearchReport
from nnn_core.table.parts import BiasSettings, resolve_k
from pipelines.config import RefreshConfig
from pipelines.running.known_runners import is_portable
from pipelines.stages.calibrate_search import CalibrateSearch
from pipelines.stages.commit_bias_table import CommitBiasTable
from pipelines.stages.drop_references import DropReferences
from pipelines.stages.embed_files import embed_files
from pipelines.stages.gather_candidates import GatherCandidates
from pipelines.stages.judge_bias import CheckOverlap, GatherQueries
from pipelines.stages.measure_vectors import MeasureVectors
from pipelines.stages.merge_partials import MEANS, SCORED, TABLE_ROWS, MergePartials
from pipelines.stages.metrics import NAMESPACE
from pipelines.stages.once import Once
from pipelines.stages.review_bias import ReviewBias
from pipelines.stages.score_candidates import ScoreCandidates

#: Names of the metrics that are the numbers of candidates with references of their own, and of such references.
OWN_CANDIDATES, OWN_REFERENCES = "own_candidates", "own_references"


def define_refresh(
    root: beam.Pipeline, config: RefreshConfig, encoder: EncoderSource | None
) -> beam.PCollection[Manifest]:
    """Wire the whole job; its single element is the manifest of the committed version.

    Args:
        root: the pipeline to build on.
        config: what the refresh is to compute.
        encoder: the model, not loaded; None when all input holds vectors.
    """
    asking, holding, judging = config.requests(encoder)
    use: dict[str, Any] = {"threads": config.threads, "copies": config.model_copies, "hints": config.hints}
    use["beacon"] = config.beacon if is_portable(root.options) else None
    references = embed_files(root, "references", config.references, asking, encoder, **use)
    candidates = embed_files(root, "candidates", config.candidates, holding, encoder, **use)
    rates, rejects = config.reject_rates, config.rejects_folder
    queries, banked = None, references.embedded
    if config.validation:
        validation = embed_files(root, "validation", config.validation, judging, encoder, **use)
        queries = validation.embedded | "GatherQueries" >> GatherQueries(
            config.relevance, rates["validation"], "--validation", config.work, config.tune or bool(config.relevance)
        )
    if config.drop_overlap:  # which the configuration refuses where there are no queries
        banked = references.embedded | "DropOverlap" >> DropReferences(queries, config.work)
    bank = root | "ShardReferences" >> Once(_gather_references, AsList(banked), config)
    if config.exclude_own_pairs:
        bank = root | "CheckOwnPairs" >> Once(check_own_pairs, AsSingleton(bank), AsList(candidates.embedded))
    gathered = candidates.embedded | "GatherCandidates" >> GatherCandidates(rates["candidates"], rejects)
    corpus = gathered | "OutlineCandidates" >> beam.Map(Corpus.outline)
    how = (config.exclude_own_pairs, config.work, config.threads)
    calibrated = None
    if config.bias_tolerance is not None:
        calibrated = bank | "CalibrateSearch" >> CalibrateSearch(
            candidates.embedded, config.grid, config.bias_tolerance, *how, config.cache
        )
    scorer = Scorer(config.kept_scores, *how, config.search, config.cache, config.grid)
    keep_means = config.validation is not None
    merged = (
        candidates.embedded
        | "CandidateShards" >> beam.FlatMap(EmbeddedInput.located)
        | "ScoreCandidates" >> ScoreCandidates(bank, corpus, calibrated, scorer).with_resource_hints(**config.hints)
        | "MergePartials" >> MergePartials(bank, corpus, calibrated, scorer, keep_means)
    )
    sides = map(AsSingleton, (corpus, bank))
    recording = Once(record_encoder, encoder, config.prompts, config.work, config.modalities, *sides)
    recorded = root | "RecordEncoder" >> recording.with_resource_hints(**config.hints)
    scored = merged[SCORED] | "AllScored" >> beam.CombineGlobally(Scored.merged).without_defaults()
    settings = root | "ResolveSettings" >> Once(_resolve_settings, config, *map(AsSingleton, (bank, scored, recorded)))
    sums = (candidates.embedded, banked) | "MeasureVectors" >> MeasureVectors(config.work, bank, corpus)
    review = None
    if queries is not None:
        if config.drop_overlap:
            files = AsList(references.embedded), AsList(banked)
            queries = root | "CountDropped" >> Once(StoredQueries.left_out, AsSingleton(queries), *files)
        else:
            queries = queries | "CheckOverlap" >> CheckOverlap(bank, config.allow_overlap)
        request = settings | "Request" >> beam.Map(_request_of, config)
        centroid = sums | "Centroid" >> beam.Map(lambda known: known.references.centroid)
        review = merged[MEANS] | "ReviewBias" >> ReviewBias(
            queries, validation, candidates, request, centroid, config.threads
        )
        settings = settings | "TakeChoice" >> beam.Map(_take_choice, AsSingleton(review))
    sources = (*map(AsSingleton, (gathered, bank, sums, scored)), AsSingleton(calibrated) if calibrated else [])
    whole = AsList(references.embedded) if config.drop_overlap else []
    lineage = root | "DescribeLineage" >> Once(_describe_lineage, config, *sources, whole)
    return merged[TABLE_ROWS] | "CommitBiasTable" >> CommitBiasTable(
        table=config.table,
        work=config.work,
        report=config.report_uri,
        thresholds=config.thresholds,
        accepted=config.accept,
        settings=settings,
        lineage=lineage,
        review=review,
    )


def _gather_references(embedded: list[EmbeddedInput], config: RefreshConfig) -> Bank:
    """The bank, grouped as the previous version's was where that follows from the bank and still suits it."""
    before = Needs.of_current(config.table, config.work)
    return gather_references(
        embedded,
        config.rows_per_reference_shard,
        config.wanted_k,
        config.reject_rates["references"],
        config.rejects_folder,
        config.exclude_own_pairs,
        before.reference_shard_rows if before else None,
    )


def _resolve_settings(config: RefreshConfig, bank: Bank, scored: Scored, encoder: dict[str, str]) -> BiasSettings:
    """The settings of the biases, once the bank is known and scored.

    Args:
        config: what the refresh was asked for.
        bank: whose number of references limits the grid.
        scored: what scoring was like for all candidate shards.
        encoder: what a manifest says of it.

    Raises:
        BankTooSmallError: some candidate has fewer than k references.
    """
    for name, number in ((OWN_CANDIDATES, scored.own_pairs.candidates), (OWN_REFERENCES, scored.own_pairs.references)):
        Metrics.distribution(NAMESPACE, name).update(number)
    fitting = tuple(k for k in config.grid if k <= bank.rows)
    k, grid = resolve_k(config.wanted_k, fitting, scored.fewest_seen)
    return BiasSettings(
        k=k,
        alpha=config.alpha,
        grid=grid,
        candidate_modality=config.candidate_modality,
        reference_modality=config.bank_modality,
        exclude_own_pairs=config.exclude_own_pairs,
        encoder=encoder,
        bank_digest=bank.digest,
    )


def _describe_lineage(
    config: RefreshConfig,
    corpus: Corpus,
    bank: Bank,
    sums: SideSums,
    scored: Scored,
    calibrated: list[CalibratedShard],
    whole: list[EmbeddedInput],
) -> Lineage:
    """What the table was computed from, and how.

    Args:
        config: what the refresh was asked for.
        corpus: all candidates, as a whole.
        bank: all reference queries, as a whole.
        sums: of the vectors of both sides.
        scored: what scoring was like for all candidate shards.
        calibrated: how each reference shard was searched; empty for exact searches.
        whole: the bank's files before rows were left out, which the next refresh needs too; empty if none were.
    """
    error = measure_all(calibrated, config.grid) if calibrated else None
    search = SearchReport(tuple(sorted(scored.searches)), config.bias_tolerance, error)
    names = {storage.basename(part.uri) for part in (*bank.parts, *embedded_shards(whole))}
    names.update(name for name, _ in corpus.shards)
    needs = Needs(
        embedded=tuple(sorted(names)),
        candidates=tuple(digest for _, digest in corpus.shards),
        references=tuple(shard.digest for shard in bank.shards),
        searches={bank.shards[each.number].digest: each.digest for each in calibrated},
        k_max=config.kept_scores,
        kept=tuple(sorted(scored.kept)),
        grid=tuple(k for k in config.grid if k <= bank.rows),
        exclude_own_pairs=config.exclude_own_pairs,
        bank=tuple((storage.basename(part.uri), part.digest, part.rows, part.vector_digest) for part in bank.parts),
        reference_shard_rows=bank.grouping.rows if bank.grouping.chosen else None,
    )
    return Lineage(corpus, bank, sums, search, needs)


def _request_of(settings: BiasSettings, config: RefreshConfig) -> Request:
    """What validation queries are asked: to choose k and alpha, or to judge the ones of the settings."""
    point = None if config.tune else Point(settings.k, settings.alpha)
    return Request(point, settings.grid, objective=config.objective)


def _take_choice(settings: BiasSettings, review: Review) -> BiasSettings:
    """The settings with the k and alpha that were chosen, if they were; without a gain k stays and alpha is 0."""
    if review.evaluation.choice is None:
        return settings
    point = review.evaluation.point
    return dataclasses.replace(settings, k=point.k if point.alpha else settings.k, alpha=point.alpha)


if __name__ == "__main__":
    # Only as a program: nothing below this room imports the commands.
    sys.exit(import_module("pipelines.commands.cli").main(["refresh", *sys.argv[1:]]))
