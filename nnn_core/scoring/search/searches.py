"""Which search runs: what was asked for, and what this machine can do."""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nnn_core.errors import INSTALL_EXTRA
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search._prefilter import PER_REFERENCE, SAMPLED, PrefilterSearch
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


#: What ``auto`` found to be faster in this process, by dimension, size of the bank (a power of two) and k.
_FASTER: dict[tuple[int, int, int], str] = {}

#: Candidates that are searched exactly before the prefilter is tried: fewer do not pay for rounding the references.
_TRIED_AFTER = 2048

#: Of a tile so many candidates are tried; one with fewer than these says little about a full one.
_TRIED_ROWS, _TRIED_LEAST = 512, 256
_TRIALS = 2


@dataclass
class _FasterSearch:
    """The exact or the prefiltered search, whichever takes less time here; their results are the same to the bit.

    Both search some candidates of a tile in turns, once enough came by. What was faster then is
    what all banks of about this size are searched with in this process.

    Attributes:
        index: the references that are searched.
        name: the search that ran last.
    """

    index: ReferenceIndex
    name: str = "exact"
    tile_rows: int = ExactSearch.tile_rows
    _seen: int = field(default=0, init=False)
    _trying: threading.Lock = field(default_factory=threading.Lock, init=False)
    _rounding: threading.Lock = field(default_factory=threading.Lock, init=False)
    _prefilter: PrefilterSearch | None = field(default=None, init=False)

    @property
    def nbytes(self) -> int:
        """How many bytes of memory the search takes, once the references are rounded to int8."""
        rows, dim = self.index.vectors.shape
        return int(self.index.nbytes + rows * (dim * (SAMPLED + 1) // SAMPLED + PER_REFERENCE))

    def top(self, tile: Tile, k: int) -> FloatMatrix:
        """Exact scores of each candidate's k nearest references, (rows, min(k, references)) float32, descending."""
        kind = self._kind(k)
        # One thread tries, while the others go on.
        if kind not in _FASTER and self._trying.acquire(blocking=False):
            try:
                self._seen += len(tile.vectors)
                if self._seen >= _TRIED_AFTER and len(tile.vectors) >= _TRIED_LEAST:
                    _FASTER[kind] = self._faster(tile, k)
            finally:
                self._trying.release()
        self.name = _FASTER.get(kind, "exact")
        return self._search(self.name).top(tile, k)

    def prepare(self, k: int) -> None:
        """Round the references, if banks of this size were faster to search with the prefilter in this process."""
        if _FASTER.get(self._kind(k)) == "prefilter":
            self._search("prefilter")

    def _kind(self, k: int) -> tuple[int, int, int]:
        return self.index.dim, self.index.rows.bit_length(), k

    def _search(self, name: str) -> ExactSearch | PrefilterSearch:
        if name == "exact":
            return ExactSearch(self.index)
        with self._rounding:
            self._prefilter = self._prefilter or PrefilterSearch.of(self.index)
            return self._prefilter

    def _faster(self, tile: Tile, k: int) -> str:
        tile, seconds, tops = tile[:_TRIED_ROWS], {}, {}
        for name in ("exact", "prefilter"):
            self._search(name).top(tile[:1], k)  # compiles, and rounds the references
            seconds[name] = math.inf
        for _ in range(_TRIALS):
            for name in seconds:
                start = time.perf_counter()
                tops[name] = self._search(name).top(tile, k)
                seconds[name] = min(seconds[name], time.perf_counter() - start)
        if tops["exact"].tobytes() != tops["prefilter"].tobytes():
            _log.warning(
                "int8 products are wrong on this machine, so this process uses the exact search, which is "
                "slower. Please report the processor and the versions of numba and llvmlite."
            )
            return "exact"
        faster = min(seconds, key=lambda name: seconds[name])
        _log.info(
            "for %d candidates, the exact search takes %.3f s and the prefilter %.3f s (%d references, k = "
            "%d). This process uses %s from now on",
            *(len(tile.vectors), seconds["exact"], seconds["prefilter"], self.index.rows, k, faster),
        )
        return faster


def exact_search(index: ReferenceIndex, search: str = "auto", k: int | None = None) -> Search:
    """Whichever of the exact searches this machine runs over ``index`` for ``--search``.

    ``auto`` is the device where there is one, else what this process finds faster of prefilter and exact.

    Args:
        index: the references to search.
        search: ``auto``, ``exact`` or ``prefilter``.
        k: how many scores will be asked for, so that all is made ready for them at once; None to wait for the first.
    """
    if search == "auto" and _has_device():
        from nnn_core.scoring.search._device import DeviceSearch

        found: Search = DeviceSearch.of(index)
    elif search == "exact":
        found = ExactSearch(index)
    else:
        found = PrefilterSearch.of(index) if search == "prefilter" else _FasterSearch(index)
    name = "faster exact" if isinstance(found, _FasterSearch) else found.name
    if isinstance(found, _FasterSearch) and k is not None:
        found.prepare(k)
    _log.info("scoring %d references by the %s search", index.rows, name)
    return found


def _has_device() -> bool:
    # PyTorch takes seconds to import, so it is asked only where a driver is loaded.
    if not Path("/proc/driver/nvidia").exists():
        return False
    try:
        from nnn_core.scoring.search._device import has_device
    except ImportError:
        _log.warning(
            "there is a GPU, but PyTorch is not installed, so the search runs on the CPU. To use the GPU: %s",
            INSTALL_EXTRA.format("clip"),
        )
        return False
    return has_device()
