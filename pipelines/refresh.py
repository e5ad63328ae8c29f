"""The main job: from image and caption shards to a committed version of the bias table.

python -m pipelines.refresh --candidates GLOB --references GLOB --table URI --work URI ...
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsList, AsSingleton

from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import EncoderSource
from nnn_core.evaluation.queries import StoredQueries
from nnn_core.scoring.scorer import Scorer
from nnn_core.scoring.search.calibration import CalibratedShard
from nnn_core.table.manifest import Manifest
from pipelines._settling import Gathered, describe_lineage, gather_sides, request_of, settle_basis, take_choice
from pipelines.config import RefreshConfig
from pipelines.running.known_runners import is_portable
from pipelines.stages.calibrate_search import CalibrateSearch
from pipelines.stages.commit_bias_table import CommitBiasTable
from pipelines.stages.drop_references import DropReferences
from pipelines.stages.embed_files import EmbeddedFiles, Files, embed_files
from pipelines.stages.judge_bias import CheckOverlap, GatherQueries
from pipelines.stages.merge_partials import MEANS, SCORED, TABLE_ROWS, MergePartials
from pipelines.stages.metrics import StageName
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
    sides = [Files("references", config.references, asking), Files("candidates", config.candidates, holding)]
    if config.validation:
        sides.append(Files("validation", config.validation, judging))
    use: dict[str, Any] = {"threads": config.threads, "copies": config.model_copies, "hints": config.hints}
    use["beacon"] = config.beacon if is_portable(root.options) else None
    files = embed_files(root, sides, encoder, **use)
    queries, banked = _ask(files, config) if config.validation else (None, None)
    whole = AsList(files.embedded), AsList(banked) if banked else None
    gathered = root | "GatherSides" >> Once(gather_sides, config, *whole)
    outline = gathered | "Outline" >> beam.Map(Gathered.outline)
    calibrated, merged = _score(files, outline, config)
    # An output among several is no side input by itself: one runner would hand over the others too.
    totals = merged[SCORED] | "Totals" >> beam.Map(lambda total: total)
    settling = Once(settle_basis, config, encoder, AsSingleton(outline), AsIter(totals))
    basis = root | "SettleBasis" >> settling.with_resource_hints(**config.hints)
    review = None
    if queries is not None:
        queries = _without_overlap(queries, files, banked, outline, config)
        request = basis | "Request" >> beam.Map(request_of, config)
        centroid = outline | "Centroid" >> beam.Map(lambda known: known.reference_sum.centroid)
        both = files.of("validation"), files.of("candidates")
        reviewing = ReviewBias(queries, *both, request, centroid, config.threads, config.shown_columns)
        review = merged[MEANS] | "ReviewBias" >> reviewing
        basis = basis | "TakeChoice" >> beam.Map(take_choice, AsSingleton(review))
    found = (AsSingleton(basis), AsSingleton(calibrated) if calibrated else [])
    return merged[TABLE_ROWS] | "CommitBiasTable" >> CommitBiasTable(
        table=config.table,
        work=config.work,
        report=config.report_uri,
        thresholds=config.thresholds,
        accepted=config.accept,
        candidates=files.embedded,
        request=holding,
        bank=files.embedded if banked is None else banked | "Banked" >> beam.Map(_of_bank),
        basis=basis,
        lineage=Once(describe_lineage, config, AsSingleton(gathered), *found),
        review=review,
        show=config.shown_columns,
    )


def _of_bank(embedded: EmbeddedInput) -> tuple[str, EmbeddedInput]:
    return StageName.EMBED_REFERENCES.value, embedded


def _ask(
    files: EmbeddedFiles, config: RefreshConfig
) -> tuple[beam.PCollection[StoredQueries], beam.PCollection[EmbeddedInput] | None]:
    """The queries that judge, and the bank without them if they are left out of it."""
    rate, answered = config.reject_rates["validation"], config.tune or bool(config.relevance)
    candidates = files.of("candidates").embedded
    gathering = GatherQueries(candidates, config.relevance, rate, "--validation", config.work, answered)
    queries = files.of("validation").embedded | "GatherQueries" >> gathering
    if not config.drop_overlap:
        return queries, None
    return queries, files.of("references").embedded | "DropOverlap" >> DropReferences(queries, config.work)


def _score(
    files: EmbeddedFiles, outline: beam.PCollection[Gathered], config: RefreshConfig
) -> tuple[beam.PCollection[CalibratedShard] | None, Any]:
    """How each reference shard is searched, None for exact searches; and what was merged of all scores, by output."""
    how = (config.exclude_own_pairs, config.work, config.threads)
    calibrated = None
    if config.bias_tolerance is not None:
        candidates = files.of("candidates").embedded
        calibrating = CalibrateSearch(candidates, config.grid, config.bias_tolerance, *how, config.cache)
        calibrated = outline | "CalibrateSearch" >> calibrating
    scorer = Scorer(config.kept_scores, *how, config.search, config.cache, config.grid)
    merged = (
        files.embedded
        | "ScoreCandidates" >> ScoreCandidates(outline, calibrated, scorer).with_resource_hints(**config.hints)
        | "MergePartials" >> MergePartials(outline, calibrated, scorer, bool(config.validation))
    )
    return calibrated, merged


def _without_overlap(
    queries: beam.PCollection[StoredQueries],
    files: EmbeddedFiles,
    banked: beam.PCollection[EmbeddedInput] | None,
    outline: beam.PCollection[Gathered],
    config: RefreshConfig,
) -> beam.PCollection[StoredQueries]:
    """The queries, with what was left out of the bank because of them, or after a look at what both hold."""
    if banked is not None:
        before_and_after = AsList(files.of("references").embedded), AsList(banked)
        return queries.pipeline | "CountDropped" >> Once(
            StoredQueries.left_out, AsSingleton(queries), *before_and_after
        )
    bank = outline | "Bank" >> beam.Map(lambda known: known.bank)
    return queries | "CheckOverlap" >> CheckOverlap(bank, config.allow_overlap)


if __name__ == "__main__":
    # Only as a program: nothing below this room imports the commands.
    sys.argv.insert(1, "refresh")
    sys.exit(import_module("pipelines.commands.cli").main())
