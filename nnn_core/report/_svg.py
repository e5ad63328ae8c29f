"""Drawing by hand: a plot area with axes, as SVG that needs no script.

Colours are classes of the page's style sheet, so that a figure follows the reader's light or dark scheme.
All figures are 360 units wide: on a phone a unit is about a pixel, so that labels stay readable there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from nnn_core.report._numbers import MINUS, clean

WIDTH = 360.0


@dataclass(frozen=True)
class Scale:
    """From data to units of the drawing, along one axis.

    Attributes:
        low: smallest value of the data.
        high: largest value of the data.
        start: where ``low`` lies in the drawing.
        stop: where ``high`` lies in the drawing.
    """

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + share * (self.stop - self.start)


def ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round values from ``low`` to ``high``, at most ``wanted`` + 1 of them."""
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(at * step, 12) + 0.0 for at in range(first, last + 1)]


def label_of(value: float, plus: bool = False) -> str:
    """A tick's label: as few digits as it needs."""
    text = f"{value:+,.6g}" if plus and value else f"{value:,.6g}"
    return text.replace("-", MINUS)


def short_of(value: int) -> str:
    """A large number in little room: 131k, 4.19M."""
    for unit, word in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{word}"
    return f"{value}"


@dataclass
class Drawing:
    """An SVG under construction.

    Attributes:
        name: unique on the page; ids are made of it.
        title: what the figure is.
        desc: what it shows, for those who do not see it.
        height: height of the figure, in units of which it is ``WIDTH`` wide.
    """

    name: str
    title: str
    desc: str
    height: float
    _marks: list[Markup] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line of the class ``kind``."""
        self._add("line", kind, x1=x1, y1=y1, x2=x2, y2=y2)

    def box(self, x: float, y: float, width: float, height: float, kind: str, tip: str = "", round_: float = 0) -> None:
        """A rectangle; ``tip`` appears when a pointer rests on it."""
        self._add("rect", kind, _tip(tip), x=x, y=y, width=width, height=height, rx=round_)

    def dot(self, x: float, y: float, radius: float, kind: str, tip: str = "") -> None:
        """A circle of the class ``kind``; ``tip`` appears when a pointer rests on it."""
        self._add("circle", kind, _tip(tip), cx=x, cy=y, r=radius)

    def path(self, places: Sequence[tuple[float, float]], kind: str) -> None:
        """A line through ``places``."""
        self._add("polyline", kind, points=" ".join(f"{_n(x)},{_n(y)}" for x, y in places))

    def text(self, x: float, y: float, words: str, anchor: str = "middle", kind: str = "tick", **more: str) -> None:
        """Words whose baseline is at ``y``."""
        self._add("text", kind, clean(words), x=x, y=y, **{"text-anchor": anchor}, **more)

    def upright(self, x: float, y: float, words: str) -> None:
        """The title of a vertical axis, centred on ``y``."""
        self.text(x, y, words, kind="axis", transform=f"rotate(-90 {_n(x)} {_n(y)})")

    def _add(self, tag: str, kind: str, content: str | None = None, **attributes: float | str) -> None:
        """Append an element of the class ``kind``, with attributes in the order in which they are given."""
        words = {name: each if isinstance(each, str) else _n(each) for name, each in attributes.items()}
        head = Markup("").join(Markup(' {}="{}"').format(*each) for each in ({"class": kind} | words).items())
        end = Markup("/>") if content is None else Markup(">{}</{}>").format(content, tag)
        self._marks.append(Markup("<{}{}{}").format(tag, head, end))

    def render(self) -> Markup:
        """The element, with its title and description."""
        words = {"title": clean(self.title), "desc": clean(self.desc, 1000)}
        head = Markup(
            '<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}-t {name}-d">'
            '<title id="{name}-t">{title}</title><desc id="{name}-d">{desc}</desc>'
        ).format(width=_n(WIDTH), height=_n(self.height), name=self.name, **words)
        return head + Markup("").join(self._marks) + Markup("</svg>")


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _tip(words: str) -> Markup:
    return Markup("<title>{}</title>").format(clean(words)) if words else Markup("")


@dataclass(frozen=True)
class Plot:
    """The inner rectangle of a drawing, with linear scales.

    Attributes:
        drawing: what is drawn on.
        x: scale of the horizontal axis.
        y: scale of the vertical axis, whose start is the bottom.
    """

    drawing: Drawing
    x: Scale
    y: Scale

    def axes(self, x_title: str, y_title: str) -> None:
        """The base line and both titles."""
        bottom = self.y.start
        self.drawing.line(self.x.start, bottom, self.x.stop, bottom, "base")
        self.drawing.text((self.x.start + self.x.stop) / 2, bottom + 36, x_title, kind="axis")
        if y_title:
            self.drawing.upright(11, (self.y.start + self.y.stop) / 2, y_title)

    def x_ticks(self, values: Sequence[float], labels: Sequence[str]) -> None:
        """Short marks and labels below the base line."""
        for value, label in zip(values, labels, strict=True):
            at = self.x(value)
            self.drawing.line(at, self.y.start, at, self.y.start + 4, "base")
            self.drawing.text(at, self.y.start + 17, label)

    def y_ticks(self, values: Sequence[float], labels: Sequence[str]) -> None:
        """Faint lines across, labels on the left."""
        for value, label in zip(values, labels, strict=True):
            at = self.y(value)
            if at < self.y.start - 0.5:
                self.drawing.line(self.x.start, at, self.x.stop, at, "rule")
            self.drawing.text(self.x.start - 6, at + 3.8, label, "end")
