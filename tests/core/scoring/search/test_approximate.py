"""The approximate search and its clusters: whole numbers, the same bits always, never above the exact result."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import oracles
import pyarrow as pa
import pytest
from fakes import clustered_vectors, grid_vectors, make_block
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.artifacts import from_tensors, to_tensors
from nnn_core.embedded.shards import VectorBlock
from nnn_core.errors import CorruptArtifactError
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search import _approximate as approximate
from nnn_core.scoring.search import _clusters as clusters
from nnn_core.scoring.search import _kernels as kernels
from nnn_core.scoring.search import _rounding as rounding
from nnn_core.scoring.search._approximate import ApproximateSearch, ApproximateSettings
from nnn_core.scoring.search._clusters import Clusters
from nnn_core.scoring.search._rounding import PackedReferences, Rounded
from nnn_core.scoring.search._selection import Reservoirs, Tile
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.scoring.topk import TopK
from nnn_core.vectors import to_grid, unit_vectors

Vectors = npt.NDArray[np.float32]

#: Looks into few lists, in few dimensions.
NARROW = ApproximateSettings(share=0.01, dims=32, spare=2.0)

#: Looks at everything and keeps everything.
FULL = ApproximateSettings(share=1.0, dims=4096, spare=2000.0)


def make_index(vectors: Vectors, pair_ids: Sequence[str] | None = None) -> ReferenceIndex:
    return ReferenceIndex.of(vectors, None if pair_ids is None else pa.chunked_array([pa.array(pair_ids, pa.string())]))


def make_search(
    vectors: Vectors, settings: ApproximateSettings, pair_ids: Sequence[str] | None = None
) -> ApproximateSearch:
    index = make_index(vectors, pair_ids)
    return ApproximateSearch.of(index, Clusters.train(index.vectors), settings)


def tile_of(block: VectorBlock, index: ReferenceIndex) -> Tile:
    return Tile(block.vectors, index.own_codes(block.ids, block.pair_ids))


def check(search: ApproximateSearch, block: VectorBlock, bank: Vectors, k: int, pairs: Sequence[str] | None) -> TopK:
    """Scores are those of references, each as often as it occurs, as many as there are, and never too high."""
    own = oracles.own_pairs(block.ids.to_pylist(), block.pair_ids.to_pylist(), len(bank), pairs)
    top = score_block(block, search, k)
    oracles.assert_same_bits(top.seen, (~own).sum(axis=1).astype(np.int64))
    scores = oracles.exact_scores(block.vectors, bank)
    best = oracles.padded(oracles.highest(scores, k, own))
    assert top.scores.shape == best.shape
    assert (top.scores <= best).all()
    assert (top.scores[:, 1:] <= top.scores[:, :-1]).all()
    assert np.array_equal(np.isfinite(top.scores), np.isfinite(best))
    for row, (found, left_out) in enumerate(zip(top.scores, own, strict=True)):
        found_scores = collections.Counter(found[np.isfinite(found)].tolist())
        assert not found_scores - collections.Counter(scores[row][~left_out].tolist())
    return top


@pytest.fixture
def fallen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call of the exact search was given."""
    rows: list[int] = []
    original = ExactSearch.top

    def spy(self: ExactSearch, tile: Tile, k: int) -> Vectors:
        rows.append(len(tile.vectors))
        return original(self, tile, k)

    monkeypatch.setattr(ExactSearch, "top", spy)
    return rows


@pytest.fixture(scope="module")
def bank() -> Vectors:
    return clustered_vectors(1500, 48, 2)


@pytest.fixture(scope="module")
def narrow(bank: Vectors) -> ApproximateSearch:
    """With own pairs: every candidate has some 15 references."""
    return make_search(bank, NARROW, [f"c{number % 100}" for number in range(len(bank))])


@pytest.fixture(scope="module")
def candidates() -> VectorBlock:
    return make_block(clustered_vectors(90, 48, 1))


def test_it_finds_most_and_misses_some(
    bank: Vectors, narrow: ApproximateSearch, candidates: VectorBlock, fallen: list[int]
) -> None:
    top = check(narrow, candidates, bank, 8, [f"c{number % 100}" for number in range(len(bank))])
    assert not fallen  # what follows is about the approximate search, not about its fallback
    exact = score_block(candidates, ExactSearch(narrow.index), 8)
    assert 0.2 < (top.scores == exact.scores).mean() < 1.0


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("tile", [1, 7, 64, 4096])
def test_bits_do_not_depend_on_tiles_or_threads(
    narrow: ApproximateSearch, candidates: VectorBlock, threads: int, tile: int
) -> None:
    whole = narrow.top(tile_of(candidates, narrow.index), 8)
    split = score_block(candidates, dataclasses.replace(narrow, tile_rows=tile), 8, threads)
    oracles.assert_same_bits(split.scores, whole)


@pytest.mark.parametrize("dim", [1, 2, 3, 48])
def test_bits_do_not_depend_on_the_order_of_candidates(dim: int) -> None:
    """In few dimensions most products are zero or equal, so that ties decide what is selected."""
    search = make_search(grid_vectors(1300, dim, 2, 0.0), ApproximateSettings(0.02, 1, 1.5))
    tile = tile_of(make_block(grid_vectors(50, dim, 1, 0.0)), search.index)
    whole = search.top(tile, 3)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(50)
        oracles.assert_same_bits(search.top(tile[order], 3), whole[order])
    singly = [search.top(tile[row : row + 1], 3) for row in range(50)]
    oracles.assert_same_bits(np.concatenate(singly), whole)


@pytest.mark.parametrize("lists", [1, 15, 16, 17, 40, 1000])
@pytest.mark.parametrize("rows", [1, 8, 21])
def test_lists_are_chosen_by_their_products(lists: int, rows: int) -> None:
    rng = np.random.default_rng(lists)
    vectors = Rounded(
        rounding.NARROW, rng.integers(-63, 64, (lists, 12)).astype(np.int8), *np.ones((3, lists), np.float32)
    )
    candidates = Rounded(
        rounding.NARROW, rng.integers(-63, 64, (rows, 12)).astype(np.int8), *np.ones((3, rows), np.float32)
    )
    vectors.steps[:] = rng.uniform(0.5, 2.0, lists)
    packed, thresholds = PackedReferences.of(vectors), rng.uniform(-2e4, 2e4, rows).astype(np.float32)
    looking, ends = kernels.choose_lists(
        candidates.as_candidates, lists, packed.vectors, packed.starts, packed.steps, thresholds
    )
    scores = oracles.integer_products(candidates.whole, vectors.whole).astype(np.float32) * vectors.steps
    expected = [np.flatnonzero(scores[:, number] >= thresholds) for number in range(lists)]
    assert np.array_equal(looking, np.concatenate(expected))
    assert ends.tolist() == [0, *np.cumsum([len(each) for each in expected]).tolist()]


@pytest.mark.parametrize(("rows", "dim"), [(1, 8), (2, 8), (33, 1), (33, 3), (33, 512), (1025, 1), (1025, 16)])
def test_looking_at_everything_is_exact(rows: int, dim: int, fallen: list[int]) -> None:
    references = grid_vectors(rows, dim, 2)
    search = make_search(references, FULL)
    block = make_block(grid_vectors(20, dim, 1))
    scores = oracles.exact_scores(block.vectors, references)
    for k in (1, 9, rows, rows + 1):
        top = score_block(block, search, k)
        oracles.assert_same_bits(top.scores, oracles.padded(oracles.highest(scores, k)))
    assert not fallen


@pytest.mark.parametrize("settings", [NARROW, FULL], ids=["narrow", "full"])
@pytest.mark.parametrize("rows", [1, 2, 33, 1025])
@pytest.mark.parametrize("k", [1, 9, 1100])
def test_k_around_the_size_of_the_bank(settings: ApproximateSettings, rows: int, k: int) -> None:
    references = grid_vectors(rows, 8, 2)
    top = check(make_search(references, settings), make_block(grid_vectors(4, 8, 1)), references, k, None)
    assert top.scores.shape == (4, min(k, rows))


def test_rows_that_find_too_few_are_searched_exactly(
    bank: Vectors, narrow: ApproximateSearch, candidates: VectorBlock, fallen: list[int]
) -> None:
    exact = score_block(candidates, ExactSearch(narrow.index), 20).scores
    fallen.clear()
    top = check(narrow, candidates, bank, 20, [f"c{number % 100}" for number in range(len(bank))])
    assert 0 < sum(fallen) < 90  # some, and only those
    assert (top.scores == exact).all(axis=1).sum() >= sum(fallen)


@pytest.mark.parametrize("room", [4, 1024])
def test_own_pairs_are_left_out(
    bank: Vectors, candidates: VectorBlock, room: int, fallen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every tenth candidate the 60 nearest references are its own: all that it would select."""
    monkeypatch.setattr(approximate, "_MAX_OWN", room)
    pairs = [f"someone {number}" for number in range(len(bank))]
    for row in range(0, 90, 10):
        for position in np.argsort(-(candidates.vectors[row] @ bank.T))[:60]:
            pairs[position] = f"c{row}"
    check(make_search(bank, ApproximateSettings(0.2, 32, 2.0), pairs), candidates, bank, 8, pairs)
    assert (sum(fallen) > 0) == (room == 4)
    assert sum(fallen) <= 9


def test_a_candidate_that_found_all_but_its_own_needs_no_other_search(fallen: list[int]) -> None:
    references, pairs = grid_vectors(33, 8, 2), [f"c{number % 5}" for number in range(33)]
    check(make_search(references, FULL, pairs), make_block(grid_vectors(7, 8, 1)), references, 33, pairs)
    assert not fallen


def test_a_candidate_that_owns_the_bank_costs_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    capacities: list[int] = []

    def spy(need: npt.NDArray[np.int64], margin: Vectors, capacity: int) -> Reservoirs:
        capacities.append(capacity)
        return Reservoirs(need, margin, capacity)

    monkeypatch.setattr(approximate, "Reservoirs", spy)
    references = grid_vectors(3000, 8, 2)
    pairs = [*["c0"] * 2990, *["other"] * 10]
    top = check(make_search(references, NARROW, pairs), make_block(grid_vectors(3, 8, 1)), references, 5, pairs)
    assert top.seen.tolist() == [10, 3000, 3000]
    assert max(capacities) <= 2 * (10 + 1024) + 64


def test_the_whole_bank_is_its_own() -> None:
    for rows in (3, 400):
        references, pairs = grid_vectors(rows, 16, 2), ["c0"] * rows
        search = make_search(references, NARROW, pairs)
        top = check(search, make_block(grid_vectors(2, 16, 1)), references, 5, pairs)
        assert top.seen.tolist() == [0, rows]


@pytest.mark.parametrize("pairs", [None, [f"c{number}" for number in range(700)]], ids=["merged", "apart"])
def test_all_references_are_equal(pairs: list[str] | None) -> None:
    references = np.repeat(grid_vectors(1, 32, 2), 700, axis=0)
    block = make_block(grid_vectors(30, 32, 1))
    for settings in (NARROW, FULL):
        top = check(make_search(references, settings, pairs), block, references, 8, pairs)
        assert (top.scores == top.scores[:, :1]).all()


@pytest.mark.parametrize("copies", [2, 17])
def test_equal_references_count_as_often_as_they_occur(copies: int) -> None:
    references = np.repeat(clustered_vectors(200, 16, 2), copies, axis=0)
    references = references[np.random.default_rng(0).permutation(len(references))]
    search = make_search(references, ApproximateSettings(0.2, 16, 1.5))
    assert search.index.repeats is not None
    top = check(search, make_block(clustered_vectors(25, 16, 1)), references, 12, None)
    assert (top.scores[:, :copies] == top.scores[:, :1])[:, :12].all()


@given(st.data())
def test_any_small_case(data: st.DataObject) -> None:
    """Vectors from a handful of directions, so that ties and empty lists are the rule."""
    dim = data.draw(st.integers(1, 6))
    rows, references = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 150))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    pool = grid_vectors(data.draw(st.integers(1, 9)), dim, int(rng.integers(10**6)))
    nudge = rng.integers(-1, 2, (references, dim)) * 2.0**-25 * data.draw(st.sampled_from([0, 1]))
    bank = to_grid(np.clip(pool[rng.integers(0, len(pool), references)] + nudge, -1, 1))
    names = [f"c{number}" for number in range(6)]
    pairs = data.draw(st.sampled_from([None, [names[number] for number in rng.integers(0, 6, references)]]))
    block = make_block(
        pool[rng.integers(0, len(pool), rows)],
        [names[number] for number in rng.integers(0, 6, rows)],
        [names[number] for number in rng.integers(0, 6, rows)],
    )
    settings = ApproximateSettings(
        data.draw(st.sampled_from([0.002, 0.3, 1.0])),
        data.draw(st.integers(1, 7)),
        data.draw(st.sampled_from([1.0, 1.5, 5.0])),
    )
    search = make_search(bank, settings, pairs)
    k = data.draw(st.integers(1, 160))
    top = check(search, block, bank, k, pairs)
    cut = data.draw(st.integers(1, 8))
    split = score_block(block, dataclasses.replace(search, tile_rows=cut), k, data.draw(st.integers(1, 3)))
    oracles.assert_same_bits(split.scores, top.scores)


def clouds(dim: int) -> Vectors:
    """A few directions far apart with many references close around each: lists run empty."""
    directions = np.repeat(np.concatenate([np.eye(dim), -np.eye(dim)]), 1000 // dim, axis=0)
    raw = directions + 1e-4 * np.random.default_rng(0).standard_normal(directions.shape)
    return unit_vectors(raw.astype(np.float32))[0]


BANKS = {
    "random": grid_vectors(1500, 40, 2),
    "centred": grid_vectors(1500, 160, 2, 0.0),
    "clustered": clustered_vectors(1500, 300, 2),
    "clouds": clouds(3),
    "more clouds": clouds(4),
    "line": grid_vectors(50, 1, 2),
    "pair": grid_vectors(2, 5, 2),
    "one": grid_vectors(1, 5, 2),
}


@pytest.fixture(scope="module", params=BANKS)
def bank_and_clusters(request: pytest.FixtureRequest) -> tuple[Vectors, Clusters]:
    bank = BANKS[request.param]
    return bank, Clusters.train(bank)


def test_products_of_whole_numbers_are_exact(bank_and_clusters: tuple[Vectors, Clusters]) -> None:
    bank, trained = bank_and_clusters
    block = np.concatenate([bank[:100], -bank[:100], grid_vectors(100, bank.shape[1], 1)])
    candidates, references = trained.reduce_candidates(block, 256), trained.reduce_references(bank, 256)
    assert candidates.shape[1] == references.shape[1] == min(256, bank.shape[1])
    narrow = candidates[:, : clusters.CLUSTER_DIMS]
    assert trained.centroids.shape[1] == narrow.shape[1]
    for left, right in (
        (candidates, references),
        (narrow, trained.centroids),
        (references[:, : clusters.CLUSTER_DIMS], trained.centroids),
    ):
        lengths = [np.sqrt((vectors.astype(np.int64) ** 2).sum(axis=1).max()) for vectors in (left, right)]
        assert max(lengths) < 2**12
        whole = [vectors.astype(np.int64) for vectors in (left, right)]
        assert all(np.array_equal(*pair) for pair in zip(whole, (left, right), strict=True))
        assert (np.abs(whole[0]) @ np.abs(whole[1]).T).max() < 2**24  # whatever the order of summing
        oracles.assert_same_bits(left @ right.T + np.float32(0.0), (whole[0] @ whole[1].T).astype(np.float32))
    assert np.array_equal(trained.bonus, np.rint(trained.bonus))
    assert (trained.bonus >= 0).all()


def test_lists_hold_every_reference_once(bank_and_clusters: tuple[Vectors, Clusters]) -> None:
    bank, trained = bank_and_clusters
    assert sorted(trained.order.tolist()) == list(range(len(bank)))
    assert (trained.starts[0], trained.starts[-1]) == (0, len(bank))
    assert (np.diff(trained.starts) >= 0).all()
    lists = len(trained.centroids)
    assert (len(trained.starts), trained.bonus.shape) == (lists + 1, (lists,))
    assert 1 <= lists <= len(bank)


def test_most_references_lie_in_the_nearest_list() -> None:
    bank = clustered_vectors(1500, 48, 2)
    trained = Clusters.train(bank)
    reduced = trained.reduce_references(bank, clusters.CLUSTER_DIMS).astype(np.float64)
    distances = ((reduced[:, None] - trained.centroids[None].astype(np.float64)) ** 2).sum(axis=2)
    member = np.empty(len(bank), np.int64)
    member[trained.order] = np.repeat(np.arange(len(trained.centroids)), np.diff(trained.starts))
    own = distances[np.arange(len(bank)), member]
    assert (own <= distances.min(axis=1)).mean() > 0.9


def test_training_twice_gives_the_same_bytes(bank_and_clusters: tuple[Vectors, Clusters]) -> None:
    bank, trained = bank_and_clusters
    data = trained.to_bytes("somewhere")
    assert Clusters.train(bank.copy()).to_bytes("somewhere") == data
    read = Clusters.from_bytes(data, "somewhere")
    assert read.to_bytes("somewhere") == data
    for field in dataclasses.fields(Clusters):
        one, other = getattr(read, field.name), getattr(trained, field.name)
        oracles.assert_same_bits(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize(("rows", "lists"), [(1, 1), (33, 1), (64, 2), (1024, 32), (1025, 512), (1 << 20, 1 << 14)])
def test_number_of_lists(rows: int, lists: int) -> None:
    assert clusters.list_count(rows) == lists


def test_any_damage_to_clusters_is_noticed() -> None:
    data = Clusters.train(grid_vectors(40, 3, 2)).to_bytes("bank/clusters")
    damaged = [data[:length] for length in range(len(data))]
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        damaged.append(bytes(flipped))
    for each in (*damaged, data + b"\0", to_tensors({"basis": np.zeros(3)}, "bank/clusters")):
        with pytest.raises(CorruptArtifactError, match=r"'bank/clusters' .*Delete it and run the same command again"):
            Clusters.from_bytes(each, "bank/clusters")


def test_tensors_keep_their_types() -> None:
    arrays = {"a": np.arange(6, dtype=np.int32).reshape(2, 3), "b": np.zeros((0, 4), np.float32), "c": np.array([1.5])}
    read = from_tensors(to_tensors(arrays, "somewhere"), "somewhere")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        oracles.assert_same_bits(read[name], array)
    turned = to_tensors(arrays, "somewhere").replace(b"[2,3]", b"[3,2]")
    with pytest.raises(CorruptArtifactError, match="checksum"):
        from_tensors(turned, "somewhere")
