"""The bank: how embedded shards are grouped, and the index over a group."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import random
from pathlib import Path

import numpy as np
import oracles
import pyarrow as pa
import pytest
from fakes import grid_vectors, make_bank, make_shard
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.embedded import shards as embedded
from nnn_core.embedded.shards import EmbeddedShard
from nnn_core.errors import BankTooSmallError, CorruptArtifactError, InputError
from nnn_core.scoring import bank as references
from nnn_core.scoring.bank import Bank, Grouping, ReferenceIndex, shard_references

ROWS = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)


def make_shards(rows: list[int]) -> list[EmbeddedShard]:
    return [make_shard(f"query-{number}", count) for number, count in enumerate(rows)]


@given(ROWS, st.integers(1, 60))
def test_groups_are_whole_shards_in_order(rows: list[int], size: int) -> None:
    bank = make_bank(make_shards(rows), size)
    assert [shard.number for shard in bank.shards] == list(range(len(bank.shards)))
    flat = [part.source for shard in bank.shards for part in shard.parts]
    assert flat == [f"query-{number}" for number, count in enumerate(rows) if count]
    for shard in bank.shards:
        assert shard.rows == sum(part.rows for part in shard.parts)
        assert shard.rows <= size or len(shard.parts) == 1
        if shard.parts[0].rows * 2 >= size:
            assert len(shard.parts) == 1
    assert bank.rows == sum(rows)


@given(ROWS, st.integers(1, 60), st.randoms(use_true_random=False))
def test_the_bank_does_not_depend_on_the_order_of_arrival(rows: list[int], size: int, order: random.Random) -> None:
    shards = make_shards(rows)
    bank = make_bank(shards, size)
    order.shuffle(shards)
    assert make_bank(shards, size) == bank


@given(ROWS, st.integers(1, 40), st.integers(1, 60))
def test_a_new_file_changes_at_most_the_last_group(rows: list[int], new: int, size: int) -> None:
    before, after = (make_bank(make_shards(counts), size) for counts in (rows, [*rows, new]))
    assert after.shards[: len(before.shards) - 1] == before.shards[:-1]
    assert len(after.shards) - len(before.shards) in (0, 1)


def test_a_window_slides_without_regrouping() -> None:
    """Days of 10 rows, up to 60 a group: a day more at the end and one less at the front change a group each."""
    days = make_shards([10] * 400)
    groups = [
        {shard.digest for shard in shard_references(days[day : day + 100], Grouping.of(0, 60))} for day in range(300)
    ]
    new = [len(after - before) for before, after in itertools.pairwise(groups)]
    assert max(new) <= 8  # where no day of a stretch ends a group, those that were cut for being full move
    assert np.mean(new) < 2.5
    assert 100 / 6 < np.mean([len(each) for each in groups]) < 100 / 2


@pytest.mark.parametrize("days", [14, 30, 60])
@pytest.mark.parametrize("rows", [100, 1000, 70_000, 300_000])
def test_by_default_a_day_of_a_window_is_a_shard(days: int, rows: int) -> None:
    """Whatever its size and however many embedded shards it became: a day that is replaced costs its own rows."""

    def day(number: int) -> list[EmbeddedShard]:
        cuts = range(0, rows, embedded.ROWS_PER_SHARD)
        return [
            make_shard(f"day-{number}-{at}", min(embedded.ROWS_PER_SHARD, rows - at), source=f"day-{number:03d}")
            for at in cuts
        ]

    windows = [[shard for number in range(first, first + days) for shard in day(number)] for first in (0, 1)]
    grouping = Grouping.of(days * rows, None)
    before, after = ({shard.digest: shard.rows for shard in shard_references(each, grouping)} for each in windows)
    assert len(after) == days
    assert [after[digest] for digest in after.keys() - before.keys()] == [rows]


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=300))
def test_by_default_there_are_few_shards(rows: list[int]) -> None:
    grouping = Grouping.of(sum(rows), None)
    groups = shard_references(make_shards(rows), grouping)
    # Files that stand alone have half of a group's rows; two groups that meet because one is full have all of them.
    assert len([group for group in groups if 2 * group.rows >= grouping.rows]) <= 2 * sum(rows) / grouping.rows
    assert grouping.rows >= min(2.0**20, max(2.0**7, sum(rows) / 64 / 2**0.5)) - 1e-6


@given(st.integers(1, 10**8), st.floats(0.5001, 1.5))
def test_a_bank_that_changes_by_less_than_half_is_not_regrouped(references: int, factor: float) -> None:
    first = Grouping.of(references, None)
    assert Grouping.of(max(1, round(references * factor)), None, first.rows) == first
    assert Grouping.of(references, None, 100 * first.rows) == first
    assert Grouping.of(references, 77, first.rows) == Grouping(77, 77)


def test_groups_follow_the_natural_order_of_sources() -> None:
    shards = [make_shard("x", source=f"q-{number}.npy") for number in (10, 9, 1)]
    parts = shard_references(shards, Grouping.of(0, 100))[0].parts
    assert [part.source for part in parts] == ["q-1.npy", "q-9.npy", "q-10.npy"]


def test_stretches_of_one_source_stay_in_order() -> None:
    shards = [make_shard(f"x-{number:05d}", source="q.npy") for number in (2, 0, 1)]
    parts = shard_references(shards, Grouping.of(0, 100))[0].parts
    assert [part.uri for part in parts] == [f"work/x-{number:05d}.parquet" for number in range(3)]


def test_the_digest_of_a_bank_is_that_of_its_vectors() -> None:
    shards = make_shards([3, 4, 5])
    bank = make_bank(shards, 4)
    assert make_bank(shards, 1000).digest == bank.digest
    other = dataclasses.replace(shards[1], vector_digest="1" * 64)
    assert make_bank([shards[0], other, shards[2]], 4).digest != bank.digest
    assert make_bank(shards[:2], 4).digest != bank.digest


def test_the_digest_of_a_group_is_that_of_its_files() -> None:
    shards = make_shards([3, 4])
    before = shard_references(shards, Grouping.of(0, 100))[0].digest
    moved = [dataclasses.replace(shard, uri=f"elsewhere/{shard.uri}") for shard in shards]
    assert shard_references(moved, Grouping.of(0, 100))[0].digest == before
    changed = [dataclasses.replace(shards[0], digest="f" * 64), shards[1]]
    assert shard_references(changed, Grouping.of(0, 100))[0].digest != before
    assert shard_references(shards[:1], Grouping.of(0, 100))[0].digest != before


@pytest.mark.parametrize("rows", [[], [0, 0]])
def test_an_empty_bank_is_refused(rows: list[int]) -> None:
    with pytest.raises(BankTooSmallError, match="the bank is empty: no row of --references can be used"):
        shard_references(make_shards(rows), Grouping.of(0, 10))


def test_vectors_of_two_dimensions_are_refused() -> None:
    with pytest.raises(InputError, match=r"vectors differ in dimension: 4 in 'a\.npy', 5 in 'b\.npy'"):
        shard_references([make_shard("x", 1, 5, "b.npy"), make_shard("y", 1, 4, "a.npy")], Grouping.of(0, 10))


def test_a_bank_must_suffice_for_k() -> None:
    shards = make_shards([3, 4])
    assert make_bank(shards, k=7).dim == 4
    assert make_bank(shards, k=7) == make_bank(shards, k=None)
    with pytest.raises(
        BankTooSmallError, match="--k 8 needs at least 8 reference queries, but the bank has 7"
    ) as caught:
        make_bank(shards, k=8)
    assert "--k auto" in str(caught.value)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Bank, np.ndarray, list[str]]:
    """A bank of three files in one group, with its vectors and pair ids."""
    vectors = grid_vectors(10, 6, 1)
    pairs = [f"p{number * 7 % 4}" for number in range(10)]
    shards = [
        embedded.EmbeddedShard.write(
            str(tmp_path / str(number)), [f"q{row}" for row in rows], [pairs[row] for row in rows],
            vectors[rows.start : rows.stop], f"source-{number}",
        )
        for number, rows in enumerate((range(0, 3), range(3, 4), range(4, 10)))
    ]  # fmt: skip
    return make_bank(shards), vectors, pairs


def test_the_index_holds_the_rows_in_order(stored: tuple[Bank, np.ndarray, list[str]]) -> None:
    bank, vectors, pairs = stored
    index = ReferenceIndex.load(bank.shards[0], with_pairs=True)
    oracles.assert_same_bits(index.vectors, vectors)
    assert index.rows == 10
    assert index.pair_ids is not None
    assert index.pair_codes is not None
    assert [index.pair_ids[code].as_py() for code in index.pair_codes.tolist()] == pairs
    assert len(set(index.pair_ids.to_pylist())) == len(index.pair_ids) == 4
    assert index.nbytes >= vectors.nbytes + 80


def test_without_pairs_none_are_kept(stored: tuple[Bank, np.ndarray, list[str]]) -> None:
    bank, vectors, _ = stored
    index = ReferenceIndex.load(bank.shards[0], with_pairs=False)
    assert (index.pair_ids, index.pair_codes, index.nbytes) == (None, None, vectors.nbytes)
    assert index.own_codes(pa.array(["p0", "q"]), pa.array(["p0", "q"])).shape == (2, 0)
    assert index.own_references(np.zeros((2, 0), np.int64), distinct=True).tolist() == [0, 0]


def test_own_codes(stored: tuple[Bank, np.ndarray, list[str]]) -> None:
    bank, _, pairs = stored
    index = ReferenceIndex.load(bank.shards[0], with_pairs=True)
    assert index.pair_ids is not None
    known = index.pair_ids.to_pylist()
    codes = index.own_codes(pa.array(["p2", "nobody", "p0", ""]), pa.array(["p2", "p1", "p3", "nobody"]))
    assert codes.dtype == np.int64
    assert codes.tolist() == [
        [known.index("p2"), -1], [-1, known.index("p1")], [known.index("p0"), known.index("p3")], [-1, -1]
    ]  # fmt: skip
    counts = [pairs.count("p2"), pairs.count("p1"), pairs.count("p0") + pairs.count("p3"), 0]
    assert index.own_references(codes, distinct=True).tolist() == index.own_references(codes).tolist() == counts


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), min_size=1, max_size=30), st.booleans())
def test_equal_references_are_held_once(rows: list[tuple[int, str]], with_pairs: bool) -> None:
    pool = grid_vectors(4, 5, 1)
    vectors = pool[[number for number, _ in rows]]
    pairs = pa.chunked_array([pa.array([pair for _, pair in rows])]) if with_pairs else None
    index = ReferenceIndex.of(vectors, pairs)
    kept = [tuple(vector) for vector in index.vectors.tolist()]
    if index.pair_codes is not None and index.pair_ids is not None:
        kept = list(zip(kept, [index.pair_ids[code].as_py() for code in index.pair_codes.tolist()], strict=True))
    repeats = [1] * len(kept) if index.repeats is None else index.repeats.tolist()
    full = [
        (tuple(vectors[at].tolist()), pair) if with_pairs else tuple(vectors[at].tolist())
        for at, (_, pair) in enumerate(rows)
    ]
    assert dict(zip(kept, repeats, strict=True)) == collections.Counter(full)
    assert len(kept) == len(set(full))
    assert index.rows == len(rows)
    own = index.own_codes(pa.array(["a", "b", "c"]), pa.array(["b", "b", "c"]))
    if with_pairs:
        names = [pair for _, pair in rows]
        assert index.own_references(own).tolist() == [len(names), names.count("b"), 0]
        assert index.own_references(own, distinct=True).tolist() == [
            len(set(full)),
            len({row for row in full if row[1] == "b"}),
            0,
        ]


def test_zeros_of_either_sign_are_equal() -> None:
    index = ReferenceIndex.of(np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0]], np.float32))
    assert index.rows == 3
    assert sorted(index.repeats.tolist()) == [1, 2]


def test_rows_with_the_same_hash_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "_hash_rows", lambda vectors: np.zeros(len(vectors), np.uint64))
    vectors = grid_vectors(6, 4, 1)
    assert ReferenceIndex.of(vectors).repeats is None
    assert ReferenceIndex.of(np.concatenate([vectors[:1], vectors[:1], vectors])).rows == 8


def test_a_file_that_changed_is_refused(stored: tuple[Bank, np.ndarray, list[str]], tmp_path: Path) -> None:
    (path,) = tmp_path.glob("1-*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptArtifactError, match=f"{path.name}' has changed since it was written"):
        ReferenceIndex.load(stored[0].shards[0], with_pairs=False)
