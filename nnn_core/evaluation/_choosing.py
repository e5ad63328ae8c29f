"""The rule of ``choice``, applied to what queries gain at each point."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nnn_core.evaluation._resampling import groups_of, standard_error
from nnn_core.evaluation.choice import LIKELY, RELATED, Choice, Counts, Doubles
from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.points import Point

#: Standard errors from a mean to the end of its one-sided interval of 95 %.
_CERTAIN = 1.645
_FOLDS = 10
_LAST_RANK = 1000


def choose(
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
    bits = bits_of(first)
    gains = bits[1:] - bits[0]
    folds = np.array([fold_of(name) for name in answers])
    unseen = np.zeros(len(answers), np.int64)
    for fold in np.unique(folds).tolist():
        if (folds != fold).any():
            unseen[folds == fold] = _nearest_to_best(points, gains[:, folds != fold])[1]
    every = np.arange(len(answers))
    pooled = bits[unseen, every] - bits[0]
    groups = groups_of(answers)
    best, candidate = _nearest_to_best(points, gains)
    name, values = objective
    choice = Choice(
        points[0],
        points[best],
        name,
        Interval.of_means((values[unseen, every] - values[0])[None], groups)[0],
        points[candidate],
        float(pooled.mean()),
        standard_error(pooled, groups),
        LIKELY if agreement is not None and agreement >= RELATED else _CERTAIN,
        int(groups.max()) + 1,
    )
    return (replace(choice, point=choice.candidate) if choice.proven else choice), unseen


def bits_of(first: Counts) -> Doubles:
    """What a first relevant candidate at these ranks is worth, in bits; 0 at rank 1."""
    bits: Doubles = -np.log2(np.minimum(first, _LAST_RANK))
    return bits


def fold_of(answer: str) -> int:
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
    errors = (gains[best] - gains).std(axis=1) / np.sqrt(gains.shape[1])
    near = np.flatnonzero(smooth[best] - smooth <= errors).tolist()
    return best + 1, 1 + min(near, key=lambda at: (_distance(points[at + 1]), at))


def _smoothed(values: Doubles, before: float) -> Doubles:
    """1-2-1 along the first axis, with ``before`` as the value before the first; nan for none, as after the last."""
    padded = np.concatenate([np.full_like(values[:1], before), values, np.full_like(values[:1], np.nan)])
    weights = np.array([1.0, 2.0, 1.0])[:, None, None] * ~np.isnan(np.stack([padded[:-2], values, padded[2:]]))
    numbers = np.nan_to_num(np.stack([padded[:-2], values, padded[2:]]))
    smooth: Doubles = (weights * numbers).sum(axis=0) / weights.sum(axis=0)
    return smooth


def _distance(point: Point) -> float:
    return float(((point.alpha - 0.5) / 0.25) ** 2 + ((np.log2(point.k) - 4.0) / 2.0) ** 2)
