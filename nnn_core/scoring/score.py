"""Scoring: the top-k of a block of candidates over one reference shard, by whichever search."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import threadpoolctl

from nnn_core.embedded.shards import VectorBlock
from nnn_core.scoring.search._selection import Tile
from nnn_core.scoring.search.searches import Search
from nnn_core.scoring.topk import TopK
from nnn_core.vectors import FloatMatrix

#: Multiplications that take no longer than starting threads does.
_ALONE = 1 << 25


def score_block(block: VectorBlock, search: Search, k: int, threads: int = 1) -> TopK:
    """Top-k of each candidate of ``block``, own pairs excluded if the index has pair ids.

    Args:
        block: ids, pair ids and (rows, dim) vectors of the candidates to score.
        search: the search over one reference shard.
        k: how many scores of each candidate to keep.
        threads: tiles that are searched side by side; the result does not depend on it.

    Returns:
        TopK of (rows, min(k, references seen)) float32: exact inner products, rounded once. They are
        the highest, unless the search is approximate.
    """
    index = search.index
    whole = Tile(block.vectors, index.own_codes(block.ids, block.pair_ids))
    if block.vectors.size * index.rows < _ALONE:
        threads = 1
    step = _rows_per_tile(len(block.vectors), search.tile_rows, threads)

    def search_tile(first: int) -> FloatMatrix:
        return search.top(whole[first : first + step], k)

    firsts = range(0, len(block.vectors), step)
    # A thread a tile shares no scores with another; the matrix products must then not spread themselves.
    with _blas().limit(limits=1, user_api="blas"):
        if threads == 1 or len(firsts) < 2:
            tiles = list(map(search_tile, firsts))
        else:
            with ThreadPoolExecutor(threads) as pool:
                tiles = list(pool.map(search_tile, firsts))
    seen = index.rows - index.own_references(whole.own)
    scores = np.concatenate(tiles) if tiles else np.zeros((0, 0), np.float32)
    return TopK(k, seen, scores[:, : min(k, int(seen.max(initial=0)))])


def _rows_per_tile(rows: int, most: int, threads: int) -> int:
    """Rows of a tile, at most ``most``, such that all threads have equally many tiles to do."""
    rounds = max(1, -(-rows // (most * threads)))
    return max(1, -(-rows // (rounds * threads)))


@cache
def _blas() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController()
