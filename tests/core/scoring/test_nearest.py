"""The nearest reference queries by id, against a sort of all products."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from fakes import grid_vectors

from nnn_core.embedded.shards import EmbeddedShard, VectorBlock
from nnn_core.scoring.nearest import find_vectors, merge_nearest, nearest_in

DIM, ROWS, HUBS, WANTED = 24, 300, 5, 7


def block(names: str, rows: int, seed: int, pairs: list[str] | None = None) -> VectorBlock:
    ids = [f"{names}{row:03d}" for row in range(rows)]
    return VectorBlock(pa.array(ids), pa.array(pairs or [""] * rows), grid_vectors(rows, DIM, seed))


def sorted_by_hand(bank: VectorBlock, vector: np.ndarray, left_out: set[str]) -> list[tuple[float, str]]:
    scores = (bank.vectors.astype(np.float64) @ vector.astype(np.float64)).astype(np.float32)
    rows = zip(scores.tolist(), bank.ids.to_pylist(), bank.pair_ids.to_pylist(), strict=True)
    return sorted(
        ((score, name) for score, name, pair in rows if pair not in left_out), key=lambda row: (-row[0], row[1])
    )


@pytest.mark.parametrize("excluded", [False, True])
@pytest.mark.parametrize("cuts", [[], [40, 41, 200]])
def test_the_nearest_are_those_of_a_sort(excluded: bool, cuts: list[int]) -> None:
    hubs = block("c", HUBS, 1, ["", "p1", "c002", "p3", ""])
    pairs = [("c001", "p1", "p3", "", "x")[row % 5] for row in range(ROWS)]
    bank = block("q", ROWS, 2, pairs)
    vectors = bank.vectors.copy()
    vectors[50:90] = vectors[10]  # ties, over a cut too
    bank = VectorBlock(bank.ids, bank.pair_ids, vectors)
    edges = [0, *cuts, ROWS]
    pieces = [bank.take(np.arange(*edge)) for edge in itertools.pairwise(edges)]
    found = [nearest_in(piece, hubs, excluded, WANTED) for piece in pieces]
    for row in range(HUBS):
        own = {hubs.ids[row].as_py(), hubs.pair_ids[row].as_py()} - {""} if excluded else set()
        merged = merge_nearest([piece[row] for piece in found[::-1]], WANTED)
        assert list(merged) == sorted_by_hand(bank, hubs.vectors[row], own)[:WANTED]


def test_a_small_bank_gives_what_it_has() -> None:
    (found,) = nearest_in(block("q", 2, 3), block("c", 1, 4), False, WANTED)
    assert sorted(name for _, name in found) == ["q000", "q001"]
    (found,) = nearest_in(block("q", 2, 3, ["c000", "c000"]), block("c", 1, 4), True, WANTED)
    assert found == ()


def test_vectors_are_found_by_id(tmp_path: object) -> None:
    vectors = grid_vectors(4, DIM, 5)
    shard = EmbeddedShard.write(f"{tmp_path}/s", ["a", "b", "é", "d"], ["", "", "p", ""], vectors, "x")
    found = find_vectors(shard, {"é", "a", "stranger"})
    assert found is not None
    assert (found.ids.to_pylist(), found.pair_ids.to_pylist()) == (["a", "é"], ["", "p"])
    np.testing.assert_array_equal(found.vectors, vectors[[0, 2]])
    assert find_vectors(shard, {"stranger"}) is None
