"""Choosing k and alpha by held-out queries, and proving the choice by the same queries, fold by fold.

The gain of a query q at a point p is counted in bits, as halvings of the rank of its first relevant candidate:

    s(q, p) = -log2(min(rank at p, 1000)) + log2(min(rank without correction, 1000))

It moves with every rank, so it tells points apart by far fewer queries than a recall does. Of all queries

    g(p) = mean over q of s(q, p), smoothed 1-2-1 along log2 k and along alpha, with gain 0 at alpha 0
    b    = the point with the highest g; no correction if no g is above 0

and the choice is, among the points p that are not told apart from the best,

    g(b) - g(p) <= sd over q of (s(q, b) - s(q, p)) / sqrt(queries),

the one nearest to k 16 and alpha 0.5: the least ((alpha - 0.5) / 0.25)^2 + ((log2 k - 4) / 2)^2.

The proof: queries fall into ten folds by a hash of the candidate that answers them, so that captions of one image
are never on both sides. For each fold the rule chooses by the other nine; what its queries gain at that point, which
they took no part in choosing, is pooled over the folds. The mean must exceed so many of its standard errors over
candidates, one-sided: 1.645 (95 %), or 0.842 (80 %) where the bank is evidently of the queries' domain (``agreement``).
Then the choice by all queries is published, else alpha 0. What this cannot know is whether tomorrow's queries are
like these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.points import Point

OBJECTIVES = ("recall@1", "recall@5", "recall@10", "mrr", "ndcg@10")

#: An agreement from which on a bank is taken to be of the queries' domain; also the default bound of its gate.
RELATED = 0.6

#: Standard errors from a mean to the end of its one-sided interval of 80 %.
LIKELY = 0.842

#: With fewer queries, or fewer distinct candidates that answer them, nothing is proved.
FEWEST_ANSWERS = 30


Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


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
