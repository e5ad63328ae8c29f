"""Choosing k and alpha by held-out queries, and proving the choice by the same queries, fold by fold.

The gain of a query q at a point p is counted in bits, as halvings of the rank of its first relevant candidate:

    s(q, p) = -log2(min(rank at p, 1000)) + log2(min(rank without correction, 1000))

It moves with every rank, so it tells points apart by far fewer queries than a recall does. Of all queries

    g(p) = mean over q of s(q, p), smoothed 1-2-1 along log2 k and along alpha, with gain 0 at alpha 0
    b    = the point with the highest g; no correction if no g is above 0

and the choice is, among the points p that are not told apart from the best,

    g(b) - g(p) <= sd over q of (s(q, b) - s(q, p)) / max(sqrt(queries), queries / 10),

the one nearest to k 16 and alpha 0.5: the least ((alpha - 0.5) / 0.25)^2 + ((log2 k - 4) / 2)^2. Up to 100 queries that
is one standard error. More of them are trusted sooner: a whole standard error would then give up what they can show
(``tests/benchmarks/choice.py``: of the demo's gain 62 % is kept at 1,000 queries, 43 % by a whole one).

The proof: queries fall into ten folds by a hash of the candidate that answers them, so that captions of one image
are never on both sides. For each fold the rule chooses by the other nine; what its queries gain at that point, which
they took no part in choosing, is pooled over the folds. The mean must exceed so many of its standard errors over
candidates, one-sided: 1.645 (95 %), or 0.842 (80 %) where the bank is evidently of the queries' domain (``agreement``).
Then the choice by all queries is published, else alpha 0. What this cannot know is whether tomorrow's queries are
like these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnn_core.evaluation.intervals import Interval, _groups_of, _standard_error
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.ranks import Counts, Doubles

OBJECTIVES = ("recall@1", "recall@5", "recall@10", "mrr", "ndcg@10")

#: An agreement from which on a bank is taken to be of the queries' domain; also the default bound of its gate.
RELATED = 0.6

#: Standard errors from a mean to the end of its one-sided interval of 95 % and of 80 %.
_CERTAIN, LIKELY = 1.645, 0.842

#: With fewer queries, or fewer distinct candidates that answer them, nothing is proved.
FEWEST_ANSWERS = 30

_FOLDS = 10
_LAST_RANK = 1000


@dataclass(frozen=True)
class Choice:
    """What was chosen and how sure its gain is.

    Attributes:
        point: k and alpha to publish; alpha 0 if no gain could be proved.
        best: k and alpha with the highest smoothed gain.
        objective: name of the figure that ``gain`` is in.
        gain: gain in the objective at the points that the other folds chose.
        candidate: k and alpha that are chosen by all queries, before any doubt.
        bits: mean gain at the points that the other folds chose, in halvings of a rank; the other figures of the proof
            follow.
        error: standard error of ``bits`` over the candidates that answer queries.
        needed: how many standard errors ``bits`` must exceed.
        answers: distinct candidates that answer queries.
    """

    point: Point
    best: Point
    objective: str
    gain: Interval
    candidate: Point
    bits: float = 0.0
    error: float = 0.0
    needed: float = 0.0
    answers: int = 0

    @property
    def proven(self) -> bool:
        """Whether the choice gains for certain enough to be published."""
        enough = self.answers >= FEWEST_ANSWERS and self.candidate.alpha > 0.0
        return enough and self.bits > self.needed * self.error


def _choose(
    points: Sequence[Point],
    first: Counts,
    answers: Sequence[str],
    objective: tuple[str, Doubles],
    agreement: float | None,
) -> tuple[Choice, Counts]:
    """Apply the rule.

    Args:
        points: no correction, then every k of a grid with every alpha of another, k by k, both ascending.
        first: (points, queries) int64, rank from 1 of each query's first relevant candidate.
        answers: (queries,) id of the candidate that answers each query.
        objective: a figure's name and its values, (points, queries), for ``Choice.gain``.
        agreement: of the bank and the queries, see ``agreement``; None if unknown.

    Returns:
        The choice, and for each query the position of the point that was chosen without it, (queries,) int64.
    """
    bits = _bits_of(first)
    gains = bits[1:] - bits[0]
    folds = np.array([_fold_of(name) for name in answers])
    unseen = np.zeros(len(answers), np.int64)
    for fold in np.unique(folds).tolist():
        if (folds != fold).any():
            unseen[folds == fold] = _nearest_to_best(points, gains[:, folds != fold])[1]
    every = np.arange(len(answers))
    pooled = bits[unseen, every] - bits[0]
    groups = _groups_of(answers)
    best, candidate = _nearest_to_best(points, gains)
    name, values = objective
    choice = Choice(
        points[0],
        points[best],
        name,
        Interval.of_means((values[unseen, every] - values[0])[None], groups)[0],
        points[candidate],
        float(pooled.mean()),
        _standard_error(pooled, groups),
        LIKELY if agreement is not None and agreement >= RELATED else _CERTAIN,
        int(groups.max()) + 1,
    )
    return (replace(choice, point=choice.candidate) if choice.proven else choice), unseen


def _bits_of(first: Counts) -> Doubles:
    """What a first relevant candidate at these ranks is worth, in bits; 0 at rank 1."""
    bits: Doubles = -np.log2(np.minimum(first, _LAST_RANK))
    return bits


def _fold_of(answer: str) -> int:
    """The fold of a query, by the candidate that answers it."""
    return int.from_bytes(hashlib.blake2b(answer.encode(), digest_size=8).digest()) % _FOLDS


def _nearest_to_best(points: Sequence[Point], gains: Doubles) -> tuple[int, int]:
    """Positions of b and of the choice, from gains (points but the first, queries)."""
    ks, alphas = (sorted({getattr(point, name) for point in points[1:]}) for name in ("k", "alpha"))
    surface = gains.mean(axis=1).reshape(len(ks), len(alphas))
    smooth = _smoothed(_smoothed(surface, np.nan).T, 0.0).T.ravel()
    best = int(smooth.argmax())
    if smooth[best] <= 0.0:
        return 0, 0
    queries = gains.shape[1]
    errors = (gains[best] - gains).std(axis=1) / max(np.sqrt(queries), queries / 10)
    near = np.flatnonzero(smooth[best] - smooth <= errors).tolist()
    return best + 1, 1 + min(near, key=lambda at: (_distance(points[at + 1]), at))


def _smoothed(values: Doubles, before: float) -> Doubles:
    """1-2-1 along the first axis, with ``before`` as the value before the first; nan for none, as after the last."""
    padded = np.concatenate([np.full_like(values[:1], before), values, np.full_like(values[:1], np.nan)])
    beside = np.stack([padded[:-2], values, padded[2:]])
    weights = np.array([1.0, 2.0, 1.0])[:, None, None] * ~np.isnan(beside)
    smooth: Doubles = (weights * np.nan_to_num(beside)).sum(axis=0) / weights.sum(axis=0)
    return smooth


def _distance(point: Point) -> float:
    return float(((point.alpha - 0.5) / 0.25) ** 2 + ((np.log2(point.k) - 4.0) / 2.0) ** 2)
