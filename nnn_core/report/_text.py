"""The report for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from nnn_core.evaluation.intervals import Interval
from nnn_core.report import _summary as summary
from nnn_core.report._content import Report
from nnn_core.report._numbers import (
    amount,
    change,
    change_span,
    clean,
    count,
    fixed,
    point_words,
    rank,
    verdict,
    visible,
)
from nnn_core.report._page import MAX_REASONS, MAX_ROWS, MAX_TABLES
from nnn_core.report._sections import Figure, Unit
from nnn_core.report.numbers import seconds

_HUBS = 5
_CHANGES = 5
_WIDTH = 60
_LINE = 500

#: What a line shows of a digest; values of an encoder that are no longer are shown whole.
_SHORT = 12
_DIGEST = re.compile("[0-9a-f]{64}")


def render_text(report: Report) -> str:
    """A plain-text summary of what the page shows; a line each, nothing wider than it must be."""
    head = summary.headline(report)
    blocks = [
        [clean(report.title), head.heading, *([head.text] if head.text else []), *map(clean, report.notes[:MAX_ROWS])],
        _run(report),
        _gates(report),
        *(_figures(each.title, each.queries, each.figures) for each in report.quality[:MAX_TABLES]),
        list(summary.own_pairs_words(report)),
        _tuning(report),
        _hubness(report),
        _hubs(report),
        _changes(report),
        _listed_hubs(report),
        _biases(report),
        _rivals(report),
        *(_figures(each.attribute, each.queries, each.figures) for each in report.fairness[:MAX_TABLES]),
        list(_rejects(report)),
        _stages(report),
    ]
    return _joined(blocks)


def render_verdict(report: Report) -> str:
    """What the bias does to rankings: in words first, then the figures."""
    head = summary.headline(report)
    words = [head.heading, *summary.hubs_words(report), *([head.text] if head.text else [])]
    tables = (_figures(each.title, each.queries, each.figures) for each in report.quality[:MAX_TABLES])
    return _joined([words, *tables, _hubness(report), _tuning(report)])


def _joined(blocks: Iterable[Sequence[str]]) -> str:
    return "\n\n".join("\n".join(visible(line, _LINE).rstrip() for line in block) for block in blocks if block) + "\n"


def _table(rows: Sequence[Sequence[str]], left: int = 1, width: int = _WIDTH) -> list[str]:
    """Columns lined up, none wider than ``width``; the first ``left`` of them to the left, figures to the right."""
    cells = [[clean(cell, width) for cell in row] for row in rows]
    forms = [f"{'<' if at < left else '>'}{max(map(len, each))}" for at, each in enumerate(zip(*cells, strict=True))]
    return ["  ".join(map(format, row, forms)).rstrip() for row in cells]


def _run(report: Report) -> list[str]:
    named = [*summary.facts(report)]
    # Digests in full are on the page and in the manifest; these tell two encoders apart.
    parts = [f"{name} {value}" for name, value in report.run.fingerprints if len(value) <= _SHORT]
    parts += [f"{name} {value[:_SHORT]}" for name, value in report.run.fingerprints if _DIGEST.fullmatch(value)]
    if parts:
        named.append(("Encoder", ", ".join(parts[:MAX_ROWS])))
    width = max(len(clean(name, 24)) for name, _ in named)
    return [f"{clean(name, 24):<{width}}  {clean(value)}" for name, value in named]


def _gates(report: Report) -> list[str]:
    """How many passed; of those that did not, each with its value and limit."""
    if not report.gates:
        return []
    marked = [gate for gate in summary.sort_gates(report.gates) if gate.verdict not in ("skipped", "pass")]
    rows = [(gate.verdict.upper(), gate.name, gate.value, gate.threshold) for gate in marked[:MAX_ROWS]]
    table = _table([("", "gate", "value", "limit"), *rows], left=4) if rows else []
    return [f"Gates: {summary.gates_words(report)}", *table]


def _figures(title: str, queries: int, figures: Sequence[Figure]) -> list[str]:
    rows = [("", "before", "after", "change", "95 % interval", "")]
    rows += [
        (
            figure.name,
            amount(figure.before.value, figure.unit),
            amount(figure.after.value, figure.unit),
            *_gain(figure.gain, figure.unit),
            verdict(figure),
        )
        for figure in figures[:MAX_ROWS]
    ]
    return [f"{clean(title)}, {count(queries)} queries", *_table(rows)]


def _gain(gain: Interval, unit: Unit) -> tuple[str, str]:
    return change(gain.value, unit), change_span(gain, unit)


def _tuning(report: Report) -> list[str]:
    if report.tuning is None:
        return []
    choice, label = report.tuning.choice, summary.point_label(report)
    points = [(label, choice.point), ("chosen", choice.candidate), ("highest gain", choice.best)]
    if report.tuning.given:
        points = [(label, choice.point), ("best on these queries", choice.best)]
    rows = [(name, point_words(point)) for name, point in points]
    if report.tuning.agreement is not None:
        rows.append(("agreement of bank and queries", fixed(report.tuning.agreement, 2)))
    return [f"k and alpha, {count(report.tuning.queries)} queries", *_table(rows, left=2), summary.proof_words(choice)]


def _hubness(report: Report) -> list[str]:
    if report.hubness is None:
        return []
    rows = [
        (name.lower(), amount(before, unit), amount(after, unit), change(after - before, unit))
        for name, _, before, after, unit in summary.hub_figures(report.hubness)
    ]
    return [f"hubness of the top {report.hubness.depth}", *_table([("", "before", "after", "change"), *rows])]


def _hubs(report: Report) -> list[str]:
    rows = [(hub.id, count(hub.before), count(hub.after), fixed(hub.bias, 3)) for hub in report.hubs[:_HUBS]]
    return ["worst hubs", *_table([("", "before", "after", "bias"), *rows])] if rows else []


def _changes(report: Report) -> list[str]:
    rows = [
        (each.query.text or each.query.id, f"{rank(each.rank_before)} -> {rank(each.rank_after)}")
        for each in report.changes[:_CHANGES]
    ]
    moves = report.moves
    said = [f"right answer up for {count(moves.better)} queries, down for {count(moves.worse)}"] if moves else []
    return [*said, "queries that changed most, rank of the first relevant", *_table(rows)] if rows else said


def _listed_hubs(report: Report) -> list[str]:
    found = report.listed_hubs
    if found is None:
        return []
    rows = [
        (hub.id, "new" if hub.new else "", fixed(hub.deviations, 1), "" if hub.found is None else count(hub.found))
        for hub in found.worst[:_HUBS]
    ]
    head = ("", "", "deviations", "top 10 lists")
    return [summary.listed_hubs_words(found), *(_table([head, *rows], left=2) if rows else [])]


def _biases(report: Report) -> list[str]:
    rows = [(name, fixed(value, 4)) for name, value in report.biases.figures[:MAX_ROWS]] if report.biases else []
    return ["biases against the previous version", *_table(rows)] if rows else []


def _rivals(report: Report) -> list[str]:
    if report.rivals is None or not report.rivals.methods:
        return []
    unit = report.rivals.unit
    rows = [
        (
            rival.name,
            amount(rival.value.value, unit),
            *_gain(rival.gain, unit),
            seconds(rival.seconds),
            seconds(rival.tuning_seconds),
        )
        for rival in report.rivals.methods[:MAX_ROWS]
    ]
    head = ("methods", report.rivals.objective, "change", "95 % interval", "preparation", "settings")
    return _table([head, *rows])


def _rejects(report: Report) -> Iterator[str]:
    for side, rejected in report.rejects[:MAX_TABLES]:
        yield f"{clean(side)}: {count(rejected.rejected)} of {count(rejected.rows)} rows rejected"
        for reason, number, example in rejected.reasons[:MAX_REASONS]:
            yield f"  {count(number)} x {clean(reason, _WIDTH)} (e.g. {clean(example, 2 * _WIDTH)})"


def _stages(report: Report) -> list[str]:
    stages = report.stages[:MAX_ROWS]
    if not stages:
        return []
    rows = [
        (stage.name, seconds(stage.seconds), count(stage.computed), count(stage.reused), *cells.values())
        for stage, cells in ((stage, summary.stage_cells(stage)) for stage in stages)
    ]
    head = ("stage", "work", "computed", "reused", *map(str.lower, summary.stage_cells(stages[0])))
    return _table([head, *rows], width=2 * _WIDTH)  # what a stage held is a few words of our own
