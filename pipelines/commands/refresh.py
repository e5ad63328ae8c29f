"""nnn refresh: run the job, write its report and sum up what it did."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from apache_beam.options.pipeline_options import PipelineOptions

from nnn_core import storage
from nnn_core.encoders import EncoderSource
from nnn_core.errors import ConfigError, GateError, StorageError
from nnn_core.gates.row_statistics import near_copies_message
from nnn_core.planning.costs import Rates
from nnn_core.report import Report, render_text
from nnn_core.report.archive import write_report
from nnn_core.report.sections import Stage
from nnn_core.table.manifest import Manifest, manifest_uri, prepare_table, read_manifest
from pipelines.commands._compare_plan import Foretold, compare, describe_comparison
from pipelines.commands._config_file import ConfigFile
from pipelines.commands._options import Output, Parser, config_from, make_parser, print_json
from pipelines.commands._parsing import parse_flags
from pipelines.commands.plan import plan, work_of
from pipelines.config import GROUPS, RefreshConfig
from pipelines.options import Option
from pipelines.refresh import define_refresh
from pipelines.running.runner import RunResult, run, runs_locally
from pipelines.stages.commit_bias_table import NEAR_COPIES, VERSION_METRIC
from pipelines.stages.gather_candidates import POSITIONAL_KEYS
from pipelines.stages.metrics import (
    COMPUTED,
    MODEL_HAD_MSEC,
    MODEL_MSEC,
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
    StageName,
)

#: What is said of a stage's artefacts, where it was counted.
_HELD = (ROWS, REJECTED, READ, PAIRS, TRUNCATED, WRITTEN, SHUFFLED)


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
    summary = _summarise(config, manifest, result)
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


def _summarise(config: RefreshConfig, manifest: Manifest, result: RunResult) -> dict[str, Any]:
    """The run's summary, ready for JSON."""
    stages = {stage.value: result.counters[stage] for stage in StageName if stage in result.counters}
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
                **_speed_of(counters),
            }
            for stage, counters in stages.items()
        },
        "warnings": list(_warnings(config, manifest, result)),
        "seconds": round(result.seconds, 3),
        PEAK_BYTES: result.distributions.get(PEAK_BYTES, 0),
    }


def _warnings(config: RefreshConfig, manifest: Manifest, result: RunResult) -> Iterator[str]:
    if positional := result.distributions.get(POSITIONAL_KEYS, 0):
        yield (
            f"the ids of {positional} input file{'s' if positional > 1 else ''} of {config.candidates!r} look like the "
            "keys by which img2dataset numbers its rows: the digits of the shard and of the row. They change when the "
            "corpus is downloaded again, and every bias would then belong to another item. Use --id-column url or "
            "--id-column @sha256, unless the index is built from these very files."
        )
    if copies := result.distributions.get(NEAR_COPIES, 0):
        yield near_copies_message(copies, manifest.rows, config.exclude_own_pairs)


def without_text(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary for programs."""
    return {name: value for name, value in summary.items() if name != "text"}


def print_summary(summary: dict[str, Any]) -> None:
    """The summary for a person: the text of the report, and where the page and the table are."""
    print(summary["text"])
    for line in _describe_models(summary["stages"]):
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


@dataclass(frozen=True)
class _Planning:
    """A plan beside the run.

    Attributes:
        with_plan: plan first, and compare with what was done.
        rates: for --with-plan: YAML of worker types and prices.
    """

    with_plan: Annotated[bool, Option()] = False
    rates: Annotated[str | None, Option("FILE")] = None


def build_parser() -> Parser:
    """The command line of ``nnn refresh``."""
    return make_parser(
        "refresh",
        "Compute the bias of every candidate against a bank of reference queries, and publish it as "
        "a new version of the bias table. Finished work is kept under --work: the same command continues after a "
        "crash, and a later refresh computes only what changed.",
        (ConfigFile, RefreshConfig, Output, _Planning),
        GROUPS,
        epilog="Any Apache Beam option may follow, e.g. --runner=DataflowRunner --project=P --region=R "
        "--temp_location=gs://B/tmp. Without --runner, and with --runner=DirectRunner, the job runs in this process, "
        "with --threads.",
    )


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, run, print."""
    args, options = parse_flags(build_parser(), argv)
    config = config_from(args, runs_locally(options))
    encoder = config.encoder_source
    foretold = _foretell(args, config, encoder)
    _, summary = refresh(config, encoder, options)
    print_summary(summary)
    if foretold is not None:
        summary["plan"] = compare(foretold, summary, 1 if runs_locally(options) else None)
        print("\n".join(describe_comparison(summary["plan"], foretold.rates)))
    print_json(args, without_text(summary))
    return summary


def _foretell(args: argparse.Namespace, config: RefreshConfig, encoder: EncoderSource | None) -> Foretold | None:
    """The plan, if it is asked for."""
    if not args.with_plan:
        if args.rates:
            raise ConfigError("--rates is what a plan is priced by; add --with-plan, or run nnn plan with these flags.")
        return None
    found = plan(config, encoder)
    return Foretold(found, work_of(found, config), Rates.read(args.rates))


def _speed_of(counters: Mapping[str, int]) -> dict[str, float]:
    """Rows a second of work, and the share of its time that the model was not waiting.

    Args:
        counters: of a stage.
    """
    speed = {}
    if counters.get(ROWS) and counters.get(MSEC):
        speed["rows_per_second"] = round(1000 * counters[ROWS] / counters[MSEC], 1)
    if counters.get(MODEL_HAD_MSEC):
        speed["model_utilisation"] = round(counters.get(MODEL_MSEC, 0) / counters[MODEL_HAD_MSEC], 3)
    return speed


def _describe_models(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each stage that ran a model.

    Args:
        stages: of a run's summary.
    """
    for name, figures in stages.items():
        if "model_utilisation" not in figures:
            continue
        rate = f" at {figures['rows_per_second']:,.1f} a second" if "rows_per_second" in figures else ""
        busy = f"the model at work {100 * figures['model_utilisation']:.0f} % of its time"
        line = f"{name}: {figures.get('rows', 0):,} rows{rate}, {busy}"
        cut = figures.get("truncated", 0)
        yield line + (f"; {cut:,} captions are longer than the model takes, and were cut" if cut else "")
