"""The evaluation of a table: what a bias does to held-out queries, and which bias to publish."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nnn_core.evaluation._quality import Quality, measure
from nnn_core.evaluation.choice import Choice, _bits_of, _choose
from nnn_core.evaluation.intervals import Groups, Interval, _groups_of, _standard_error
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.queries import QuerySet, _Unused
from nnn_core.evaluation.ranks import Counts, Doubles, Targets, _pairs_of

#: Weights that are tried.
ALPHAS = tuple(step / 8 for step in range(13))


@dataclass(frozen=True)
class Request:
    """What an evaluation is asked.

    Attributes:
        point: k and alpha that are to be published; None to choose them.
        grid: values of k that are tried.
        alphas: weights that are tried with every k.
        objective: name of the figure that counts for who reads the result.
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
    """What came of it. Where k and alpha were chosen, every figure of a query but ``surface`` is at the point that was
    chosen without it (see ``choice``). Without an answer to any query there are no figures, but the agreement.

    Attributes:
        point: k and alpha of the bias that is judged.
        choice: how k and alpha were chosen; None if they were given.
        objective: name of the figure that counts.
        queries: number of queries that are reported on.
        answers: number of distinct candidates that answer them, by which intervals are resampled.
        missing: number of relevant candidates that are not in the index, over all queries.
        unused: rows of the files of queries that no figure is of.
        before: figure by name without correction.
        after: figure by name with the bias that is judged.
        gain: figure by name, with the bias less without, paired by query.
        bits: mean gain in halvings of the rank of the first relevant candidate, and its standard error.
        agreement: of the bank and the queries, see ``agreement``; None if the bank's mean vector is unknown.
        median_rank: median rank of the first relevant candidate, before and after the correction.
        surface: (k, alpha, objective) at every point that was tried, over all queries.
    """

    point: Point
    choice: Choice | None
    objective: str
    queries: int
    answers: int
    missing: int
    unused: _Unused
    before: dict[str, Interval] = field(default_factory=dict)
    after: dict[str, Interval] = field(default_factory=dict)
    gain: dict[str, Interval] = field(default_factory=dict)
    bits: tuple[float, float] = (0.0, 0.0)
    agreement: float | None = None
    median_rank: tuple[float, float] = (0.0, 0.0)
    surface: tuple[tuple[int, float, float], ...] = ()

    @classmethod
    def of(
        cls,
        queries: QuerySet,
        targets: Targets,
        ahead: Counts,
        request: Request,
        rejected: int = 0,
        agreement: float | None = None,
    ) -> Evaluation:
        """Figures, intervals, and the choice if one is asked for.

        Args:
            queries: all held-out queries, with their relevant candidates.
            targets: relevant candidates of the queries, as far as the index holds them.
            ahead: (points, found) int64, how many candidates are ahead of each target at each point.
            request: values of k and alpha to judge, and the objective.
            rejected: number of rows of the files of queries that could not be used.
            agreement: of the bank and the queries; None if unknown.
        """
        unanswered = sum(not names for names in queries.relevant)
        if request.point is not None and unanswered == len(queries.ids):
            unused = _Unused(rejected, unanswered, 0)
            return cls(request.point, None, request.objective, 0, 0, 0, unused, agreement=agreement)
        points, (quality, answers) = request.points, _judge(queries, targets, ahead)
        choice, point, every = None, request.point, np.arange(len(answers))
        if point is None:
            objective = (request.objective, quality.figures[request.objective])
            choice, at = _choose(points, quality.first, answers, objective, agreement)
            point = choice.point
            if not choice.proven:
                at = np.zeros_like(at)
        else:
            at = np.full(len(answers), 0 if point.alpha == 0.0 else points.index(point))
        groups = _groups_of(answers)
        before, after = ({name: each[rows, every] for name, each in quality.figures.items()} for rows in (0, at))
        bits = _bits_of(quality.first[at, every]) - _bits_of(quality.first[0])
        return cls(
            point=point,
            choice=choice,
            objective=request.objective,
            queries=len(answers),
            answers=int(groups.max()) + 1,
            missing=sum(map(len, queries.relevant)) - len(targets.pairs),
            unused=_Unused(rejected, unanswered, len(queries.ids) - unanswered - len(answers)),
            before=_intervals(before, groups),
            after=_intervals(after, groups),
            gain=_intervals({name: after[name] - before[name] for name in before}, groups),
            bits=(float(bits.mean()), _standard_error(bits, groups)),
            agreement=agreement,
            median_rank=(float(np.median(quality.first[0])), float(np.median(quality.first[at, every]))),
            surface=tuple(
                (each.k, each.alpha, float(value))
                for each, value in zip(points, quality.figures[request.objective].mean(axis=1), strict=True)
            ),
        )


def _judge(queries: QuerySet, targets: Targets, ahead: Counts) -> tuple[Quality, list[str]]:
    """Quality of the queries of which a relevant candidate is in the index, and the first of these candidates' ids."""
    query, names = _pairs_of(queries.relevant)
    _, firsts, dense = np.unique(query[targets.pairs], return_index=True, return_inverse=True)
    quality = measure(ahead + 1, dense.astype(np.int64), queries.grades[targets.pairs])
    return quality, [names[targets.pairs[at]] for at in firsts]


def _intervals(figures: dict[str, Doubles], groups: Groups) -> dict[str, Interval]:
    return dict(zip(figures, Interval.of_means(np.stack(list(figures.values())), groups), strict=True))
