"""Comparisons as sections of a report: other methods, fairness, and the bank's positives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnn_core.evaluation import fairness
from nnn_core.evaluation.intervals import Interval
from nnn_core.report.review import unit_of
from nnn_core.report.sections import Better, Fairness, Figure, Rival, Rivals, Unit

#: Measures of which less is more even; of the others more is better, but for the signed bias.
_LOWER = ("absolute_bias", "max_skew", "ndkl")


def rivals_section(rows: Sequence[Mapping[str, Any]], objective: str) -> Rivals:
    """The rows of ``comparison.compare_methods``."""
    methods = (
        Rival(
            name=row["title"],
            settings=_setting_words(row["setting"], row["settings"]),
            value=Interval(**row["figures"][objective]),
            gain=Interval(**row["gains"][objective]),
            seconds=row["seconds"]["fit"],
            tuning_seconds=row["seconds"]["search"],
            additive=row["additive"],
        )
        for row in rows
    )
    return Rivals(objective, rows[0]["queries"], tuple(methods), unit_of(objective))


def _setting_words(setting: Mapping[str, Any], tried: int) -> str:
    words = ", ".join(f"{name} = {value:g}" for name, value in setting.items())
    return f"{words} (of {tried})" if tried > 1 else words


def fairness_section(
    attribute: str, queries: int, values: tuple[str, ...], figures: Sequence[fairness.Figure]
) -> Fairness:
    """What ``attributes.compare_values`` found."""
    return Fairness(attribute, values, queries, tuple(map(_figure, figures)))


def _figure(found: fairness.Figure) -> Figure:
    name = found.name.replace("_", " ") + (f" ({' or '.join(found.values)})" if found.values else "")
    measure = found.name.partition("@")[0]
    better: Better = "zero" if measure == "bias" else "lower" if measure in _LOWER else "higher"
    unit: Unit = "percent" if measure == "recall" else "number"
    return Figure(name, found.before, found.after, found.change, unit, better)
