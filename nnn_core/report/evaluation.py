"""The report of an evaluation: what ``nnn evaluate`` found, as sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnn_core.evaluation.choice import Choice
from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.rankings import DEPTH
from nnn_core.report.content import Report
from nnn_core.report.sections import (
    Change,
    Figure,
    Hub,
    Hubness,
    Occurrence,
    Quality,
    Run,
    Shown,
    Source,
    Tuning,
    Unit,
)
from nnn_core.table import BiasTable


def _unit(figure: str) -> Unit:
    return "percent" if figure.startswith("recall") else "number"


def evaluation_report(result: Mapping[str, Any], table: BiasTable) -> Report:
    """Everything but pictures and captions.

    Args:
        result: what ``nnn evaluate --json`` prints.
        table: the version that was evaluated.
    """
    manifest, settings = table.manifest, table.manifest.settings
    run = Run(
        command="nnn evaluate",
        table=result["table"],
        version=manifest.version,
        previous=None,
        k=result["point"]["k"],
        alpha=result["point"]["alpha"],
        candidates=_source(settings.candidate_modality, manifest.candidates),
        bank=_source(settings.reference_modality, manifest.references),
        searches=manifest.search.methods,
        fingerprints=tuple(sorted(settings.encoder.items())),
        queries=Source(settings.reference_modality, result["queries"] + result["choosing"]),
    )
    return Report(
        title=f"Evaluation of version {manifest.version}",
        run=run,
        quality=(_quality(result, f"{settings.reference_modality} to {settings.candidate_modality}"),),
        tuning=_tuning(result),
        hubness=_hubness(result),
        hubs=tuple(_hubs(result, table)),
        changes=tuple(Change(Shown(turn.pop("query")), **_tuples(turn)) for turn in map(dict, result["changed"])),
    )


def _source(modality: str, side: Any) -> Source:
    return Source(modality, side.rows, side.rejected, len(side.inputs), side.digest)


def _quality(result: Mapping[str, Any], title: str) -> Quality:
    figures = []
    for name in result["gain"]:
        before, after, gain = (Interval(**result[part][name]) for part in ("before", "after", "gain"))
        figures.append(Figure(name, before, after, gain, _unit(name)))
    return Quality(title, result["queries"], tuple(figures))


def _tuning(result: Mapping[str, Any]) -> Tuning | None:
    chosen = result["choice"]
    if chosen is None:
        return None
    points = {name: Point(**chosen[name]) for name in ("point", "best", "candidate")}
    choice = Choice(**{**chosen, **points, "gain": Interval(**chosen["gain"])})
    plain = result["surface"][0][2]
    gains = tuple((Point(k, alpha), value - plain) for k, alpha, value in result["surface"][1:])
    return Tuning(choice, result["choosing"], gains, _unit(choice.objective))


def _hubness(result: Mapping[str, Any]) -> Hubness:
    sides = []
    for part in ("before", "after"):
        figures = result["hubness"][part]
        counts = tuple((often, number) for often, number in result["occurrences"][part])
        sides.append(
            Occurrence(
                counts,
                figures[f"skewness@{DEPTH}"],
                figures["gini"],
                figures["robin_hood"],
                figures["never_retrieved"],
            )
        )
    return Hubness(result["queries"] + result["choosing"], DEPTH, *sides)


def _hubs(result: Mapping[str, Any], table: BiasTable) -> list[Hub]:
    biases = table.bias_of([hub["id"] for hub in result["hubs"]])
    return [
        Hub(
            hub["id"],
            hub["before"],
            hub["after"],
            float(bias),
            hub["wrong"],
            tuple(Shown(name) for name in hub["examples"]),
        )
        for hub, bias in zip(result["hubs"], biases, strict=True)
    ]


def _tuples(turn: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in turn.items()}
