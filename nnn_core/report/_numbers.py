"""Numbers and foreign text as a reader sees them, on a page and in a terminal alike."""

from __future__ import annotations

import math
import unicodedata

from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.rankings import DEPTH
from nnn_core.report._sections import Better, Figure, Unit

#: No text of a user is shown longer than this.
MAX_TEXT = 240

MINUS = "\u2212"
_NONE = "\u2013"
_DIGITS = {"percent": 1, "number": 3, "rank": 1}
_SUFFIX = {"percent": " %", "number": "", "rank": ""}
#: Marks that reorder what stands around them: a caption could make its neighbours read backwards.
_REORDERING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Foreign text on one line, without characters that a page or terminal would obey instead of show.

    Control characters, lone surrogates and marks of direction become U+FFFD; white space becomes one space.
    """
    return visible(" ".join(_cut(text, limit).split()), limit)


def visible(line: str, limit: int) -> str:
    """A line without such characters, whose spaces, which line it up with others, stay."""
    return "".join(_visible(char) for char in _cut(line, limit))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "\u2026"


def _visible(char: str) -> str:
    point = ord(char)
    no_character = point & 0xFFFE == 0xFFFE or 0xFDD0 <= point <= 0xFDEF
    hidden = no_character or char in _REORDERING or unicodedata.category(char) in ("Cc", "Cs")
    return "\ufffd" if hidden else char


def fixed(value: float, digits: int, plus: bool = False) -> str:
    """A number with a real minus sign; a dash where there is none."""
    if math.isnan(value):
        return _NONE
    if math.isinf(value):
        return (MINUS if value < 0 else "+" if plus else "") + "\u221e"
    rounded = round(value, digits) or 0.0  # -0.0 reads as a loss
    return f"{rounded:{'+' if plus and rounded else ''},.{digits}f}".replace("-", MINUS)


def amount(value: float, unit: Unit) -> str:
    """A figure: 41.3 %, 0.512, or 7.0."""
    return _in(unit, value) + _SUFFIX[unit]


def _in(unit: Unit, value: float, plus: bool = False) -> str:
    return fixed(value * (100.0 if unit == "percent" else 1.0), _DIGITS[unit], plus)


def change(value: float, unit: Unit) -> str:
    """A difference of figures; of shares in percentage points."""
    return _in(unit, value, plus=True)


def span(interval: Interval, unit: Unit) -> str:
    """The interval of a figure: 39.0 to 43.6."""
    return f"{_in(unit, interval.low)} to {_in(unit, interval.high)}"


def change_span(interval: Interval, unit: Unit) -> str:
    """The interval of a difference: +0.4 to +2.2."""
    return f"{change(interval.low, unit)} to {change(interval.high, unit)}"


def points(unit: Unit) -> str:
    """What a difference is counted in."""
    return {"percent": "points", "number": "", "rank": "ranks"}[unit]


def movement(value: float, unit: Unit) -> str:
    """A difference in words: rises by 2.1 points."""
    if not value:
        return "stays the same"
    return f"{'rises' if value > 0 else 'falls'} by {_in(unit, abs(value))} {points(unit)}".rstrip()


def point_words(point: Point) -> str:
    """A point in words; k says nothing where alpha is 0."""
    return "alpha = 0 (no correction)" if point.alpha == 0 else f"k = {point.k}, alpha = {point.alpha:g}"


def verdict(figure: Figure) -> str:
    """``better``, ``worse``, ``same`` or ``unclear``: what the interval of the difference allows to say."""
    return judge(figure.gain, figure.better, figure.before.value, figure.after.value)


def judge(gain: Interval, better: Better = "higher", before: float = 0.0, after: float = 0.0) -> str:
    """What the interval ``gain`` of a difference allows to say, in the words of ``verdict``."""
    if gain.low == gain.high == 0:
        return "same"
    if not gain.excludes_zero:
        return "unclear"
    improved = {"higher": gain.value > 0, "lower": gain.value < 0, "zero": abs(after) < abs(before)}[better]
    return "better" if improved else "worse"


def count(value: int) -> str:
    """A whole number with thousands separated."""
    return f"{value:,}"


def rank(value: int) -> str:
    """A rank among the first that are looked at, or that it is beyond them."""
    return count(value) if value <= DEPTH else f"beyond {DEPTH}"


def unit_of(figure: str) -> Unit:
    """Recall is a share; other figures are plain numbers."""
    return "percent" if figure.startswith("recall") else "number"
