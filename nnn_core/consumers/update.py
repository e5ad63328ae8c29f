"""An index that holds a version already, and what brings it to another one: rows that moved, new ones, removals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from nnn_core.consumers._steps import Counts, Step
from nnn_core.errors import ConfigError
from nnn_core.table.ids import Ids
from nnn_core.table.reading import BiasTable


@dataclass(frozen=True)
class Update:
    """From the version that an index holds to another one.

    Attributes:
        table: URI of the table.
        since: number of the version that the index was brought to last.
        min_change: biases that changed by less stay as they are in the index.
        like: URI of the export, or of the update, that brought it there.
    """

    table: str
    since: int
    min_change: float
    like: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.min_change) and self.min_change >= 0.0):
            raise ConfigError(f"--min-change {self.min_change} must be 0 or more, and finite.")

    def step(self, ids: Ids, bias: npt.NDArray[np.float32], before: BiasTable) -> Step:
        """What becomes of some rows.

        Args:
            ids: (rows,) ids of candidates.
            bias: (rows,) float32 biases that they have now.
            before: the version that the index holds.
        """
        rows = before.index.find(ids)
        added = rows < 0
        old = np.where(added, np.float32(0.0), before.bias[np.maximum(rows, 0)])
        differs = ~added & (old.view(np.uint32) != bias.view(np.uint32))
        moved = differs & (np.abs(bias.astype(np.float64) - old.astype(np.float64)) >= self.min_change)
        counts = Counts(*(int(mask.sum()) for mask in (added, moved, ~added & ~differs, differs & ~moved)))
        return Step(added, moved, np.where(added | moved, bias, old), counts)

    @staticmethod
    def removed(before: BiasTable, now: BiasTable) -> list[str]:
        """Ids of the candidates that the index holds and the other version has not, ascending."""
        gone = pc.is_in(before.ids, value_set=now.ids.combine_chunks())
        names: list[str] = before.ids.filter(pc.invert(gone)).to_pylist()
        return names
