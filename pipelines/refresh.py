"""The main job: from image and caption shards to a committed version of the bias table.

python -m pipelines.refresh --candidates GLOB --references GLOB --table URI --work URI ...
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from nnn_core import storage
from nnn_core.corpus import embedded_shards
from nnn_core.embedding import EmbeddingRequest
from nnn_core.encoders import PRECOMPUTED, EncoderSource, parse_encoder
from nnn_core.evaluation.means import ShardMeans
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.summary import Evaluation, Request
from nnn_core.evaluation.text import describe_evaluation
from nnn_core.gates.judge import Evidence
from nnn_core.keys import positional_keys_message
from nnn_core.manifest import Manifest, SearchReport, Side, manifest_uri, prepare_table, read_manifest
from nnn_core.parts import BiasSettings
from nnn_core.references import Bank
from nnn_core.search.calibration import CalibratedShard, measure_all
from pipelines.calibrate_search import CalibrateSearch
from pipelines.commit_bias_table import VERSION_METRIC, CommitBiasTable, Judged, Standard
from pipelines.config import RefreshConfig, add_refresh_arguments, config_from
from pipelines.embed_shards import EmbedShards
from pipelines.gather import POSITIONAL_KEYS, GatherCandidates, ShardReferences
from pipelines.judge_bias import GatherQueries, JudgeBias
from pipelines.list_shards import ListShards
from pipelines.measure_vectors import MeasureVectors
from pipelines.merge_partials import MEANS, ROWS, SCORED, MergePartials, Scored
from pipelines.metrics import COMPUTED, MSEC, REUSED
from pipelines.resolve_settings import ResolveSettings
from pipelines.runner import RunResult, local_workers, parse_flags, run
from pipelines.score_candidates import ScoreCandidates, Scorer

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
    root: beam.Pipeline,
    config: RefreshConfig,
    encoder: EncoderSource | None,
    evidence: beam.PCollection[Evidence] | None = None,
) -> beam.PCollection[Manifest]:
    """Wire the whole job.

    Args:
        root: the pipeline to build on.
        config: what to compute.
        encoder: the model, not loaded; None when all input holds vectors.
        evidence: what queries tell the gates, a single element; None where there are no queries.

    Returns:
        A single element, the manifest of the committed version.
    """
    reference_request, candidate_request = _requests(config, encoder)
    embedded_references = (
        root
        | "ListReferences" >> ListShards(config.references, "--references")
        | "EmbedReferences" >> EmbedShards(reference_request, encoder, "embed_references")
    )
    bank = embedded_references | "ShardReferences" >> ShardReferences(
        config.rows_per_reference_shard,
        config.wanted_k,
        config.max_reject_rate,
        config.rejects_folder,
        config.exclude_own_pairs,
    )
    embedded = (
        root
        | "ListCandidates" >> ListShards(config.candidates, "--candidates")
        | "EmbedCandidates" >> EmbedShards(candidate_request, encoder, "embed_candidates")
    )
    corpus = embedded | "GatherCandidates" >> GatherCandidates(config.max_reject_rate, config.rejects_folder)
    if config.bias_tolerance is None:
        calibrated = root | "NothingToCalibrate" >> beam.Create([[]])
    else:
        calibrated = bank | "CalibrateSearch" >> CalibrateSearch(
            embedded,
            config.grid,
            config.bias_tolerance,
            config.exclude_own_pairs,
            config.work,
            config.threads,
            config.cache,
        )
    scorer = Scorer(
        config.kept_scores, config.exclude_own_pairs, config.work, config.threads, config.search, config.cache
    )
    merged = (
        embedded
        | "CandidateShards" >> beam.FlatMap(lambda result: embedded_shards([result]))
        | "ScoreCandidates" >> ScoreCandidates(bank, corpus, calibrated, scorer)
        | "MergePartials" >> MergePartials(bank, corpus, config.grid, config.work if config.validation else None)
    )
    search = (
        merged[SCORED]
        | "AllScored" >> beam.combiners.ToList()
        | "ReportSearch" >> beam.Map(report_search, beam.pvalue.AsSingleton(calibrated), config)
    )
    origins = (
        (embedded_references, embedded)
        | "BothSides" >> beam.Flatten()
        | "Origin" >> beam.Map(lambda result: frozenset({result.precomputed}))
        | "Origins" >> beam.CombineGlobally(lambda sets: frozenset().union(*sets))
    )
    make_settings = partial(_settings, config, dataclasses.asdict(encoder.fingerprint) if encoder else {})
    settings = (
        merged[SCORED]
        | "FewestSeenOfShards" >> beam.Map(lambda scored: scored.fewest_seen)
        | "ResolveSettings" >> ResolveSettings(config.wanted_k, config.grid, make_settings, bank, origins)
    )
    sums = (embedded, embedded_references) | "MeasureVectors" >> MeasureVectors(config.work, bank, corpus)
    if evidence is None:
        evidence = root | "NoEvidence" >> beam.Create([Evidence()])
    judged = evidence | "NoQueries" >> beam.Map(Judged)
    if config.validation:
        evaluation = merged[MEANS] | "JudgeValidation" >> JudgeValidation(config, encoder, settings, bank)
        chosen = beam.pvalue.AsSingleton(evaluation)
        settings = settings | "TakeChoice" >> beam.Map(take_choice, chosen)
        judged = evidence | "WithQueries" >> beam.Map(with_queries, chosen)
    standard = Standard(config.thresholds, config.accept, config.work)
    return merged[ROWS] | "CommitBiasTable" >> CommitBiasTable(
        config.table, settings, standard, bank, corpus, sums, search, origins, judged
    )


@dataclasses.dataclass
class JudgeValidation(beam.PTransform):  # type: ignore[misc]
    """The means of all candidate shards to what the biases do to the validation queries, a single ``Evaluation``.

    Attributes:
        config: names the queries.
        encoder: as for the bank.
        settings: the table's, as far as they are known before a choice; a single element.
        bank: a single element.
    """

    config: RefreshConfig
    encoder: EncoderSource | None
    settings: beam.PCollection[BiasSettings]
    bank: beam.PCollection[tuple[Bank, Side]]

    def expand(self, means: beam.PCollection[ShardMeans]) -> beam.PCollection[Evaluation]:
        config = self.config
        asked = dataclasses.replace(_requests(config, self.encoder)[0], columns=config.validation_columns)
        queries = (
            means.pipeline
            | "ListValidation" >> ListShards(config.validation, "--validation")
            | "EmbedValidation" >> EmbedShards(asked, self.encoder, "embed_validation")
            | "GatherQueries" >> GatherQueries(self.bank, config.relevance, config.allow_overlap, config.work)
        )
        request = self.settings | "Request" >> beam.Map(self.request)
        return means | "JudgeBias" >> JudgeBias(queries, request, config.threads)

    def request(self, settings: BiasSettings) -> Request:
        """To choose, or to judge what was asked for."""
        point = None if self.config.tune else Point(settings.k, settings.alpha)
        return Request(point, settings.grid, objective=self.config.objective)


def take_choice(settings: BiasSettings, evaluation: Evaluation) -> BiasSettings:
    """The settings with the k and alpha that were chosen, if they were; without a gain k stays and alpha is 0."""
    if evaluation.choice is None:
        return settings
    point = evaluation.point
    return dataclasses.replace(settings, k=point.k if point.alpha else settings.k, alpha=point.alpha)


def with_queries(evidence: Evidence, evaluation: Evaluation) -> Judged:
    """What the gates and the manifest are told of the validation queries."""
    told = dataclasses.replace(
        evidence, gain=evaluation.gain[evaluation.objective], alpha_chosen=evaluation.choice is not None
    )
    return Judged(told, json.loads(json.dumps(dataclasses.asdict(evaluation))))


def report_search(scored: list[Scored], calibrated: list[CalibratedShard], config: RefreshConfig) -> SearchReport:
    """How the scores of all candidate shards were found, and how wrong they may be."""
    methods = tuple(sorted(frozenset().union(*(each.methods for each in scored))))
    error = measure_all(calibrated, config.grid) if calibrated else None
    return SearchReport(methods, config.bias_tolerance, error)


def _requests(config: RefreshConfig, encoder: EncoderSource | None) -> tuple[EmbeddingRequest, EmbeddingRequest]:
    digest = encoder.fingerprint.digest if encoder else None
    return (
        EmbeddingRequest(config.reference_modality, config.reference_columns, digest, config.work),
        EmbeddingRequest(config.candidate_modality, config.candidate_columns, digest, config.work),
    )


def _settings(
    config: RefreshConfig, encoder: dict[str, str], k: int, grid: tuple[int, ...], bank_digest: str, precomputed: bool
) -> BiasSettings:
    """The table's settings; an encoder that no shard needed is not what the table is valid for."""
    return BiasSettings(
        k=k,
        alpha=config.alpha,
        grid=grid,
        candidate_modality=config.candidate_modality,
        reference_modality=config.reference_modality,
        exclude_own_pairs=config.exclude_own_pairs,
        encoder={"kind": PRECOMPUTED} if precomputed else encoder,
        bank_digest=bank_digest,
    )


def refresh(
    config: RefreshConfig, encoder: EncoderSource | None, options: PipelineOptions, evidence: Evidence | None = None
) -> tuple[Manifest, dict[str, Any]]:
    """Run the job and sum up what it did.

    Args:
        config: what to compute.
        encoder: the model, not loaded; None when all input holds vectors.
        options: Beam's.
        evidence: what queries have told, for the gates.

    Returns:
        The manifest of the table's version, and the run's summary.

    Raises:
        NNNError: whatever went wrong; nothing was published.
    """
    storage.check_exclusive(config.work)
    prepare_table(config.table)

    def define(root: beam.Pipeline) -> None:
        told = root | "Evidence" >> beam.Create([evidence or Evidence()])
        define_refresh(root, config, encoder, told)

    result = run(options, define)
    # Some runners lose metrics of the last steps; the version is then the current one.
    manifest = read_manifest(config.table, result.distributions.get(VERSION_METRIC))
    summary = summarise(config, manifest, result)
    for warning in summary["warnings"]:
        logging.getLogger("nnn").warning(warning)
    return manifest, summary


def summarise(config: RefreshConfig, manifest: Manifest, result: RunResult) -> dict[str, Any]:
    """The run's summary, ready for JSON."""
    positional = result.distributions.get(POSITIONAL_KEYS, 0)
    stages = {stage: result.counters[stage] for stage in STAGES if stage in result.counters}
    return {
        "version": manifest.version,
        "manifest": manifest_uri(config.table, manifest.version),
        "table": config.table,
        "k": manifest.settings.k,
        "alpha": manifest.settings.alpha,
        "rows": manifest.rows,
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
            }
            for stage, counters in stages.items()
        },
        "warnings": [positional_keys_message(positional, config.candidates)] if positional else [],
        "seconds": round(result.seconds, 3),
    }


def print_summary(summary: dict[str, Any]) -> None:
    """The summary for a person, on standard error's sister: standard output stays for the result."""
    print(f"bias table   {summary['manifest']}")
    print(
        f"             version {summary['version']}: {summary['rows']:,} candidates, "
        f"k = {summary['k']}, alpha = {summary['alpha']:g}"
    )
    print(f"bank         {summary['references']:,} reference queries; {summary['rejected']:,} rows rejected")
    print(f"search       {', '.join(summary['search']['methods'])}{_describe_error(summary['search']['error'])}")
    if summary["evaluation"]:
        print("\n".join(describe_evaluation(summary["evaluation"])))
    print_gates(summary["gates"])
    print(f"{'stage':<18}{'computed':>10}{'reused':>10}{'work seconds':>14}")
    for stage, figures in summary["stages"].items():
        print(f"{stage:<18}{figures['computed']:>10,}{figures['reused']:>10,}{figures['seconds']:>14.1f}")
    print(f"finished in {summary['seconds']:.1f} s")


def print_gates(gates: list[dict[str, Any]]) -> None:
    """The gates that were measured as a table; those that were skipped by their number."""
    if not gates:
        return
    print(f"{'gate':<22}{'value':>12}{'threshold':>12}  verdict")
    for gate in gates:
        if gate["verdict"] != "skipped":
            verdict = "accepted, though it fails" if gate["accepted"] else gate["verdict"]
            print(f"{gate['name']:<22}{gate['value']:>12.4g}{gate['threshold']:>12.4g}  {verdict}")
    reasons = Counter(gate["sentence"] for gate in gates if gate["verdict"] == "skipped")
    for reason, number in sorted(reasons.items()):
        print(f"{number} skipped: {reason}")


def _describe_error(error: dict[str, float] | None) -> str:
    if error is None:
        return ""
    return (
        f"; error of a mean: {error['mean']:.1e} on average, {error['p99']:.1e} at the 99th percentile, "
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
    return parser


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, run, print."""
    args, options = parse_flags(build_parser(), argv)
    encoder = parse_encoder(args.encoder) if args.encoder else None
    config = config_from(args, local_workers(options))
    _, summary = refresh(config, encoder, options)
    print_summary(summary)
    if args.json:
        print(json.dumps(summary))
    return summary


if __name__ == "__main__":
    from pipelines.cli import run_command

    sys.exit(run_command(main, sys.argv[1:]))
