"""Points: the pairs of k and alpha between which a choice is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """One way to debias: (k, alpha). Any k with alpha 0 is no correction at all."""

    k: int
    alpha: float

    @classmethod
    def of_grid(cls, grid: Sequence[int], alphas: Sequence[float]) -> tuple[Point, ...]:
        """Every k with every alpha above 0, after a single point without correction."""
        return (cls(grid[0], 0.0), *(cls(k, alpha) for k in grid for alpha in sorted(set(alphas)) if alpha > 0))
