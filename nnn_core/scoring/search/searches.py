"""Which search runs: what was asked for, and what this machine can do."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search._lanes import has_fast_int8
from nnn_core.scoring.search._prefilter import PrefilterSearch
from nnn_core.scoring.search._selection import Tile
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.vectors import FloatMatrix

_log = logging.getLogger(__name__)


class Search(Protocol):
    """A way to find the nearest references.

    Attributes:
        name: one of the names of searches, such as ``exact``.
        index: the references that are searched.
        tile_rows: how many candidates the search takes at a time, at most.
        nbytes: how many bytes of memory the search takes.
    """

    @property
    def name(self) -> str: ...
    @property
    def index(self) -> ReferenceIndex: ...
    @property
    def tile_rows(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

    def top(self, tile: Tile, k: int) -> FloatMatrix:
        """Scores of each candidate's k nearest references: (rows, min(k, references)) float32, descending."""


def exact_search(index: ReferenceIndex, search: str = "auto") -> Search:
    """Whichever of the exact searches this machine runs over ``index`` for ``--search``.

    ``auto`` is the device where there is one, then the prefilter where the processor has int8
    instructions, then exact. ``prefilter`` without such instructions is exact too, which is faster there.
    """
    name = "prefilter" if search in ("auto", "prefilter") and has_fast_int8() else "exact"
    name = "device" if search == "auto" and _has_device() else name
    _log.info("scoring %d references by the %s search", index.rows, name)
    if name == "device":
        from nnn_core.scoring.search._device import DeviceSearch

        return DeviceSearch.of(index)
    return PrefilterSearch.of(index) if name == "prefilter" else ExactSearch(index)


def _has_device() -> bool:
    # PyTorch takes seconds to import, so it is asked only where a driver is loaded.
    if not Path("/proc/driver/nvidia").exists():
        return False
    from nnn_core.scoring.search._device import has_device

    return has_device()
