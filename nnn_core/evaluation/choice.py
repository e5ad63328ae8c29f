"""Choosing k and alpha: on one half of the queries, reported on the other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.errors import InputError
from nnn_core.evaluation._quality import Quality
from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.points import Point

OBJECTIVES = ("recall@1", "recall@5", "recall@10", "mrr", "ndcg@10")

#: With fewer reporting queries nothing is proved: by chance alone all five of five gain once in 32 times, more
#: often than a 95 % interval may lie above 0, and the bootstrap never sees the queries that were not drawn.
FEWEST_REPORTING = 6


def choosing_half(query_ids: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(queries,) whether a query chooses; the others report. By a hash of its id, so it never changes sides."""
    return np.array([hashlib.blake2b(name.encode(), digest_size=1).digest()[0] % 2 == 0 for name in query_ids], bool)


@dataclass(frozen=True)
class Choice:
    """What was chosen and what it gained on queries that did not choose.

    Attributes:
        point: k and alpha to publish; alpha 0 if no gain could be shown.
        best: k and alpha that did best on the choosing half, before any doubt.
        objective: name of the figure that was maximised.
        gain: gain in the objective of ``candidate`` over no correction, on the reporting half.
        candidate: the point with the smallest alpha within one standard error of ``best``.
    """

    point: Point
    best: Point
    objective: str
    gain: Interval
    candidate: Point

    @classmethod
    def make(cls, points: Sequence[Point], quality: Quality, choosing: npt.NDArray[np.bool_], objective: str) -> Choice:
        """The smallest alpha within one standard error of the best on the choosing half, if it gains on the other.

        The standard error is that of the best point's paired difference to each other point, by bootstrap. Of
        several k with that alpha the one with the highest objective is taken, then the smallest.

        Args:
            points: values of k and alpha to choose from; the first is no correction.
            quality: figures of all queries at all points.
            choosing: (queries,) bool, whether a query is of the half that chooses.
            objective: name of the figure to maximise, one of ``OBJECTIVES``.

        Raises:
            InputError: one of the halves has no query.
        """
        if choosing.all() or not choosing.any():
            raise InputError(
                f"of {len(choosing)} validation queries {int(choosing.sum())} choose and {int((~choosing).sum())} "
                "report (by a hash of the id), so k and alpha cannot be chosen on some and shown on others; give more "
                "queries, at least 100, or give --k and --alpha."
            )
        values = quality.figures[objective]
        ours = values[:, choosing]
        means = ours.mean(axis=1)
        best = int(np.lexsort(([point.k for point in points], [point.alpha for point in points], -means))[0])
        errors = Interval.resampled_means(ours[best] - ours).std(axis=0)
        near = np.flatnonzero(means[best] - means <= errors).tolist()
        candidate = min(near, key=lambda at: (points[at].alpha, -means[at], points[at].k))
        gain = Interval.of_means((values[candidate] - values[0])[None, ~choosing])[0]
        shown = gain.low > 0.0 and int((~choosing).sum()) >= FEWEST_REPORTING
        chosen = points[candidate] if shown else points[0]
        return cls(chosen, points[best], objective, gain, points[candidate])
