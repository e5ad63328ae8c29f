"""nnn refresh: run the job, write its report and sum up what it did."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from nnn_core import storage
from nnn_core.encoders import EncoderSource
from nnn_core.encoders.generations import settle
from nnn_core.errors import NOTHING_PUBLISHED, ConfigError, GateError, NNNError, StorageError
from nnn_core.planning.preflight import Head
from nnn_core.planning.written import Artefacts, Done
from nnn_core.report import Report, render_text
from nnn_core.report.archive import write_report
from nnn_core.table.lifecycle.leases import leased
from nnn_core.table.manifest import Manifest, prepare_table, read_manifest
from pipelines.commands._compare_plan import compare, describe_comparison
from pipelines.commands._foretold import Foretold
from pipelines.commands._options import command_line
from pipelines.commands._output import print_json
from pipelines.commands._parsing import parse_flags
from pipelines.commands._plan import show_plan
from pipelines.commands._preflight import SIDES, check_files, check_new_report, describe_head, look_ahead, record_of
from pipelines.commands._refresh_flags import build_parser, config_from
from pipelines.commands._standing import outcome_of, standing_of, sum_up
from pipelines.commands._summary import complete, print_summary, recounted, signed, summarise, without_text
from pipelines.commands._telling import Story, telling
from pipelines.config import RefreshConfig
from pipelines.refresh import define_refresh
from pipelines.running.known_runners import is_portable, runs_locally
from pipelines.running.runner import Watch, run
from pipelines.stages.commit_bias_table import VERSION_METRIC


def refresh(
    config: RefreshConfig, encoder: EncoderSource | None, options: PipelineOptions, heads: Sequence[Head] = ()
) -> tuple[Manifest, dict[str, Any]]:
    """Run the job, write its report and sum up what it did.

    Args:
        config: what to compute, and where to store it.
        encoder: the model, not loaded; None when all input holds vectors.
        options: Beam's pipeline options, such as the runner.
        heads: the beginnings of the input, for examples in warnings.

    Returns:
        The manifest of the table's version, and the run's summary; its ``report`` is the URI of the page.

    Raises:
        GateError: the version was refused; the report says why.
        NNNError: whatever went wrong; nothing was published.
    """
    start = time.monotonic()
    named = config.report and config.report.replace("{date}", f"{datetime.now(UTC):%Y-%m-%d}")
    config = dataclasses.replace(config, run=f"run-{secrets.token_hex(8)}", report=named)
    storage.check_exclusive(config.work)
    check_new_report(config.report)
    prepare_table(config.table)
    before = Artefacts.of(config.work) if is_portable(options) else None
    if encoder is not None:
        encoder = settle(encoder, config.work, config.modalities)
    standing = standing_of(config, encoder) if runs_locally(options) else None
    queries = standing.queries() if standing else []
    if standing and (found := standing.find()):
        return found[0], sum_up(config, *found, time.monotonic() - start, heads)
    try:
        watch = Watch(config.work, config.beacon, config.worker_start_timeout)
        with leased(config.work, config.run):
            result = run(options, lambda root: define_refresh(root, config, encoder), watch)
    except GateError as error:
        told = Report.from_json(storage.read_bytes(config.report_uri), config.report_uri)
        report = signed(told, command_line("refresh", config))
        page = write_report(report, config.work, "refused", config.report, latest=True)
        gates = [dataclasses.asdict(gate) for gate in report.gates]
        raise GateError(f"{error}\nThe report is {page}", gates, page) from None
    # Some runners lose metrics of the last steps; the version is then the current one.
    manifest = read_manifest(config.table, result.distributions.get(VERSION_METRIC))
    if before is not None:
        new = Artefacts.of(config.work).since(before)
        result = recounted(result, Done.by(manifest, config.work, config.kept_scores, new))
    summary = summarise(config, manifest, result, heads)
    for warning in summary["warnings"]:
        logging.getLogger("nnn").warning(warning)
    told = Report.from_json(storage.read_bytes(config.report_uri), config.report_uri)
    if standing:
        try:
            standing.keep(manifest, outcome_of(result, told), queries)
        except NNNError as error:  # the version stands; without this the next refresh looks at all there is
            logging.getLogger("nnn").warning("the result of the refresh could not be stored: %s", _cause(error))
    report = signed(complete(told, summary), command_line("refresh", config))
    summary["text"] = render_text(report)
    try:
        name = f"version-{manifest.version:06d}"
        summary["report"] = write_report(report, config.work, name, config.report, latest=True)
    except StorageError as error:  # the version stands, so the job has done what it was asked for
        summary["report"] = None
        logging.getLogger("nnn").warning("the report could not be written: %s", _cause(error))
    return manifest, summary


def _cause(error: NNNError) -> str:
    """What went wrong after a version was published, without the words of those that keep one from it."""
    return str(error).partition(f" {NOTHING_PUBLISHED}")[0]


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, look at the input, run, print."""
    args, options = parse_flags(build_parser(), argv)
    with telling("refresh", args) as story:
        return _refresh(args, options, story)


def _refresh(args: argparse.Namespace, options: PipelineOptions, story: Story) -> dict[str, Any]:
    """What the flags ask for: a plan, or a refresh."""
    config = config_from(args, runs_locally(options))
    check_files(config, SIDES, runs_locally(options))
    encoder = config.encoder_source
    if args.rates and not (args.with_plan or args.dry_run):
        raise ConfigError("--rates has no effect alone. Add --with-plan, or run nnn plan with these flags.")
    heads = look_ahead(config, encoder, runs_locally(options))
    planned = args.with_plan or args.dry_run
    foretold = Foretold.of(config, encoder, args.rates) if planned else None
    if args.dry_run and foretold is not None:
        print("\n".join(line for head in heads for line in describe_head(head, config.relevance)))
        record = {"heads": [record_of(head) for head in heads], "plan": show_plan(foretold, config)}
        print_json(args, record)
        return record
    manifest, summary = refresh(config, encoder, options, heads)
    story.of(manifest, summary["gates"], summary["stages"])
    print_summary(summary)
    if foretold is not None:
        summary["plan"] = compare(foretold, summary, 1 if runs_locally(options) else None)
        print("\n".join(describe_comparison(summary["plan"], foretold.rates)))
    print_json(args, without_text(summary))
    return summary
