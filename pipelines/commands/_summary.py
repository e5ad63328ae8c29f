"""What a refresh did: a summary for programs and for people, and the report with what its stages cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from nnn_core import __version__
from nnn_core.embedded.side import lengths_note
from nnn_core.gates.row_statistics import near_copies_message
from nnn_core.planning.preflight import Head
from nnn_core.planning.written import Done
from nnn_core.report import Report, Stage
from nnn_core.table.manifest import Manifest, manifest_uri
from pipelines.config import RefreshConfig
from pipelines.running.runner import RunResult
from pipelines.stages import metrics
from pipelines.stages.commit_bias_table import NEAR_COPIES
from pipelines.stages.metrics import OWN_CANDIDATES, OWN_REFERENCES, POSITIONAL_KEYS, WHITENED

#: A bank of which a smaller share belongs to candidates, as few of them, was probably meant to hold more.
_FEW = 0.01


def complete(report: Report, summary: dict[str, Any]) -> Report:
    """The report with what the stages cost."""
    stages = tuple(_stage(name, figures) for name, figures in summary["stages"].items())
    return dataclasses.replace(report, stages=stages, run=dataclasses.replace(report.run, seconds=summary["seconds"]))


def signed(report: Report, line: str) -> Report:
    """The report with when it was made, by which program and by what command line."""
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return dataclasses.replace(report, run=dataclasses.replace(report.run, when=when, program=__version__, line=line))


def recounted(result: RunResult, done: Mapping[str, Done]) -> RunResult:
    """What a run reports, with the counts of what was written where the runner lost some.

    A stage whose artefacts the runner counted right keeps all its figures; of another one, times are not known.
    """
    counters = {stage.value: result.counters[stage] for stage in metrics.StageName if stage in result.counters}
    for stage, found in done.items():
        told = counters.get(stage, {})
        if (told.get(metrics.COMPUTED, 0), told.get(metrics.REUSED, 0)) != (found.computed, found.reused):
            counters[stage] = {metrics.COMPUTED: found.computed, metrics.REUSED: found.reused, **found.held}
    return dataclasses.replace(result, counters=counters)


def _stage(name: str, figures: dict[str, Any]) -> Stage:
    return Stage(
        name,
        figures["seconds"],
        figures["computed"],
        figures["reused"],
        rows=figures.get(metrics.ROWS, 0),
        known=figures.get(metrics.KNOWN, 0),
        pairs=figures.get(metrics.PAIRS, 0),
        read=figures.get(metrics.READ, 0),
        written=figures.get(metrics.WRITTEN, 0),
        parts=tuple((part, figures[f"{part}_seconds"]) for part in metrics.PARTS if f"{part}_seconds" in figures),
    )


def summarise(
    config: RefreshConfig, manifest: Manifest, result: RunResult, heads: Sequence[Head] = ()
) -> dict[str, Any]:
    """The run's summary, ready for JSON; ``heads`` are the beginnings of the input, for examples."""
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
        "own_pairs": _own_pairs(config, result),
        "search": dataclasses.asdict(manifest.search),
        "evaluation": manifest.evaluation,
        "gates": [dataclasses.asdict(gate) for gate in manifest.gates],
        "stages": stages_of(result),
        "warnings": [*_warnings(config, manifest, result), *_few_own_pairs(config, manifest, result, heads)],
        "seconds": round(result.seconds, 3),
        metrics.PEAK_BYTES: result.distributions.get(metrics.PEAK_BYTES, 0),
    }


def stages_of(result: RunResult) -> dict[str, dict[str, Any]]:
    """The figures of each stage that ran, by name, ready for JSON."""
    stages = {stage.value: result.counters[stage] for stage in metrics.StageName if stage in result.counters}
    return {
        stage: {
            "computed": counters.get(metrics.COMPUTED, 0),
            "reused": counters.get(metrics.REUSED, 0),
            "seconds": _seconds_of(counters),
            **{name: counters[name] for name in metrics.HELD if name in counters},
            **{f"{part}_seconds": counters[name] / 1000 for part, name in metrics.PARTS.items() if name in counters},
            **_speed_of(counters),
        }
        for stage, counters in stages.items()
    }


def _seconds_of(counters: Mapping[str, int]) -> float | None:
    """Time of work; None where something was computed of which no time was told."""
    if metrics.MSEC not in counters and counters.get(metrics.COMPUTED):
        return None
    return counters.get(metrics.MSEC, 0) / 1000


def _own_pairs(config: RefreshConfig, result: RunResult) -> dict[str, int] | None:
    """How many candidates had references of their own, and how many those were; None where they were not left out."""
    if not config.exclude_own_pairs or OWN_CANDIDATES not in result.distributions:
        return None
    return {name: result.distributions.get(name, 0) for name in (OWN_CANDIDATES, OWN_REFERENCES)}


def _few_own_pairs(
    config: RefreshConfig, manifest: Manifest, result: RunResult, heads: Sequence[Head]
) -> Iterator[str]:
    """A warning where next to nothing of the bank belongs to candidates, with names of both sides."""
    own = _own_pairs(config, result)
    shares = (manifest.rows * _FEW, manifest.references.rows * _FEW)
    if own is None or own[OWN_CANDIDATES] >= shares[0] or own[OWN_REFERENCES] >= shares[1]:
        return
    named = {head.side: head for head in heads}
    examples = ""
    if {"candidates", "references"} <= named.keys():
        pair_ids = [name for name in named["references"].pair_ids if name][:3]
        examples = f" Pair ids such as {', '.join(map(repr, pair_ids))}; ids such as "
        examples += f"{', '.join(map(repr, named['candidates'].ids[:3]))}."
    yield (
        f"--exclude-own-pairs left out only {own[OWN_REFERENCES]:,} references, for {own[OWN_CANDIDATES]:,} of "
        f"{manifest.rows:,} candidates. Check that the bank's pair ids are ids of candidates.{examples}"
    )


def _warnings(config: RefreshConfig, manifest: Manifest, result: RunResult) -> Iterator[str]:
    if positional := result.distributions.get(POSITIONAL_KEYS, 0):
        yield (
            f"the ids of {positional} input file{'s' if positional > 1 else ''} of {config.candidates!r} look "
            "like img2dataset's keys, which number shards and rows. After a new download the same key can name "
            "another item, and get the wrong bias. Use --id-column url or @sha256, unless your index is built "
            "from these files."
        )
    if white := result.distributions.get(WHITENED, 0):
        yield (
            f"{white:,} images of {config.candidates!r} are 16-bit grey PNGs, which open_clip's decoder turns "
            "white. To the model they are one image, which may become a hub. Convert them to 8 bits, and run "
            "again."
        )
    for flag, side in (("--candidates", manifest.candidates), ("--references", manifest.references)):
        if note := lengths_note(side.off_length, side.rows, flag):
            yield note
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
    if own := summary["own_pairs"]:
        print(
            f"own pairs    {own[OWN_CANDIDATES]:,} of {summary['rows']:,} candidates have references of their own; "
            f"{own[OWN_REFERENCES]:,} were left out, of {summary['references']:,} in the bank"
        )
    if summary["search"]["error"]:
        print(f"search       {_describe_error(summary['search']['error'])}")
    print(f"bias table   {summary['manifest']}")
    print(f"report       {summary['report']}")


def _describe_error(error: dict[str, float]) -> str:
    return (
        f"error of a mean: average {error['mean']:.1e}, 99th percentile {error['p99']:.1e}, maximum "
        f"{error['max']:.1e}, rank correlation {error['rank_correlation']:.5f} ({error['candidates']:,} "
        "candidates measured)"
    )


def _speed_of(counters: Mapping[str, int]) -> dict[str, float]:
    """Rows a second of work, and the share of its time that the model was not waiting.

    Args:
        counters: values of one stage's counters, by name.
    """
    speed = {}
    if counters.get(metrics.ROWS) and counters.get(metrics.MSEC):
        speed["rows_per_second"] = round(1000 * counters[metrics.ROWS] / counters[metrics.MSEC], 1)
    if counters.get(metrics.MODEL_HAD_MSEC):
        speed["model_utilisation"] = round(counters.get(metrics.MODEL_MSEC, 0) / counters[metrics.MODEL_HAD_MSEC], 3)
    return speed


def _describe_models(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each stage that ran a model.

    Args:
        stages: figures of each stage by name, from a run's summary.
    """
    for name, figures in stages.items():
        if "model_utilisation" not in figures:
            continue
        rate = f" at {figures['rows_per_second']:,.1f} a second" if "rows_per_second" in figures else ""
        busy = f"the model at work {100 * figures['model_utilisation']:.0f} % of its time"
        line = f"{name}: {figures.get('rows', 0):,} rows{rate}, {busy}"
        cut = figures.get("truncated", 0)
        yield line + (f"; {cut:,} captions are too long for the model, and were cut" if cut else "")
