"""The main job: from image and caption shards to a committed version of the bias table.

python -m pipelines.refresh --candidates GLOB --references GLOB --table URI --work URI ...
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import secrets
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsSingleton

from nnn_core import storage
from nnn_core.corpus import Corpus, Outcome, located_shards
from nnn_core.costs import read_rates
from nnn_core.embedding import EmbeddingRequest
from nnn_core.encoders import EncoderSource
from nnn_core.errors import ConfigError, GateError, StorageError
from nnn_core.evaluation.means import ShardMeans
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.summary import Request
from nnn_core.gates.comparison import near_copies_message
from nnn_core.keys import positional_keys_message
from nnn_core.lifecycle.cleaning import Needs
from nnn_core.manifest import Manifest, SearchReport, Side, manifest_uri, prepare_table, read_manifest
from nnn_core.partials import Scored, merge_scored
from nnn_core.parts import BiasSettings
from nnn_core.profile import SideSums
from nnn_core.references import Bank
from nnn_core.report import Report, render_text
from nnn_core.report.files import write_report
from nnn_core.report.review import Review
from nnn_core.report.sections import Stage
from nnn_core.search.calibration import CalibratedShard, measure_all
from pipelines.calibrate_search import CalibrateSearch
from pipelines.commit_bias_table import NEAR_COPIES, VERSION_METRIC, CommitBiasTable, Lineage, Standard
from pipelines.compare_plan import Foretold, compare, describe_comparison, foretell
from pipelines.config import RefreshConfig, add_refresh_arguments, config_from
from pipelines.embed_shards import ModelUse
from pipelines.encoder_flags import encoder_from
from pipelines.gather import POSITIONAL_KEYS, GatherCandidates, GatherOutcomes, ShardReferences
from pipelines.judge_bias import GatherQueries
from pipelines.measure_vectors import MeasureVectors
from pipelines.merge_partials import MEANS, SCORED, TABLE_ROWS, MergePartials
from pipelines.metrics import (
    COMPUTED,
    MSEC,
    PAIRS,
    PARTS,
    PEAK_BYTES,
    READ,
    REJECTED,
    REUSED,
    ROWS,
    SHUFFLED,
    TRUNCATED,
    WRITTEN,
)
from pipelines.once import Once
from pipelines.record_encoder import RecordEncoder
from pipelines.resolve_settings import ResolveSettings
from pipelines.review_bias import EmbeddedFiles, ReviewBias, embed_files
from pipelines.runner import RunResult, local_workers, parse_flags, run
from pipelines.score_candidates import ScoreCandidates, Scorer
from pipelines.throughput import describe_models, speed_of

#: What is said of a stage's artefacts, where it was counted.
_HELD = (ROWS, REJECTED, READ, PAIRS, TRUNCATED, WRITTEN, SHUFFLED)

STAGES = (
    "embed_candidates",
    "embed_references",
    "calibrate_search",
    "measure_vectors",
    "score_candidates",
    "merge_partials",
    "embed_validation",
    "judge_bias",
    "write_table",
)


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
    outcomes = (
        candidates.embedded | "CandidateOutcomes" >> GatherOutcomes(),
        references.embedded | "ReferenceOutcomes" >> GatherOutcomes(),
    )
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
    recorded = outcomes | "RecordEncoder" >> RecordEncoder(
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
        *map(AsSingleton, outcomes),
    )
    standard = Standard(config.thresholds, config.accepted, config.work, config.report_uri)
    return merged[TABLE_ROWS] | "CommitBiasTable" >> CommitBiasTable(config.table, settings, standard, lineage, review)


def _calibrate(
    config: RefreshConfig, bank: beam.PCollection[tuple[Bank, Side]], candidates: EmbeddedFiles
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
    bank: tuple[Bank, Side],
    sums: SideSums,
    scored: Scored,
    calibrated: list[CalibratedShard],
    config: RefreshConfig,
    candidates: Outcome,
    references: Outcome,
) -> Lineage:
    """What the table was computed from, and how."""
    search = report_search(scored, calibrated, config)
    parts = [storage.basename(part.uri) for shard in bank[0].shards for part in shard.parts]
    needs = Needs(
        embedded=tuple(sorted({*parts, *(name for name, _ in corpus.shards)})),
        candidates=tuple(digest for _, digest in corpus.shards),
        references=tuple(shard.digest for shard in bank[0].shards),
        searches={bank[0].shards[each.number].digest: each.digest for each in calibrated},
        k_max=config.kept_scores,
        exclude_own_pairs=config.exclude_own_pairs,
    )
    origins = len(candidates.precomputed | references.precomputed)
    rejected = (("candidates", candidates.rejects), ("references", references.rejects))
    return Lineage(corpus, bank[1], sums, origins, search, needs, rejected)


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
    bank: beam.PCollection[tuple[Bank, Side]]
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


def refresh(
    config: RefreshConfig, encoder: EncoderSource | None, options: PipelineOptions
) -> tuple[Manifest, dict[str, Any]]:
    """Run the job, write its report and sum up what it did.

    Args:
        config: what to compute.
        encoder: the model, not loaded; None when all input holds vectors.
        options: Beam's.

    Returns:
        The manifest of the table's version, and the run's summary; its ``report`` is the URI of the page.

    Raises:
        GateError: the version was refused; the report says why.
        NNNError: whatever went wrong; nothing was published.
    """
    config = dataclasses.replace(config, run=f"run-{secrets.token_hex(8)}")
    storage.check_exclusive(config.work)
    if config.report and storage.exists(config.report):
        raise StorageError(f"--report {config.report!r} is there already and was left as it is; name a new file.")
    prepare_table(config.table)
    try:
        result = run(options, lambda root: define_refresh(root, config, encoder))
    except GateError as error:
        report = Report.from_json(storage.read_bytes(config.report_uri), config.report_uri)
        page = write_report(report, config.work, "refused", config.report)
        raise GateError(f"{error}\nThe report is {page}") from None
    # Some runners lose metrics of the last steps; the version is then the current one.
    manifest = read_manifest(config.table, result.distributions.get(VERSION_METRIC))
    summary = summarise(config, manifest, result)
    for warning in summary["warnings"]:
        logging.getLogger("nnn").warning(warning)
    report = _complete(Report.from_json(storage.read_bytes(config.report_uri), config.report_uri), summary)
    summary["text"] = render_text(report)
    try:
        summary["report"] = write_report(report, config.work, f"version-{manifest.version:06d}", config.report)
    except StorageError as error:  # the version stands, so the job has done what it was asked for
        summary["report"] = None
        logging.getLogger("nnn").warning("the report could not be written: %s", error)
    return manifest, summary


def _complete(report: Report, summary: dict[str, Any]) -> Report:
    """The report with what the stages cost."""
    stages = tuple(_stage(name, figures) for name, figures in summary["stages"].items())
    return dataclasses.replace(report, stages=stages, run=dataclasses.replace(report.run, seconds=summary["seconds"]))


def _stage(name: str, figures: dict[str, Any]) -> Stage:
    return Stage(
        name,
        figures["seconds"],
        figures["computed"],
        figures["reused"],
        rows=figures.get(ROWS, 0),
        pairs=figures.get(PAIRS, 0),
        read=figures.get(READ, 0),
        written=figures.get(WRITTEN, 0),
        parts=tuple((part, figures[f"{part}_seconds"]) for part in PARTS if f"{part}_seconds" in figures),
    )


def summarise(config: RefreshConfig, manifest: Manifest, result: RunResult) -> dict[str, Any]:
    """The run's summary, ready for JSON."""
    stages = {stage: result.counters[stage] for stage in STAGES if stage in result.counters}
    return {
        "version": manifest.version,
        "manifest": manifest_uri(config.table, manifest.version),
        "table": config.table,
        "k": manifest.settings.k,
        "alpha": manifest.settings.alpha,
        "rows": manifest.rows,
        "dim": manifest.dim,
        "references": manifest.references.rows,
        "rejected": manifest.candidates.rejected + manifest.references.rejected,
        "search": dataclasses.asdict(manifest.search),
        "evaluation": manifest.evaluation,
        "gates": [dataclasses.asdict(gate) for gate in manifest.gates],
        "stages": {
            stage: {
                "computed": counters.get(COMPUTED, 0),
                "reused": counters.get(REUSED, 0),
                "seconds": counters.get(MSEC, 0) / 1000,
                **{name: counters[name] for name in _HELD if name in counters},
                **{f"{part}_seconds": counters[name] / 1000 for part, name in PARTS.items() if name in counters},
                **speed_of(counters),
            }
            for stage, counters in stages.items()
        },
        "warnings": list(_warnings(config, manifest, result)),
        "seconds": round(result.seconds, 3),
        PEAK_BYTES: result.distributions.get(PEAK_BYTES, 0),
    }


def _warnings(config: RefreshConfig, manifest: Manifest, result: RunResult) -> Iterator[str]:
    if positional := result.distributions.get(POSITIONAL_KEYS, 0):
        yield positional_keys_message(positional, config.candidates)
    if copies := result.distributions.get(NEAR_COPIES, 0):
        yield near_copies_message(copies, manifest.rows, config.exclude_own_pairs)


def without_text(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary for programs."""
    return {name: value for name, value in summary.items() if name != "text"}


def print_summary(summary: dict[str, Any]) -> None:
    """The summary for a person: the text of the report, and where the page and the table are."""
    print(summary["text"])
    for line in describe_models(summary["stages"]):
        print(line)
    if summary["search"]["error"]:
        print(f"search       {_describe_error(summary['search']['error'])}")
    print(f"bias table   {summary['manifest']}")
    print(f"report       {summary['report']}")


def _describe_error(error: dict[str, float]) -> str:
    return (
        f"error of a mean: {error['mean']:.1e} on average, {error['p99']:.1e} at the 99th percentile, "
        f"{error['max']:.1e} at most, rank correlation {error['rank_correlation']:.5f} "
        f"({error['candidates']:,} candidates measured)"
    )


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``nnn refresh``."""
    parser = argparse.ArgumentParser(
        prog="nnn refresh",
        description="Compute the bias of every candidate against a bank of reference queries, and publish it as "
        "a new version of the bias table. Finished work is kept under --work: the same command continues after a "
        "crash, and a later refresh computes only what changed.",
        epilog="Any Apache Beam option may follow, e.g. --runner=DataflowRunner --project=P --region=R "
        "--temp_location=gs://B/tmp, or --direct_running_mode=multi_processing --direct_num_workers=4. Without "
        "--runner, and with --runner=DirectRunner, the job runs in this process.",
        allow_abbrev=False,
    )
    add_refresh_arguments(parser)
    parser.add_argument("--with-plan", action="store_true", help="plan first, and compare with what was done")
    parser.add_argument(
        "--rates",
        metavar="FILE",
        help="for --with-plan: YAML of worker types and prices",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, run, print."""
    args, options = parse_flags(build_parser(), argv)
    encoder = encoder_from(args)
    config = config_from(args, local_workers(options))
    foretold = _foretell(args, config, encoder)
    _, summary = refresh(config, encoder, options)
    print_summary(summary)
    if foretold is not None:
        summary["plan"] = compare(foretold, summary, local_workers(options))
        print("\n".join(describe_comparison(summary["plan"], foretold.rates)))
    if args.json:
        print(json.dumps(without_text(summary)))
    return summary


def _foretell(args: argparse.Namespace, config: RefreshConfig, encoder: EncoderSource | None) -> Foretold | None:
    """The plan, if it is asked for."""
    if not args.with_plan:
        if args.rates:
            raise ConfigError("--rates is what a plan is priced by; add --with-plan, or run nnn plan with these flags.")
        return None
    return foretell(config, encoder, read_rates(args.rates))


if __name__ == "__main__":
    from pipelines.cli import run_command

    sys.exit(run_command(main, sys.argv[1:]))
