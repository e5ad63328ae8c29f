"""``nnn evaluate``: recall and hubness of a published table on held-out queries."""

from __future__ import annotations

import argparse
import dataclasses
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from nnn_core import storage
from nnn_core.encoders import EncoderSource
from nnn_core.errors import ConfigError, GateError, InputError
from nnn_core.evaluation.choice import OBJECTIVES
from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.summary import Evaluation, Request
from nnn_core.gates.facts import Facts
from nnn_core.gates.judge import check_accepted, judge, refusal
from nnn_core.gates.row_statistics import RowStatistics
from nnn_core.gates.thresholds import Thresholds
from nnn_core.redaction import refuse_credentials
from nnn_core.report import Report, render_text
from nnn_core.report.archive import read_report, write_report
from nnn_core.table.manifest import Manifest, commit_version, read_manifest
from nnn_core.table.parts import BiasSettings
from nnn_core.table.reading import draft_reweighted
from pipelines.commands._options import Output, build, command_line, encoder_of_table, make_parser, threads_of
from pipelines.commands._output import print_json
from pipelines.commands._parsing import parse_flags
from pipelines.commands._preflight import check_fields_of, check_files, check_new_report
from pipelines.commands._summary import signed, stages_of
from pipelines.commands._telling import Story, Telling, telling
from pipelines.config import MEASURED, EvaluationConfig
from pipelines.evaluation import define_evaluation
from pipelines.options import COLUMNS, Option
from pipelines.running.known_runners import runs_locally
from pipelines.running.runner import run


def _evaluate(
    config: EvaluationConfig, manifest: Manifest, encoder: EncoderSource | None, options: Any
) -> tuple[dict[str, Any], Report, dict[str, Any]]:
    """Run the job and read its result and report, and the figures of its stages.

    Raises:
        NNNError: whatever went wrong.
    """
    config = dataclasses.replace(config, run=f"run-{secrets.token_hex(8)}")
    storage.check_exclusive(config.work)
    done = run(options, lambda root: define_evaluation(root, config, manifest, encoder))
    result: dict[str, Any] = json.loads(storage.read_bytes(config.result_uri))
    report = Report.from_json(json.dumps(result.pop("report")).encode(), config.result_uri)
    sections = ("hubness", "hubs", "changes", "fairness")
    shown = {name: value for name, value in json.loads(report.to_json()).items() if name in sections}
    in_force = {"k": manifest.settings.k, "alpha": manifest.settings.alpha}
    known = {"table": config.table, "version": config.version, "in_force": in_force}
    return {**known, **result, **shown}, report, stages_of(done)


@dataclass(frozen=True)
class _Judgement:
    """Which point is judged, by what, and what becomes of the result.

    Attributes:
        objective: the measure that reports show first (default: %(default)s).
        k: one of the table's grid (default: the table's).
        alpha: weight of the mean in the bias (default: the table's).
        tune: choose k and alpha, and tell whether a gain is proven.
        publish: publish a version with the judged k and alpha if it passes the gates.
        gates: YAML file of limits, as for nnn refresh.
        accept: publish even if this gate fails; repeatable. The manifest records it.
        report: HTML report (default: a new one below WORK/reports).
        beside: also show the quality of an earlier report (.html or .json); repeatable.
    """

    objective: Annotated[str, Option(choices=OBJECTIVES)] = "recall@1"
    k: Annotated[int | None, Option()] = None
    alpha: Annotated[float | None, Option()] = None
    tune: Annotated[bool, Option()] = False
    publish: Annotated[bool, Option()] = False
    gates: Annotated[str | None, Option("FILE")] = None
    accept: Annotated[tuple[str, ...], Option("GATE")] = ()
    report: Annotated[str | None, Option("URI")] = None
    beside: Annotated[tuple[str, ...], Option("REPORT")] = ()


def _request_from(args: argparse.Namespace, manifest: Manifest) -> Request:
    settings = manifest.settings
    if args.tune:
        if args.k is not None or args.alpha is not None:
            raise ConfigError("--tune chooses k and alpha. Leave --k and --alpha out.")
        return Request(None, settings.grid, objective=args.objective)
    k = settings.k if args.k is None else args.k
    alpha = settings.alpha if args.alpha is None else args.alpha
    BiasSettings.check_alpha(alpha)
    if k not in settings.grid:
        raise InputError(
            f"--k {k} is not in the grid of version {manifest.version} of {args.table!r}. Choose one of "
            f"{', '.join(map(str, settings.grid))}."
        )
    return Request(Point(k, alpha), settings.grid, objective=args.objective)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, run, print."""
    parser = make_parser(
        "evaluate",
        "Rank all candidates for held-out queries, with and without the biases of a published table. Show "
        "recall and hubness with intervals.",
        (EvaluationConfig, _Judgement, Output, Telling),
        {MEASURED: None, COLUMNS: "Names of columns or JSON fields; --query-... and --reference-... for these."},
    )
    args, options = parse_flags(parser, argv)
    with telling("evaluate", args) as story:
        return _judge(args, options, story)


def _judge(args: argparse.Namespace, options: Any, story: Story) -> dict[str, Any]:
    """Evaluate what the flags name, print it, and publish it if that was asked for."""
    refuse_credentials(args.report or "", "--report")
    for uri in args.beside:
        refuse_credentials(uri, "--beside")
    check_new_report(args.report)
    check_accepted(args.accept)
    thresholds = Thresholds.read(args.gates)
    manifest = read_manifest(args.table, args.version)
    request, threads = _request_from(args, manifest), threads_of(args, runs_locally(options))
    config = build(EvaluationConfig, args, version=manifest.version, request=request, threads=threads)
    if runs_locally(options) or not storage.is_local(config.candidates):
        check_fields_of(config.candidates, "--candidates", config.candidate_columns, config.shown_columns)
    check_files(config, ("candidates", "queries", "references"), runs_locally(options))
    encoder = encoder_of_table(args.encoder, args.table, config.version, config.work)
    others = [read_report(uri) for uri in args.beside]
    result, report, stages = _evaluate(config, manifest, encoder, options)
    story.of(manifest, (), stages)
    if others:
        report = report.beside(others)
    if not args.publish:
        report = report.unpublished()
    report = signed(report, command_line("evaluate", config, build(_Judgement, args)))
    result["report"] = write_report(report, config.work, f"evaluation-{config.version:06d}", args.report)
    print(render_text(report))
    print(f"report       {result['report']}")
    if args.publish:
        published = _publish(config, result, thresholds, args.accept)
        story.of(published, map(dataclasses.asdict, published.gates), stages)
        result["published"] = published.version
        print(f"published    version {result['published']}")
        k, alpha = published.settings.k, published.settings.alpha
        print(
            f"             A refresh publishes its own k and alpha. To keep these, give it --k {k} --alpha {alpha:g}."
        )
    else:
        result["published"] = None
    print_json(args, result)
    return result


def _publish(
    config: EvaluationConfig, result: dict[str, Any], thresholds: Thresholds, accepted: Sequence[str]
) -> Manifest:
    """A version with the point that was judged; the manifest of the one that stands.

    Raises:
        GateError: it fails a gate that was not accepted.
    """
    evaluation = {each.name: result[each.name] for each in dataclasses.fields(Evaluation)}
    point, objective = Point(**result["point"]), result["objective"]
    gain = Interval(**result["gain"][objective])
    # Without a gain k stays: it says nothing beside alpha 0.
    k = point.k if point.alpha else None
    draft, current = draft_reweighted(config.table, k, point.alpha, config.version)
    if current.says_the_same(draft):
        # What is published already was accepted when it was new.
        accepted = (*accepted, *(gate.name for gate in current.gates if gate.accepted))
    rows = RowStatistics.of_version(config.table, draft, current)
    chosen = result["choice"] is not None
    facts = Facts(
        draft,
        current,
        rows,
        base=config.version,
        bits=tuple(result["bits"]),
        bank_agreement=result["agreement"],
        queries=result["queries"],
        alpha_chosen=chosen,
    )
    draft = dataclasses.replace(draft, evaluation=evaluation, gates=judge(facts, thresholds, accepted))
    if any(gate.blocks for gate in draft.gates):
        raise GateError(
            f"k = {point.k}, alpha = {point.alpha:g} {'lowers' if gain.value < 0 else 'raises'} {objective} by "
            f"{abs(gain.value):.4f} (95 % interval [{gain.low:+.4f}, {gain.high:+.4f}]). "
            f"{refusal(draft.gates, config.work)} Or choose with --tune. nnn table reweight publishes without "
            "this check.",
            [dataclasses.asdict(gate) for gate in draft.gates],
            result["report"],
        )
    return commit_version(config.table, draft)
