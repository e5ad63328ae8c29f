"""The report as one HTML file: no script, no network, the same bytes for the same report.

Whatever a report holds, its file stays small: every list has a limit, every text is cut, and pictures
stop when they have had their share; what is left out is counted or named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import zip_longest
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from nnn_core.report import _charts as charts
from nnn_core.report import _content as content
from nnn_core.report import _numbers as numbers
from nnn_core.report import _summary as summary
from nnn_core.report._content import Report
from nnn_core.report._sections import Shown
from nnn_core.report._thumbnails import data_uri
from nnn_core.report.numbers import seconds

MAX_EXAMPLES = 6
#: Hubs and changed queries that are seen without opening anything; of the latter a better and a worse one.
MAX_OPEN_HUBS, MAX_OPEN_CHANGES = 6, 2
MAX_ROWS = 30
MAX_TABLES = 4
MAX_REASONS = 20
#: A text with addresses in it, in characters.
MAX_LINKED = 6000
#: All pictures together, in characters of the page.
MAX_PICTURES = 1_250_000

#: A flag of a command in a sentence.
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")

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
    return template("page.html.j2").render(report=report, album=Album(report.shown)).strip() + "\n"


@cache
def template(name: str) -> Template:
    """A template of this room, with what all of them use."""
    environment = Environment(
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_text_of),
    )
    environment.filters.update(count=numbers.count, gravest_first=summary.sort_gates)
    environment.filters.update(uncut=_uncut, whole=_with_whole_flags, with_links=_with_links)
    style = Markup(_text_of("style.css"))
    limits = {name: value for name, value in {**vars(content), **globals()}.items() if name.startswith("MAX_")}
    words = {**vars(numbers), "seconds": seconds, "PILLS": _PILLS}
    environment.globals.update(words, **limits, style=style, charts=charts, summary=summary)
    return environment.get_template(name)


def _text_of(name: str) -> str:
    return (files("nnn_core.report") / name).read_text(encoding="utf-8")


def _with_whole_flags(text: str) -> Markup:
    """The text, with flags that no line break falls into."""
    return Markup(_FLAG.sub(r'<span class="flag">\g<0></span>', str(escape(_finalize(text)))))


def _uncut(text: str) -> Markup:
    """A command line, of which all counts."""
    return escape(numbers.clean(text, MAX_LINKED))


def _with_links(text: str) -> Markup:
    """Foreign text whose web addresses lead there; nothing is loaded unless the reader follows one.

    An address is shown as far as other text is, and leads to all of it.
    """
    # An address that is followed by an ellipsis was cut.
    parts = re.split(r"((?i:https?)://[^\s<>\"'\u2026]+(?=[\s<>\"']|$))", numbers.clean(text, MAX_LINKED))
    texts = map(escape, map(_shown, parts[::2]))
    links = (Markup('<a href="{}" rel="noreferrer">{}</a>').format(part, _shown(part)) for part in parts[1::2])
    return Markup("").join(each for pair in zip_longest(texts, links, fillvalue="") for each in pair)


def _shown(text: str) -> str:
    return numbers.visible(text, numbers.MAX_TEXT)


def _finalize(value: Any) -> Any:
    """All foreign text passes here on its way into the page; jinja escapes it next."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    # A number and its sign of per cent stay on one line.
    return numbers.clean(value).replace(" %", "\u00a0%")
