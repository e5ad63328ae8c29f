"""What the prefilter keeps of embeddings like those of real models: counted, so that any processor can tell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from benchmarks.clouds import make_cloud

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search import _prefilter as prefilter
from nnn_core.scoring.search._prefilter import PrefilterSearch
from nnn_core.scoring.search._rounding import NARROW
from nnn_core.scoring.search._selection import Tile

_LARGE = [pytest.param(rows, marks=[pytest.mark.slow, pytest.mark.counted]) for rows in (100_000, 500_000)]


@pytest.mark.parametrize("references", [20_000, *_LARGE])
def test_few_references_are_scored_and_no_candidate_is_searched_exhaustively(
    references: int, record_count: Callable[[str, int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the coarser of the two formats, which every processor can multiply."""
    monkeypatch.setattr(prefilter, "finest_format", lambda: NARROW)
    search = PrefilterSearch.of(ReferenceIndex(make_cloud(references, 512, 2, "references")))
    tile = Tile(make_cloud(32, 512, 1, "candidates"), np.zeros((32, 0), np.int64))
    for k in (16, 128):
        _, missed, scored = search._select(tile, np.full(32, k))
        name = f"scores from float32 vectors per candidate and k, {references:,} references, k = {k}"
        record_count(name, int(scored.sum()), 32 * k)
        assert not missed.any()
        assert scored.mean() < (24 if k == 16 else 12) * k
