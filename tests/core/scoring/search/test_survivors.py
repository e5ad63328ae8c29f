"""What the prefilter keeps of embeddings like those of real models: counted, so that any processor can tell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from benchmarks.clouds import make_cloud

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search._prefilter import _CAPACITY, _MIN_CAPACITY, PrefilterSearch
from nnn_core.scoring.search._selection import Tile

_LARGE = [pytest.param(rows, marks=[pytest.mark.slow, pytest.mark.counted]) for rows in (100_000, 500_000)]


@pytest.mark.parametrize("references", [20_000, *_LARGE])
def test_few_references_survive_and_no_candidate_overflows(
    references: int, record_count: Callable[[str, int, int], None]
) -> None:
    search = PrefilterSearch.of(ReferenceIndex(make_cloud(references, 512, 2, "references")))
    tile = Tile(make_cloud(32, 512, 1, "candidates"), np.zeros((32, 0), np.int64))
    for k in (16, 128):
        _, reservoirs, overflowed = search._select(tile, np.full(32, k), max(_MIN_CAPACITY, _CAPACITY * k))
        _, counts = reservoirs.kept
        name = f"exact scores per candidate and k, {references:,} references, k = {k}"
        record_count(name, int(counts.sum()), 32 * k)
        assert not overflowed.any()
        assert counts.max() < 8 * k
