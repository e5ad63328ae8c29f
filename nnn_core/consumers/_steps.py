"""What becomes of some rows of an index that is brought to another version."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Counts:
    """Candidates by what becomes of them; ``a + b`` counts both.

    Attributes:
        added: how many the index has not yet.
        moved: how many get another bias.
        kept: how many stay as they are, with the very same bias.
        tolerated: how many stay as they are, though their bias changed by less than was asked for.
    """

    added: int = 0
    moved: int = 0
    kept: int = 0
    tolerated: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.added + other.added,
            self.moved + other.moved,
            self.kept + other.kept,
            self.tolerated + other.tolerated,
        )


@dataclass(frozen=True)
class Step:
    """What becomes of some rows.

    Attributes:
        added: (rows,) which are new to the index.
        moved: (rows,) which get another bias.
        bias: (rows,) float32 biases that the index has in the end.
        counts: how many of each there are.
    """

    added: _Mask
    moved: _Mask
    bias: npt.NDArray[np.float32]
    counts: Counts
