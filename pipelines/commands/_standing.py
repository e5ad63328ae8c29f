"""The short cut of a refresh of which nothing changed since it ran last."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from nnn_core.encoders import EncoderSource
from nnn_core.planning.preflight import Head
from nnn_core.planning.standing import Outcome, SideInput, Standing
from nnn_core.report import Report, render_text
from nnn_core.report.archive import write_report
from nnn_core.table.manifest import Manifest
from pipelines.commands._options import command_line
from pipelines.commands._summary import complete, signed, summarise
from pipelines.config import RefreshConfig
from pipelines.running.runner import RunResult
from pipelines.stages.metrics import COMPUTED, REUSED

#: What has no part in the table, in its report or in warnings.
_WITHOUT_A_PART = {"run", "report", "threads", "cache_bytes", "cache_folder", "accelerator", "model_copies"}
_WITHOUT_A_PART |= {"worker_start_timeout"}


def standing_of(config: RefreshConfig, encoder: EncoderSource | None) -> Standing:
    """What a refresh depends on.

    Args:
        config: what it is to compute.
        encoder: the model, as it is settled for the folder of artefacts; None when all input holds vectors.
    """
    patterns = {"--candidates": config.candidates, "--references": config.references, "--validation": config.validation}
    asking, holding, judging = config.requests(encoder)
    sides = zip(patterns.items(), (holding, asking, judging), strict=True)
    return Standing(
        {name: value for name, value in dataclasses.asdict(config).items() if name not in _WITHOUT_A_PART},
        tuple(SideInput(flag, pattern, request) for (flag, pattern), request in sides if pattern),
        (("--relevance", config.relevance),) if config.relevance else (),
        config.table,
        config.work,
        config.threads,
    )


def outcome_of(result: RunResult, report: Report) -> Outcome:
    """How a run ended."""
    artefacts = {stage: found.get(COMPUTED, 0) + found.get(REUSED, 0) for stage, found in result.counters.items()}
    return Outcome(artefacts, result.distributions, report.to_json().decode())


def sum_up(
    config: RefreshConfig, manifest: Manifest, outcome: Outcome, seconds: float, heads: Sequence[Head]
) -> dict[str, Any]:
    """The summary of a refresh that need not run, with a report of its own."""
    counters = {stage: {REUSED: count} for stage, count in outcome.artefacts.items()}
    summary = summarise(config, manifest, RunResult(counters, outcome.figures, seconds), heads)
    told = Report.from_json(outcome.report.encode(), config.work).unchanged(manifest.version)
    report = signed(complete(told, summary), command_line("refresh", config))
    summary["text"] = render_text(report)
    summary["report"] = write_report(report, config.work, f"version-{manifest.version:06d}", config.report, latest=True)
    logging.getLogger("nnn").info("nnn refresh done: version %d of %s unchanged", manifest.version, config.table)
    return summary
