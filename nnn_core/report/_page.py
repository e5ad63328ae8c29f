"""The report as one HTML file: no script, no network, the same bytes for the same report.

Whatever a report holds, its file stays small: every list has a limit, every text is cut, and pictures
stop when they have had their share; what is left out is counted or named.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from nnn_core.report import _charts as charts
from nnn_core.report import _content as content
from nnn_core.report import _numbers as numbers
from nnn_core.report import _summary as summary
from nnn_core.report._content import Report
from nnn_core.report._sections import Shown
from nnn_core.report._thumbnails import data_uri
from nnn_core.report.numbers import seconds

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
    return _template().render(report=report, album=Album(report.shown)).strip() + "\n"


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, finalize=_finalize, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(count=numbers.count, gravest_first=summary.sort_gates)
    folder = files("nnn_core.report")
    style = Markup((folder / "style.css").read_text(encoding="utf-8"))
    limits = {name: value for name, value in {**vars(content), **globals()}.items() if name.startswith("MAX_")}
    words = {**vars(numbers), "seconds": seconds, "PILLS": _PILLS}
    environment.globals.update(words, **limits, style=style, charts=charts, summary=summary)
    return environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))


def _finalize(value: Any) -> Any:
    """All foreign text passes here on its way into the page; jinja escapes it next."""
    return numbers.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
