"""The figures of a report, one function each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

from markupsafe import Markup

from nnn_core.evaluation.points import Point
from nnn_core.evaluation.rankings import Occurrence
from nnn_core.report._numbers import amount, change, change_span, clean, count, fixed, point_words, points
from nnn_core.report._sections import BiasShift, Figure, Hubness, Quality, Tuning
from nnn_core.report._svg import WIDTH, Drawing, Plot, Scale, label_of, short_of, ticks

#: Shades on either side of zero in a heat map.
SHADES = 5
#: A heat map with more rows or columns than these leaves out the rest, and says so.
MAX_ROWS = 16
MAX_COLUMNS = 25
_MAX_VERTICES = 160
_MAX_BARS = 100
_MAX_GAINS = 12

Number = TypeVar("Number", int, float)


def gain_chart(quality: Quality, name: str) -> Markup:
    """Each figure's change with its interval; figures that are not between 0 and 1 have no place on the axis."""
    figures = [figure for figure in quality.figures if figure.unit != "rank" and figure.better == "higher"]
    figures = figures[:_MAX_GAINS]
    bottom = 14.0 + 26.0 * len(figures)
    words = "; ".join(f"{figure.name} {_gain_words(figure)}" for figure in figures)
    title = "Change of each figure with its 95 % interval"
    drawing = Drawing(name, title, f"Change in points: {words}.", bottom + 44)
    low = min([0.0, *(100 * figure.gain.low for figure in figures)])
    high = max([0.0, *(100 * figure.gain.high for figure in figures)])
    room = (high - low or 1.0) * 0.06
    plot = Plot(drawing, Scale(low - room, high + room, 76, WIDTH - 10), Scale(0, len(figures), bottom, 14))
    marks = ticks(low - room, high + room, 5)
    plot.axes("change in points (0.01 of the figure)", "")
    plot.x_ticks(marks, [label_of(mark, plus=True) for mark in marks])
    drawing.line(plot.x(0.0), 8, plot.x(0.0), bottom, "zero")
    for row, figure in enumerate(figures):
        _whisker(plot, 14 + 26.0 * (row + 0.5), figure)
    return drawing.render()


def _whisker(plot: Plot, y: float, figure: Figure) -> None:
    kind = "after" if figure.gain.excludes_zero else "unsure"
    left, right = plot.x(100 * figure.gain.low), plot.x(100 * figure.gain.high)
    plot.drawing.text(plot.x.start - 8, y + 3.8, clean(figure.name, 12), "end", "label")
    plot.drawing.line(left, y, right, y, f"whisker {kind}")
    for end in (left, right):
        plot.drawing.line(end, y - 4, end, y + 4, f"whisker {kind}")
    tip = f"{figure.name}: {_gain_words(figure)}"
    plot.drawing.dot(plot.x(100 * figure.gain.value), y, 4.5, f"mark {kind}", tip)


def _gain_words(figure: Figure) -> str:
    return f"{change(figure.gain.value, 'percent')} ({change_span(figure.gain, 'percent')})"


def heat_grid(tuning: Tuning) -> tuple[list[int], list[float], dict[tuple[int, float], float]]:
    """(k ascending, alpha ascending, gain of each (k, alpha), NaN if unknown) of a heat map.

    Where there are more than fit, the rows and columns of the points that were chosen stay.
    """
    gains = {point: gain for point, gain in tuning.gains if point.alpha > 0}
    kept = [point for point in (tuning.choice.point, tuning.choice.candidate, tuning.choice.best) if point.alpha > 0]
    ks = _thin(sorted({point.k for point in gains}), [point.k for point in kept], MAX_ROWS)
    alphas = _thin(sorted({point.alpha for point in gains}), [point.alpha for point in kept], MAX_COLUMNS - 1)
    cells = {(k, alpha): gains.get(Point(k, alpha), math.nan) for k in ks for alpha in alphas}
    return ks, [0.0, *alphas], {(k, 0.0): 0.0 for k in ks} | cells


def _thin(values: list[Number], kept: Sequence[Number], most: int) -> list[Number]:
    if len(values) <= most:
        return values
    keep = set(kept)
    others = [value for value in values if value not in keep]
    room = most - (len(values) - len(others))
    return sorted(keep.union(others[at * len(others) // room] for at in range(room)))


def heat_limit(tuning: Tuning) -> float:
    """The gain of the strongest shade: the highest gain, unless losses dwarf it."""
    gains = [gain for _, gain in tuning.gains if math.isfinite(gain)]
    return max([1e-9, *gains, *(-gain / 8 for gain in gains)])


def shade(gain: float, limit: float) -> str:
    """Class of a cell: ``h0`` for none, ``hp1`` ... for gains, ``hn1`` ... for losses."""
    if not math.isfinite(gain):
        return "hx"
    step = min(SHADES, round(SHADES * abs(gain) / limit))
    return "h0" if step == 0 else f"h{'p' if gain > 0 else 'n'}{step}"


def heat_map(tuning: Tuning, name: str, label: str) -> Markup:
    """Gain in the objective over k and alpha; the point of the figures has a frame and a label, the best one a dot."""
    ks, alphas, gains = heat_grid(tuning)
    # Tall enough for the title of the axis, however few rows there are.
    side = max(120.0 / max(1, len(ks)), min(25.0, 190.0 / max(1, len(ks))))
    bottom = 8 + side * len(ks)
    drawing = Drawing(
        name, f"Gain in {tuning.choice.objective} over k and alpha", heat_words(tuning, label), bottom + 46
    )
    plot = Plot(drawing, Scale(0, len(alphas), 44, WIDTH - 6), Scale(0, len(ks), bottom, 8))
    limit = heat_limit(tuning)
    for (row, k), (column, alpha) in itertools.product(enumerate(ks), enumerate(alphas)):
        gain = gains[k, alpha]
        tip = f"k = {k}, alpha = {alpha:g}: {change(gain, tuning.unit)} {points(tuning.unit)}".rstrip()
        x, y = plot.x(column), plot.y(row + 1)
        size = plot.x(column + 1) - x - 1.5, plot.y(row) - y - 1.5
        drawing.box(x + 0.75, y + 0.75, *size, "cell " + shade(gain, limit), tip, 2)
    _mark_points(plot, tuning, ks, alphas)
    drawing.text((plot.x.start + plot.x.stop) / 2, bottom + 36, "alpha (weight of the mean)", kind="axis")
    drawing.upright(11, (plot.y.start + plot.y.stop) / 2, "k (references averaged)")
    _heat_labels(plot, ks, alphas)
    return drawing.render()


def _mark_points(plot: Plot, tuning: Tuning, ks: Sequence[int], alphas: Sequence[float]) -> None:
    for point, kind in ((tuning.choice.best, "best"), (tuning.choice.point, "chosen")):
        column = alphas.index(point.alpha) if point.alpha in alphas else None
        if column is None or (point.alpha > 0 and point.k not in ks):
            continue
        rows = [ks.index(point.k)] if point.alpha > 0 else range(len(ks))
        if kind == "best" and point.alpha > 0:
            plot.drawing.dot(plot.x(column + 0.5), plot.y(rows[0] + 0.5), 3.2, "best")
        elif kind == "chosen":
            x, y = plot.x(column), plot.y(rows[-1] + 1)
            plot.drawing.box(x, y, plot.x(column + 1) - x, plot.y(rows[0]) - y, "chosen", round_=3)


def _heat_labels(plot: Plot, ks: Sequence[int], alphas: Sequence[float]) -> None:
    for row, k in enumerate(ks):
        plot.drawing.text(plot.x.start - 5, plot.y(row + 0.5) + 3.8, f"{k}", "end")
    labels = [f"{alpha:g}" for alpha in alphas]
    width = plot.x(1) - plot.x(0)
    every = math.ceil((max(map(len, labels)) * 6.6 + 5) / width)
    for column in range(0, len(labels), every):
        plot.drawing.text(plot.x(column + 0.5), plot.y.start + 17, labels[column])


def heat_words(tuning: Tuning, label: str) -> str:
    """The heat map in words; ``label`` says what became of the point that the figures are of."""
    choice = tuning.choice
    finite = [gain for _, gain in tuning.gains if math.isfinite(gain)] or [math.nan]
    return (
        f"Gains from {change(min(finite), tuning.unit)} to {change(max(finite), tuning.unit)} {points(tuning.unit)}. "
        f"Best: {point_words(choice.best)}. "
        f"{label.capitalize()}: {point_words(choice.point)}."
    )


def occurrence_bins(occurrence: Occurrence) -> dict[int, int]:
    """Candidates that were retrieved 0, 1, 2-3, 4-7, ... times, by the lower end of the bin."""
    bins: dict[int, int] = {}
    for times, candidates in occurrence.counts:
        lower = 1 << (times.bit_length() - 1) if times else 0
        bins[lower] = bins.get(lower, 0) + candidates
    return bins


def histogram(hubness: Hubness, name: str) -> Markup:
    """How many candidates are in a top n how often; both axes are logarithmic but for the bin of zero."""
    before, after = occurrence_bins(hubness.before), occurrence_bins(hubness.after)
    lowers = [0, *(1 << power for power in range(max([1, *before, *after]).bit_length()))]
    decades = math.ceil(math.log10(max([10, *before.values(), *after.values()])))
    words = f"Candidates by the number of top-{hubness.depth} lists that they are in, before and after."
    drawing = Drawing(name, f"How often candidates are in a top {hubness.depth}", words, 232)
    plot = Plot(drawing, Scale(-0.5, len(lowers) - 0.5, 58, WIDTH - 8), Scale(0, decades, 188, 12))
    plot.y_ticks(list(range(decades + 1)), [short_of(10**power) for power in range(decades + 1)])
    plot.axes(f"top-{hubness.depth} lists of a candidate (lower end of each bin)", "candidates (log scale)")
    step = math.ceil(len(lowers) / 11)
    shown = list(range(0, len(lowers), step))
    plot.x_ticks(shown, [short_of(lowers[at]) for at in shown])
    for kind, bins in (("before", before), ("after", after)):
        _bin_line(plot, lowers, bins, kind)
    return drawing.render()


def _bin_line(plot: Plot, lowers: Sequence[int], bins: dict[int, int], kind: str) -> None:
    spots = [(at, bins[lower]) for at, lower in enumerate(lowers) if bins.get(lower)]
    plot.drawing.path([(plot.x(at), plot.y(math.log10(size))) for at, size in spots], f"series {kind}")
    for at, size in spots:
        upper = max(lowers[at] * 2 - 1, lowers[at])
        times = f"{lowers[at]}" if upper == lowers[at] else f"{lowers[at]} to {upper}"
        plot.drawing.dot(
            plot.x(at), plot.y(math.log10(size)), 4, f"mark {kind}", f"{kind}: {count(size)} candidates, {times} times"
        )


def lorenz(occurrence: Occurrence) -> list[tuple[float, float]]:
    """The Lorenz curve: (share of candidates, least retrieved first; share of all places), from (0, 0) to (1, 1)."""
    candidates = sum(size for _, size in occurrence.counts) or 1
    places = sum(times * size for times, size in occurrence.counts) or 1
    curve = [(0.0, 0.0)]
    people = held = 0
    for times, size in sorted(occurrence.counts):
        people, held = people + size, held + times * size
        curve.append((people / candidates, held / places))
    step = math.ceil(len(curve) / _MAX_VERTICES)
    return curve[:-1:step] + curve[-1:]


def lorenz_chart(hubness: Hubness, name: str) -> Markup:
    """How unequally the places of all top n are spread over the candidates."""
    words = (
        f"Gini coefficient {fixed(hubness.before.gini, 3)} before and {fixed(hubness.after.gini, 3)} after. The "
        "diagonal stands for candidates that are all retrieved equally often."
    )
    drawing = Drawing(name, "Lorenz curve of retrieval", words, 232)
    plot = Plot(drawing, Scale(0, 1, 58, WIDTH - 14), Scale(0, 1, 188, 12))
    quarters = [0.0, 0.25, 0.5, 0.75, 1.0]
    labels = [f"{100 * quarter:.0f}" for quarter in quarters]
    plot.y_ticks(quarters, labels)
    plot.x_ticks(quarters, labels)
    plot.axes("candidates, least retrieved first (%)", f"share of top-{hubness.depth} places (%)")
    drawing.line(plot.x(0), plot.y(0), plot.x(1), plot.y(1), "equal")
    for kind, occurrence in (("before", hubness.before), ("after", hubness.after)):
        drawing.path([(plot.x(x), plot.y(y)) for x, y in lorenz(occurrence)], f"series {kind}")
    return drawing.render()


def bias_chart(biases: BiasShift, name: str) -> Markup:
    """The biases of this version as bars, of the previous one as an outline."""
    biases = _coarse(biases)
    now, then = _shares(biases.counts), _shares(biases.previous)
    high = max([1e-9, *now, *then])
    words = f"Biases from {fixed(biases.edges[0], 3)} to {fixed(biases.edges[-1], 3)}."
    drawing = Drawing(name, "Distribution of the biases", words, 232)
    plot = Plot(drawing, Scale(biases.edges[0], biases.edges[-1], 58, WIDTH - 14), Scale(0, high * 1.05, 188, 12))
    levels, marks = ticks(0, high * 1.05, 4), ticks(biases.edges[0], biases.edges[-1], 5)
    plot.y_ticks(levels, [label_of(level) for level in levels])
    for left, right, share in zip(biases.edges, biases.edges[1:], now, strict=False):
        tip = f"{label_of(left)} to {label_of(right)}: {amount(share / 100, 'percent')} of candidates"
        width = max(0.6, plot.x(right) - plot.x(left) - 1)
        drawing.box(plot.x(left), plot.y(share), width, plot.y.start - plot.y(share), "bar after", tip)
    if then:
        drawing.path(list(_steps(plot, biases.edges, then)), "series previous")
    plot.axes("bias (inner product of unit vectors)", "share of candidates (%)")
    plot.x_ticks(marks, [label_of(mark) for mark in marks])
    return drawing.render()


def _coarse(biases: BiasShift) -> BiasShift:
    """Neighbouring bins put together until there are few enough to see."""
    step = math.ceil(len(biases.counts) / _MAX_BARS)
    edges = (*biases.edges[:-1:step], biases.edges[-1])
    counts, previous = (
        tuple(sum(each[at : at + step]) for at in range(0, len(each), step))
        for each in (biases.counts, biases.previous)
    )
    return BiasShift(edges, counts, previous, biases.figures)


def _shares(counts: Sequence[int]) -> list[float]:
    return [100 * each / (sum(counts) or 1) for each in counts]


def _steps(plot: Plot, edges: Sequence[float], shares: Sequence[float]) -> Iterator[tuple[float, float]]:
    yield plot.x(edges[0]), plot.y(0)
    for left, right, share in zip(edges, edges[1:], shares, strict=False):
        yield plot.x(left), plot.y(share)
        yield plot.x(right), plot.y(share)
    yield plot.x(edges[-1]), plot.y(0)
