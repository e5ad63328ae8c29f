"""The main job: from image and caption shards to a committed version of the bias table.

python -m pipelines.refresh --candidates GLOB --references GLOB --table URI --work URI ...
"""

from __future__ import annotations

import dataclasses
import sys
from functools import partial
from importlib import import_module

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from nnn_core import storage
from nnn_core.embedded.corpus import Corpus, located_shards
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.profile import SideSums
from nnn_core.encoders import EncoderSource
from nnn_core.evaluation.means import ShardMeans
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.summary import Request
from nnn_core.report.review import Review
from nnn_core.scoring.bank import Bank
from nnn_core.scoring.partials import Scored, merge_scored
from nnn_core.scoring.search.calibration import CalibratedShard, measure_all
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.table.manifest import Manifest, SearchReport
from nnn_core.table.parts import BiasSettings
from pipelines.config import RefreshConfig
from pipelines.stages.calibrate_search import CalibrateSearch
from pipelines.stages.commit_bias_table import CommitBiasTable, Lineage, Standard
from pipelines.stages.embed_files import EmbeddedFiles, embed_files
from pipelines.stages.embed_shards import ModelUse
from pipelines.stages.gather import GatherCandidates, ShardReferences
from pipelines.stages.judge_bias import GatherQueries
from pipelines.stages.measure_vectors import MeasureVectors
from pipelines.stages.merge_partials import MEANS, SCORED, TABLE_ROWS, MergePartials
from pipelines.stages.once import Once
from pipelines.stages.record_encoder import RecordEncoder
from pipelines.stages.resolve_settings import ResolveSettings
from pipelines.stages.review_bias import ReviewBias
from pipelines.stages.score_candidates import ScoreCandidates, Scorer


def define_refresh(
    root: beam.Pipeline, config: RefreshConfig, encoder: EncoderSource | None
) -> beam.PCollection[Manifest]:
    """Wire the whole job.

    Args:
        root: the pipeline to build on.
        config: what to compute.
        encoder: the model, not loaded; None when all input holds vectors.

    Returns:
        A single element, the manifest of the committed version.
    """
    asking, holding = _requests(config, encoder)
    use = ModelUse(config.threads, config.model_copies)
    references = embed_files(root, "references", config.references, asking, encoder, config.hints, use)
    candidates = embed_files(root, "candidates", config.candidates, holding, encoder, config.hints, use)
    bank = references.embedded | "ShardReferences" >> ShardReferences(
        config.rows_per_reference_shard,
        config.wanted_k,
        config.max_reject_rate,
        config.rejects_folder,
        config.exclude_own_pairs,
    )
    gathered = candidates.embedded | "GatherCandidates" >> GatherCandidates(
        config.max_reject_rate, config.rejects_folder
    )
    corpus = gathered | "OutlineCandidates" >> beam.Map(Corpus.outline)
    calibrated = _calibrate(config, bank, candidates)
    scorer = Scorer(
        config.kept_scores, config.exclude_own_pairs, config.work, config.threads, config.search, config.cache
    )
    merged = (
        candidates.embedded
        | "CandidateShards" >> beam.FlatMap(located_shards)
        | "ScoreCandidates" >> ScoreCandidates(bank, corpus, calibrated, scorer).with_resource_hints(**config.hints)
        | "MergePartials" >> MergePartials(bank, corpus, config.grid, config.work if config.validation else None)
    )
    recorded = (corpus, bank) | "RecordEncoder" >> RecordEncoder(
        encoder, config.prompts, config.modalities, config.work, config.hints
    )
    scored = merged[SCORED] | "AllScored" >> beam.CombineGlobally(merge_scored).without_defaults()
    settings = bank | "ResolveSettings" >> ResolveSettings(
        config.wanted_k, config.grid, partial(_settings, config), scored, recorded
    )
    review = None
    if config.validation:
        asked = dataclasses.replace(asking, columns=config.validation_columns)
        validation = embed_files(root, "validation", config.validation, asked, encoder, config.hints, use)
        review = merged[MEANS] | "ReviewValidation" >> ReviewValidation(config, settings, bank, validation, candidates)
        settings = settings | "TakeChoice" >> beam.Map(take_choice, AsSingleton(review))
    sums = (candidates.embedded, references.embedded) | "MeasureVectors" >> MeasureVectors(config.work, bank, corpus)
    lineage = root | "DescribeLineage" >> Once(
        describe_lineage,
        AsSingleton(gathered),
        AsSingleton(bank),
        AsSingleton(sums),
        AsSingleton(scored),
        AsSingleton(calibrated),
        config,
    )
    standard = Standard(config.thresholds, config.accept, config.work, config.report_uri)
    return merged[TABLE_ROWS] | "CommitBiasTable" >> CommitBiasTable(config.table, settings, standard, lineage, review)


def _calibrate(
    config: RefreshConfig, bank: beam.PCollection[Bank], candidates: EmbeddedFiles
) -> beam.PCollection[list[CalibratedShard]]:
    """How each reference shard is searched, a single element; an empty list for exact searches."""
    if config.bias_tolerance is None:
        return bank.pipeline | "NothingToCalibrate" >> Once(list)
    return bank | "CalibrateSearch" >> CalibrateSearch(
        candidates.embedded,
        config.grid,
        config.bias_tolerance,
        config.exclude_own_pairs,
        config.work,
        config.threads,
        config.cache,
    )


def describe_lineage(
    corpus: Corpus,
    bank: Bank,
    sums: SideSums,
    scored: Scored,
    calibrated: list[CalibratedShard],
    config: RefreshConfig,
) -> Lineage:
    """What the table was computed from, and how."""
    search = report_search(scored, calibrated, config)
    parts = [storage.basename(part.uri) for part in bank.parts]
    needs = Needs(
        embedded=tuple(sorted({*parts, *(name for name, _ in corpus.shards)})),
        candidates=tuple(digest for _, digest in corpus.shards),
        references=tuple(shard.digest for shard in bank.shards),
        searches={bank.shards[each.number].digest: each.digest for each in calibrated},
        k_max=config.kept_scores,
        exclude_own_pairs=config.exclude_own_pairs,
    )
    rejected = (("candidates", corpus.outcome.rejects), ("references", bank.outcome.rejects))
    return Lineage(corpus, bank.side, sums, search, needs, rejected)


@dataclasses.dataclass
class ReviewValidation(beam.PTransform):  # type: ignore[misc]
    """The means of all candidate shards to what the biases do to the validation queries, a single ``Review``.

    Attributes:
        config: what to judge by.
        settings: the table's, as far as they are known before a choice; a single element.
        bank: a single element.
        validation: the files of the queries.
        candidates: the files of the candidates.
    """

    config: RefreshConfig
    settings: beam.PCollection[BiasSettings]
    bank: beam.PCollection[Bank]
    validation: EmbeddedFiles
    candidates: EmbeddedFiles

    def expand(self, means: beam.PCollection[ShardMeans]) -> beam.PCollection[Review]:
        config = self.config
        queries = self.validation.embedded | "GatherQueries" >> GatherQueries(
            self.bank, config.relevance, config.allow_overlap, config.work
        )
        request = self.settings | "Request" >> beam.Map(self.request)
        return means | "ReviewBias" >> ReviewBias(queries, self.validation, self.candidates, request, config.threads)

    def request(self, settings: BiasSettings) -> Request:
        """To choose, or to judge what was asked for."""
        point = None if self.config.tune else Point(settings.k, settings.alpha)
        return Request(point, settings.grid, objective=self.config.objective)


def take_choice(settings: BiasSettings, review: Review) -> BiasSettings:
    """The settings with the k and alpha that were chosen, if they were; without a gain k stays and alpha is 0."""
    if review.evaluation.choice is None:
        return settings
    point = review.evaluation.point
    return dataclasses.replace(settings, k=point.k if point.alpha else settings.k, alpha=point.alpha)


def report_search(scored: Scored, calibrated: list[CalibratedShard], config: RefreshConfig) -> SearchReport:
    """How the scores of all candidate shards were found, and how wrong they may be."""
    error = measure_all(calibrated, config.grid) if calibrated else None
    return SearchReport(tuple(sorted(scored.methods)), config.bias_tolerance, error)


def _requests(config: RefreshConfig, encoder: EncoderSource | None) -> tuple[EmbeddingRequest, EmbeddingRequest]:
    digest = encoder.fingerprint.digest if encoder else None
    return (
        EmbeddingRequest(config.bank_modality, config.reference_columns, digest, config.work, config.prompts.reference),
        EmbeddingRequest(
            config.candidate_modality, config.candidate_columns, digest, config.work, config.prompts.candidate
        ),
    )


def _settings(
    config: RefreshConfig, k: int, grid: tuple[int, ...], bank_digest: str, encoder: dict[str, str]
) -> BiasSettings:
    return BiasSettings(
        k=k,
        alpha=config.alpha,
        grid=grid,
        candidate_modality=config.candidate_modality,
        reference_modality=config.bank_modality,
        exclude_own_pairs=config.exclude_own_pairs,
        encoder=encoder,
        bank_digest=bank_digest,
    )


if __name__ == "__main__":
    # Only as a program: nothing below this room imports the commands.
    sys.exit(import_module("pipelines.commands.cli").main(["refresh", *sys.argv[1:]]))
