"""The evaluation of a table: what a bias does to held-out queries, and which bias to publish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnn_core.evaluation._quality import Doubles, Quality, measure
from nnn_core.evaluation.choice import Choice, choosing_half
from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.ranks import Counts, Targets

#: Weights that are tried.
ALPHAS = tuple(step / 8 for step in range(13))


@dataclass(frozen=True)
class Request:
    """What an evaluation is asked.

    Attributes:
        point: k and alpha that are to be published; None to choose them.
        grid: values of k that are tried.
        alphas: weights that are tried with every k.
        objective: name of the figure that a choice maximises.
    """

    point: Point | None
    grid: tuple[int, ...]
    alphas: tuple[float, ...] = ALPHAS
    objective: str = "recall@1"

    @property
    def points(self) -> tuple[Point, ...]:
        """All points that are tried, no correction first, and the one that was asked for among them."""
        points = Point.of_grid(self.grid, self.alphas)
        given = self.point
        return points if given is None or given.alpha == 0.0 or given in points else (*points, given)


@dataclass(frozen=True)
class Evaluation:
    """What came of it. All figures but ``surface`` are of queries that took no part in a choice.

    Attributes:
        point: k and alpha of the bias that is judged.
        choice: how k and alpha were chosen; None if they were given.
        objective: name of the figure that counts.
        queries: number of queries that are reported on.
        choosing: number of queries that chose; 0 if k and alpha were given.
        missing: number of relevant candidates that are not in the index, over all queries.
        before: figure by name without correction.
        after: figure by name with the bias that is judged.
        gain: figure by name, with the bias less without, paired by query.
        median_rank: median rank of the first relevant candidate, before and after the correction.
        surface: (k, alpha, objective) at every point that was tried; on the choosing half if there was a choice.
    """

    point: Point
    choice: Choice | None
    objective: str
    queries: int
    choosing: int
    missing: int
    before: dict[str, Interval]
    after: dict[str, Interval]
    gain: dict[str, Interval]
    median_rank: tuple[float, float]
    surface: tuple[tuple[int, float, float], ...]


def summarise(queries: QuerySet, targets: Targets, ahead: Counts, request: Request) -> Evaluation:
    """Figures, intervals, and the choice if one is asked for.

    Args:
        queries: all held-out queries, with their relevant candidates.
        targets: relevant candidates of the queries, as far as the index holds them.
        ahead: (points, found) int64, how many candidates are ahead of each target at each point.
        request: values of k and alpha to judge, and the objective.
    """
    points, (quality, names) = request.points, _judge(queries, targets, ahead)
    chooses = choosing_half(names) if request.point is None else np.zeros(len(names), bool)
    choice, point = None, request.point
    if point is None:
        choice = Choice.make(points, quality, chooses, request.objective)
        point = choice.point
    at = 0 if point.alpha == 0.0 else points.index(point)
    report = quality.of(~chooses)
    shown = quality.of(chooses) if choice else report
    return Evaluation(
        point=point,
        choice=choice,
        objective=request.objective,
        queries=int((~chooses).sum()),
        choosing=int(chooses.sum()),
        missing=sum(map(len, queries.relevant)) - len(targets.pairs),
        before=_intervals({name: values[0] for name, values in report.figures.items()}),
        after=_intervals({name: values[at] for name, values in report.figures.items()}),
        gain=_intervals({name: values[at] - values[0] for name, values in report.figures.items()}),
        median_rank=(float(np.median(report.first[0])), float(np.median(report.first[at]))),
        surface=tuple(
            (each.k, each.alpha, float(value))
            for each, value in zip(points, shown.figures[request.objective].mean(axis=1), strict=True)
        ),
    )


def _judge(queries: QuerySet, targets: Targets, ahead: Counts) -> tuple[Quality, list[str]]:
    """Quality of the queries of which a relevant candidate is in the index, and their ids."""
    query = np.repeat(np.arange(len(queries.ids)), list(map(len, queries.relevant)))
    asked, dense = np.unique(query[targets.pairs], return_inverse=True)
    quality = measure(ahead + 1, dense.astype(np.int64), queries.grades[targets.pairs])
    return quality, [queries.ids[row] for row in asked]


def _intervals(figures: dict[str, Doubles]) -> dict[str, Interval]:
    return dict(zip(figures, Interval.of_means(np.stack(list(figures.values()))), strict=True))
