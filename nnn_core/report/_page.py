"""The report as one HTML file: no script, no network, the same bytes for the same report.

Whatever a report holds, its file stays small: every list has a limit, every text is cut, and pictures
stop when they have had their share; what is left out is counted or named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from nnn_core.evaluation.points import Point
from nnn_core.report import _charts as charts
from nnn_core.report import _numbers as numbers
from nnn_core.report import _summary as summary
from nnn_core.report._content import MAX_CHANGES, MAX_DEPTH, MAX_HUBS, Report
from nnn_core.report._thumbnails import data_uri
from nnn_core.report.numbers import seconds
from nnn_core.report.sections import Gate, Run, Shown, Source, Stage

MAX_EXAMPLES = 6
MAX_ROWS = 30
MAX_TABLES = 4
MAX_REASONS = 20
#: All pictures together, in characters of the page.
MAX_PICTURES = 1_250_000

#: (tone, sign, word) of every kind of mark: the sign and the word say it without the colour.
_PILLS = {
    "pass": ("good", "✓", "passed"),
    "warn": ("warn", "▲", "warning"),
    "fail": ("bad", "✕", "failed"),
    "skipped": ("none", "\u2013", "not run"),
    "better": ("good", "✓", "better"),
    "worse": ("bad", "✕", "worse"),
    "same": ("none", "=", "same"),
    "unclear": ("none", "≈", "unclear"),
}
_GRAVEST_FIRST = ("fail", "warn", "pass", "skipped")


class Album:
    """Pictures for one page, until they have had their share of it."""

    def __init__(self, shown: dict[str, Shown]) -> None:
        self._shown = shown
        self._left = MAX_PICTURES

    def shown(self, row_id: str) -> Shown:
        """What is known of a candidate: at least its id."""
        return self._shown.get(row_id, Shown(row_id))

    def has_picture(self, row_ids: Sequence[str]) -> bool:
        """Whether these candidates are images."""
        return any(self.shown(row_id).image for row_id in row_ids)

    def picture(self, one: Shown) -> str | None:
        """The address of a picture that stands in the page itself; None if there is none, or no room is left."""
        uri = data_uri(one.image) if one.image else None
        if uri is None or len(uri) > self._left:
            return None
        self._left -= len(uri)
        # Markup: an address is longer than any text may be, and it is made of the base64 alphabet alone.
        return Markup(uri)


def render(report: Report) -> str:
    """The report as a page that opens from disk, in a light or dark scheme, on a phone or a desk."""
    return _template().render(**_view(report)).strip() + "\n"


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, finalize=_finalize, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["count"] = numbers.count
    folder = files("nnn_core.report")
    style = Markup((folder / "style.css").read_text(encoding="utf-8"))
    limits = {name: value for name, value in globals().items() if name.startswith("MAX_")}
    environment.globals.update(
        vars(numbers), **limits, seconds=seconds, style=style, charts=charts, summary=summary, PILLS=_PILLS
    )
    return environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))


def _finalize(value: Any) -> Any:
    """All foreign text passes here on its way into the page; jinja escapes it next."""
    return numbers.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _view(report: Report) -> dict[str, Any]:
    album = Album(report.shown)
    return {
        **_tuning(report),
        "report": report,
        "head": summary.headline(report),
        "tiles": list(summary.tiles(report)),
        "own_words": summary.own_pairs_words(report),
        "contents": list(_contents(report)),
        "facts": list(facts(report.run)),
        "gates": sort_gates(report.gates)[:MAX_ROWS],
        "quality": report.quality[:MAX_TABLES],
        "hubs": report.hubs[:MAX_HUBS],
        "changes": report.changes[:MAX_CHANGES],
        "hub_figures": list(summary.hub_figures(report)),
        "depth": report.hubness.depth if report.hubness else MAX_DEPTH,
        "shown": album.shown,
        "picture": album.picture,
        "has_picture": album.has_picture,
        "share": lambda stage: _share(stage, report.stages),
    }


def _tuning(report: Report) -> dict[str, Any]:
    """What the heat map's legend and table need."""
    if report.tuning is None:
        return {}
    ks, alphas, gains = charts.heat_grid(report.tuning)
    steps = range(charts.SHADES, -charts.SHADES - 1, -1)
    return {
        "limit": charts.heat_limit(report.tuning),
        "grid": (ks, alphas),
        "gain_at": lambda k, alpha: 0.0 if alpha == 0 else gains.get(Point(k, alpha), float("nan")),
        "ramp": [charts.shade(-step, charts.SHADES) for step in steps],
    }


def _share(stage: Stage, stages: Sequence[Stage]) -> str:
    return numbers.amount(stage.seconds / (sum(each.seconds for each in stages) or 1.0), "percent")


def sort_gates(gates: Sequence[Gate]) -> list[Gate]:
    """The gravest first, otherwise as they came."""
    return sorted(gates, key=lambda gate: _GRAVEST_FIRST.index(gate.verdict))


def _contents(report: Report) -> Iterator[tuple[str, str]]:
    """(anchor, name) of every section that there is."""
    sections: tuple[tuple[str, str, object], ...] = (
        ("gates", "Gates", report.gates),
        ("quality", "Quality", report.quality),
        ("choice", "Choice", report.tuning),
        ("hubness", "Hubness", report.hubness),
        ("hubs", "Worst hubs", report.hubs),
        ("changes", "Changed queries", report.changes),
        ("biases", "Biases", report.biases),
        ("rivals", "Other methods", report.rivals),
        ("fairness", "Fairness", report.fairness),
        ("rejects", "Rejects", report.rejects),
        ("run", "What ran", True),
        ("cost", "Cost", report.stages),
    )
    return ((anchor, name) for anchor, name, there in sections if there)


def facts(run: Run) -> Iterator[tuple[str, str]]:
    """What ran and on what, as (name, words)."""
    yield "Command", run.command
    yield "Table", run.table
    yield "Version", "nothing published" if run.version is None else str(run.version)
    yield "Previous version", "none" if run.previous is None else str(run.previous)
    yield "k and alpha", f"k = {run.k}, alpha = {run.alpha:g}"
    yield "Candidates", _source(run.candidates)
    yield "Bank", _source(run.bank)
    if run.queries is not None:
        yield "Held-out queries", _source(run.queries)
    if run.searches:
        yield "Search", ", ".join(run.searches)
    if run.seconds is not None:
        yield "Finished in", seconds(run.seconds)
    if run.when:
        yield "When", run.when


def _source(source: Source) -> str:
    words = f"{numbers.count(source.rows)} rows ({source.modality})"
    words += f", {numbers.count(source.rejected)} rejected" if source.rejected else ""
    words += f", from {numbers.count(source.files)} files" if source.files else ""
    words += f", digest {source.digest[:16]}" if source.digest else ""
    return words + (f", {source.uri}" if source.uri else "")
