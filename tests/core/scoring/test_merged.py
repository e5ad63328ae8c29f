"""The k highest of the whole bank from partials that keep fewer: to the bit, however hostile the bank is."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import oracles
import pyarrow as pa
import pytest
from fakes import grid_vectors, make_bank, make_block, make_shard
from hypothesis import given
from hypothesis import strategies as st

from nnn_core import storage
from nnn_core.artifacts import to_tensors
from nnn_core.errors import LostArtifactError
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.looks import Look
from nnn_core.scoring.merged import MergedShard, _merge_partials
from nnn_core.scoring.partials import Partial
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.searches import exact_search
from nnn_core.scoring.topk import TopK

DIM = 3


class World:
    """Candidates against a bank that is cut somewhere, with partials that keep so many scores each."""

    def __init__(self, folder: Path, bank: np.ndarray, pairs: list[str] | None, cuts: list[int], k: int) -> None:
        self.folder, self.k, self.pairs = folder, k, pairs
        self.block = make_block(grid_vectors(7, DIM, 5))
        bounds = [0, *cuts, len(bank)]
        stretches = [slice(first, last) for first, last in itertools.pairwise(bounds)]
        columns = [pa.chunked_array([pa.array(pairs[each])]) if pairs else None for each in stretches]
        self.indexes = [ReferenceIndex.of(bank[each], own) for each, own in zip(stretches, columns, strict=True)]
        self.bank, self.looks = bank, 0

    def partials(self, kept: Sequence[int]) -> list[Partial]:
        found = []
        for number, (index, size) in enumerate(zip(self.indexes, kept, strict=True)):
            uri = str(self.folder / "partials" / f"{number}.parquet")
            partial = Partial("c" * 64, number, uri, len(self.block.ids), size)
            storage.remove(partial.uri)
            shutil.rmtree(self.folder / "looks", ignore_errors=True)
            partial.write(score_block(self.block, exact_search(index, "exact"), size))
            found.append(partial)
        return found

    @property
    def look(self) -> Look:
        def look(number: int, rows: np.ndarray) -> np.ndarray:
            self.looks += len(rows)
            return score_block(self.block.take(rows), exact_search(self.indexes[number], "exact"), self.k).scores

        return look

    def expected(self) -> TopK:
        ids = self.block.ids.to_pylist()
        own = oracles.own_pairs(ids, ids, len(self.bank), self.pairs)
        rows = oracles.highest(oracles.exact_scores(self.block.vectors, self.bank), self.k, own)
        seen = (~own).sum(axis=1)
        return TopK(self.k, seen, oracles.padded(rows)[:, : min(self.k, int(seen.max(initial=0)))])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, list[str] | None, list[int], int, list[int]]:
    """Few distinct references, many times each, in no order or sorted by what candidates make of them."""
    distinct = draw(st.integers(1, 9))
    size = draw(st.integers(1, 40))
    pool = grid_vectors(distinct, DIM, draw(st.integers(0, 3)))
    numbers = draw(st.lists(st.integers(0, distinct - 1), min_size=size, max_size=size))
    bank = pool[sorted(numbers) if draw(st.booleans()) else numbers]
    if draw(st.booleans()):
        bank = bank[np.argsort(bank @ grid_vectors(7, DIM, 5)[0], kind="stable")]
    pairs = draw(st.none() | st.lists(st.sampled_from(["", "c0", "c1", "x"]), min_size=size, max_size=size))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, size - 1)), max_size=6))) if size > 1 else []
    k = draw(st.integers(1, 50))
    kept = draw(st.lists(st.integers(1, k), min_size=len(cuts) + 1, max_size=len(cuts) + 1))
    return bank, pairs, cuts, k, kept


@given(worlds())
def test_whatever_was_kept_the_top_is_that_of_the_whole_bank(
    tmp_path: Path, drawn: tuple[np.ndarray, list[str] | None, list[int], int, list[int]]
) -> None:
    bank, pairs, cuts, k, kept = drawn
    world = World(tmp_path, bank, pairs, cuts, k)
    top, searches, _ = _merge_partials(world.partials(kept), k, world.look)
    expected = world.expected()
    oracles.assert_same_bits(top.seen, expected.seen)
    oracles.assert_same_bits(np.ascontiguousarray(top.scores), expected.scores)
    assert searches == {"exact"}
    if all(size == k for size in kept):
        assert world.looks == 0


def test_the_second_look_is_for_those_that_need_it(tmp_path: Path) -> None:
    """A bank that is sorted for one candidate has its k highest in the last shard, of which few were kept."""
    vectors = grid_vectors(64, DIM, 9)
    block = make_block(grid_vectors(7, DIM, 5))
    bank = vectors[np.argsort(vectors @ block.vectors[0])]
    world = World(tmp_path, bank, None, [16, 32, 48], 8)
    partials = world.partials([2, 2, 2, 2])
    top, _, read = _merge_partials(partials, 8, world.look)
    oracles.assert_same_bits(top.scores, world.expected().scores)
    assert 0 < world.looks < 4 * 7
    world.looks = 0
    again, _, read_again = _merge_partials(partials, 8, world.look)
    oracles.assert_same_bits(again.scores, top.scores)
    assert world.looks == 0, "the looks of the night before are kept"
    assert read_again - read == sum(path.stat().st_size for path in (tmp_path / "looks").iterdir())
    _merge_partials(world.partials([8, 8, 8, 8]), 8, world.look)
    assert world.looks == 0


def test_means_are_kept(tmp_path: Path) -> None:
    world = World(tmp_path, grid_vectors(40, DIM, 9), None, [13], 8)
    shard, uri, partials = make_shard("c", 7), str(tmp_path / "merged"), world.partials([4, 8])
    how = (make_bank([make_shard("r0", 13), make_shard("r1", 27)], 1), (1, 2, 8), 8, world.look)
    first, read = MergedShard.of(shard, uri, partials, *how)
    assert read == sum(Path(partial.uri).stat().st_size for partial in partials)
    assert (first.scored.fewest_seen, first.scored.searches, first.scored.kept) == (40, {"exact"}, {4, 8})
    oracles.assert_same_bits(first.means, world.expected().means((1, 2, 8)))
    again, read = MergedShard.of(shard, uri, [], *how)
    assert read is None
    assert again.scored == first.scored
    oracles.assert_same_bits(again.means, first.means)
    with pytest.raises(LostArtifactError, match="does not match its name"):
        MergedShard.of(make_shard("c", 6), uri, [], *how)


@pytest.mark.parametrize("arrays", [{}, {"means": np.zeros((7, 3))}, {"fewest_seen": np.zeros(0, np.int64)}])
def test_another_file_under_the_name_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    uri = str(tmp_path / "merged")
    storage.create(uri, to_tensors(arrays, uri))
    bank = make_bank([make_shard("r", 40)])
    with pytest.raises(LostArtifactError, match="does not match its name"):
        MergedShard.of(make_shard("c", 7), uri, [], bank, (1, 2, 8), 8, World.look)  # type: ignore[arg-type]


def test_the_searches_of_all_partials_are_named(tmp_path: Path) -> None:
    world = World(tmp_path, grid_vectors(9, DIM, 9), None, [3, 6], 4)
    partials = world.partials([4, 4, 4])
    top = partials[1].read()[0]
    storage.remove(partials[1].uri)
    partials[1].write(top, "approximate")
    merged, searches, _ = _merge_partials(partials, 4, world.look)
    assert searches == {"exact", "approximate"}
    oracles.assert_same_bits(merged.scores, world.expected().scores)
