"""The main job: from image and caption shards to a committed version of the bias table.

python -m pipelines.refresh --candidates GLOB --references GLOB --table URI --work URI ...
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsList, AsSingleton

from nnn_core.embedded.corpus import Corpus
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import EncoderSource
from nnn_core.evaluation.queries import StoredQueries
from nnn_core.publishing import record_encoder
from nnn_core.scoring.bank import Bank
from nnn_core.scoring.own_pairs import check_own_pairs
from nnn_core.scoring.partials import Scored
from nnn_core.scoring.scorer import Scorer
from nnn_core.scoring.search.calibration import CalibratedShard
from nnn_core.table.manifest import Manifest
from pipelines.config import RefreshConfig
from pipelines.running.known_runners import is_portable
from pipelines.settling import describe_lineage, gather_bank, request_of, resolve_settings, take_choice
from pipelines.stages.calibrate_search import CalibrateSearch
from pipelines.stages.commit_bias_table import CommitBiasTable
from pipelines.stages.drop_references import DropReferences
from pipelines.stages.embed_files import embed_files
from pipelines.stages.gather_candidates import GatherCandidates
from pipelines.stages.judge_bias import CheckOverlap, GatherQueries
from pipelines.stages.measure_vectors import MeasureVectors
from pipelines.stages.merge_partials import MEANS, SCORED, TABLE_ROWS, MergePartials
from pipelines.stages.once import Once
from pipelines.stages.review_bias import ReviewBias
from pipelines.stages.score_candidates import ScoreCandidates


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
        answered = config.tune or bool(config.relevance)
        gathering = GatherQueries(config.relevance, rates["validation"], "--validation", config.work, answered)
        queries = validation.embedded | "GatherQueries" >> gathering
    if config.drop_overlap:  # which the configuration refuses where there are no queries
        banked = references.embedded | "DropOverlap" >> DropReferences(queries, config.work)
    bank = root | "ShardReferences" >> Once(gather_bank, AsList(banked), config)
    if config.exclude_own_pairs:
        bank = root | "CheckOwnPairs" >> Once(check_own_pairs, AsSingleton(bank), AsList(candidates.embedded))
    gathered = candidates.embedded | "GatherCandidates" >> GatherCandidates(rates["candidates"], rejects)
    corpus = gathered | "OutlineCandidates" >> beam.Map(Corpus.outline)
    calibrated, merged = _score(candidates.embedded, bank, corpus, config)
    whose = (encoder, config.prompts, config.work, config.modalities)
    recording = Once(record_encoder, *whose, *map(AsSingleton, (corpus, bank)))
    recorded = root | "RecordEncoder" >> recording.with_resource_hints(**config.hints)
    scored = merged[SCORED] | "AllScored" >> beam.CombineGlobally(Scored.merged).without_defaults()
    settings = root | "ResolveSettings" >> Once(resolve_settings, config, *map(AsSingleton, (bank, scored, recorded)))
    sums = (candidates.embedded, banked) | "MeasureVectors" >> MeasureVectors(config.work, bank, corpus)
    review = None
    if queries is not None:
        queries = _without_overlap(queries, references.embedded, banked, bank, config)
        request = settings | "Request" >> beam.Map(request_of, config)
        centroid = sums | "Centroid" >> beam.Map(lambda known: known.references.centroid)
        reviewing = ReviewBias(queries, validation, candidates, request, centroid, config.threads)
        review = merged[MEANS] | "ReviewBias" >> reviewing
        settings = settings | "TakeChoice" >> beam.Map(take_choice, AsSingleton(review))
    sources = (*map(AsSingleton, (gathered, bank, sums, scored)), AsSingleton(calibrated) if calibrated else [])
    whole = AsList(references.embedded) if config.drop_overlap else []
    lineage = root | "DescribeLineage" >> Once(describe_lineage, config, *sources, whole)
    return merged[TABLE_ROWS] | "CommitBiasTable" >> CommitBiasTable(
        table=config.table,
        work=config.work,
        report=config.report_uri,
        thresholds=config.thresholds,
        accepted=config.accept,
        candidates=candidates.embedded | "LocateCandidates" >> beam.FlatMap(EmbeddedInput.located),
        bank=bank,
        settings=settings,
        lineage=lineage,
        review=review,
    )


def _score(
    candidates: beam.PCollection[EmbeddedInput],
    bank: beam.PCollection[Bank],
    corpus: beam.PCollection[Corpus],
    config: RefreshConfig,
) -> tuple[beam.PCollection[CalibratedShard] | None, Any]:
    """How each reference shard is searched, None for exact searches; and what was merged of all scores, by output."""
    how = (config.exclude_own_pairs, config.work, config.threads)
    calibrated = None
    if config.bias_tolerance is not None:
        calibrating = CalibrateSearch(candidates, config.grid, config.bias_tolerance, *how, config.cache)
        calibrated = bank | "CalibrateSearch" >> calibrating
    scorer = Scorer(config.kept_scores, *how, config.search, config.cache, config.grid)
    merged = (
        candidates
        | "CandidateShards" >> beam.FlatMap(EmbeddedInput.located)
        | "ScoreCandidates" >> ScoreCandidates(bank, corpus, calibrated, scorer).with_resource_hints(**config.hints)
        | "MergePartials" >> MergePartials(bank, corpus, calibrated, scorer, bool(config.validation))
    )
    return calibrated, merged


def _without_overlap(
    queries: beam.PCollection[StoredQueries],
    references: beam.PCollection[EmbeddedInput],
    banked: beam.PCollection[EmbeddedInput],
    bank: beam.PCollection[Bank],
    config: RefreshConfig,
) -> beam.PCollection[StoredQueries]:
    """The queries, with what was left out of the bank because of them, or after a look at what both hold."""
    if config.drop_overlap:
        files = AsList(references), AsList(banked)
        return queries.pipeline | "CountDropped" >> Once(StoredQueries.left_out, AsSingleton(queries), *files)
    return queries | "CheckOverlap" >> CheckOverlap(bank, config.allow_overlap)


if __name__ == "__main__":
    # Only as a program: nothing below this room imports the commands.
    sys.exit(import_module("pipelines.commands.cli").main(["refresh", *sys.argv[1:]]))
