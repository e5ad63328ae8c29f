"""The reference queries nearest to some candidates by id: for people, as scoring itself keeps scores alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core.embedded.shards import EmbeddedShard, VectorBlock, read_ids, read_shard
from nnn_core.scoring.bank import one_form

#: (score, id of the reference query), nearest first, equal ones in order of id.
Nearest = tuple[tuple[float, str], ...]


def find_vectors(shard: EmbeddedShard, ids: Iterable[str]) -> VectorBlock | None:
    """Those rows of an embedded shard that have one of ``ids``; None if there are none, and then no vector is read."""
    held = pc.is_in(read_ids(shard), value_set=pa.array(sorted(ids), pa.string()))
    rows = np.flatnonzero(held.to_numpy(zero_copy_only=False))
    return read_shard(shard).take(rows) if len(rows) else None


def nearest_in(block: VectorBlock, candidates: VectorBlock, exclude_own_pairs: bool, wanted: int) -> list[Nearest]:
    """The nearest reference queries of each candidate, by inner products in float64 that are rounded to float32.

    Args:
        block: reference queries.
        candidates: the candidates.
        exclude_own_pairs: whether a candidate's own reference queries are left out.
        wanted: how many to find; fewer where there are fewer.
    """
    rough = candidates.vectors @ block.vectors.T
    # What rounding may add to a product of unit vectors, twice: nothing that counts is below the threshold by more.
    margin = 4.0 * block.vectors.shape[1] * float(np.finfo(np.float32).eps)
    pairs = one_form(block.pair_ids) if exclude_own_pairs else None
    return [
        _nearest(block, vector, scores, margin, _others(pairs, *names), wanted)
        for vector, scores, *names in zip(
            candidates.vectors, rough, candidates.ids.to_pylist(), candidates.pair_ids.to_pylist(), strict=True
        )
    ]


def _others(pairs: pa.StringArray | None, row_id: str, pair_id: str) -> npt.NDArray[np.bool_] | None:
    """Which reference queries do not belong to a candidate; None if that does not matter."""
    if pairs is None:
        return None
    own = pc.is_in(pairs, value_set=one_form(pa.array(sorted({row_id, pair_id} - {""}), pa.string())))
    others: npt.NDArray[np.bool_] = ~own.to_numpy(zero_copy_only=False)
    return others


def _nearest(
    block: VectorBlock,
    vector: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    margin: float,
    others: npt.NDArray[np.bool_] | None,
    wanted: int,
) -> Nearest:
    places = np.arange(len(scores)) if others is None else np.flatnonzero(others)
    if len(places) > wanted:
        least = np.partition(scores[places], -wanted)[-wanted] - margin
        places = places[scores[places] >= least]
    exact = (block.vectors[places].astype(np.float64) @ vector.astype(np.float64)).astype(np.float32)
    names = block.ids.take(pa.array(places)).to_pylist()
    return merge_nearest([zip(exact.tolist(), names, strict=True)], wanted)


def merge_nearest(parts: Iterable[Iterable[tuple[float, str]]], wanted: int) -> Nearest:
    """The nearest of some candidate in several blocks together, in whatever order these come."""
    every: Iterator[tuple[float, str]] = (one for part in parts for one in part)
    return tuple(sorted(every, key=lambda one: (-one[0], one[1]))[:wanted])
