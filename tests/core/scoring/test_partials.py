"""Partials come back as they were written, under a name that follows their inputs, and merge in any order."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import oracles
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import make_shard
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.errors import CorruptArtifactError, LostArtifactError
from nnn_core.scoring.bank import Grouping, shard_references
from nnn_core.scoring.merged import _in_order
from nnn_core.scoring.own_pairs import _OwnPairs
from nnn_core.scoring.partials import Partial, Scored, ScoredRange, _other_sizes, _pack, kept_scores
from nnn_core.scoring.topk import TopK

Ragged = list[list[float]]


def top_of(scores: Ragged, k: int) -> TopK:
    return TopK.of(oracles.padded(scores), k, np.array([len(row) for row in scores], np.int64))


def store(folder: Path, top: TopK, reference: int = 0) -> Partial:
    partial = Partial("c" * 64, reference, str(folder / f"partial-{reference}.parquet"), len(top.seen), top.k)
    Path(partial.uri).unlink(missing_ok=True)
    partial.write(top)
    return partial


SCORES = st.lists(st.lists(st.floats(-1, 1, width=32), max_size=6), min_size=1, max_size=5)


@given(SCORES, st.integers(1, 8))
def test_what_was_written_is_read(tmp_path: Path, scores: Ragged, k: int) -> None:
    top = top_of(scores, k)
    partial = store(tmp_path, top)
    read, method, size = partial.read()
    assert size == Path(partial.uri).stat().st_size
    assert method == "exact"
    assert read.k == k
    oracles.assert_same_bits(read.seen, top.seen)
    oracles.assert_same_bits(np.ascontiguousarray(read.scores), top.scores)


def old_bytes(partial: Partial, top: TopK, split: bool) -> bytes:
    """A partial as versions wrote it whose scores were a list for each candidate."""
    metadata = pq.read_schema(partial.uri).metadata
    lists = pa.FixedSizeListArray.from_arrays(pa.array(top.scores.reshape(-1)), top.scores.shape[1])
    table = pa.table({"seen": top.seen, "scores": lists}).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, compression="zstd", use_dictionary=False, write_page_checksum=True,
        column_encoding={"scores.list.element": "BYTE_STREAM_SPLIT"} if split else None,
    )  # fmt: skip
    return bytes(sink.getvalue())


@pytest.mark.parametrize("split", [True, False])
def test_partials_of_older_versions_are_read(tmp_path: Path, split: bool) -> None:
    top = top_of([[0.5, 0.25, -0.125], [1.0], [-0.0, -1.0, 1e-30]], 3)
    partial = store(tmp_path, top)
    Path(partial.uri).write_bytes(old_bytes(partial, top, split))
    read, *_ = partial.read()
    oracles.assert_same_bits(np.ascontiguousarray(read.scores), top.scores)


def test_scores_are_packed_as_the_docstring_says() -> None:
    scores = np.array([[1.0, 0.5, 0.0], [-0.0, -0.25, -np.inf]], np.float32)
    order = sorted([-np.inf, -0.25, 0.0, 0.5, 1.0])
    numbers = [int(np.float32(score).view(np.int32)) for score in order]
    # What is negative has its sign as the highest bit, and the larger the number without it, the lower the score.
    key = {score: n if n >= 0 else -(n & 0x7FFFFFFF) - 1 for score, n in zip(order, numbers, strict=True)}
    ranks = [[key[1.0], -1], [key[1.0] - key[0.5], -1 - key[-0.25]], [key[0.5] - key[0.0], key[-0.25] - key[-np.inf]]]
    expected = [bytes(n >> shift & 255 for rank in ranks for n in rank) for shift in (24, 16, 8, 0)]
    packed = {name: column.buffers()[1].to_pybytes() for name, column in _pack(scores).items()}
    assert packed == {"high": expected[0] + expected[1], "low": expected[2] + expected[3]}


def test_packed_scores_take_less_than_lists(tmp_path: Path) -> None:
    scores = -np.sort(-np.random.default_rng(0).normal(0, 0.05, (512, 4096)).astype(np.float32), axis=1)
    top = TopK(12, np.full(512, 4096), np.ascontiguousarray(scores[:, :12]))
    partial = store(tmp_path, top)
    assert Path(partial.uri).stat().st_size < 0.88 * len(old_bytes(partial, top, split=True))


@pytest.mark.parametrize("numbers", [[0, 2], [0, 1, 1], [1, 2, 3], [0, 1], [0, 1, 2, 3]])
def test_missing_or_doubled_partials_are_refused(tmp_path: Path, numbers: list[int]) -> None:
    partials = [store(tmp_path, top_of([[0.5]], 2), number) for number in numbers]
    with pytest.raises(CorruptArtifactError) as caught:
        _in_order(partials, 3, make_shard("c"))
    assert f"partials of reference shards {numbers}, expected each of 0 to 2 once" in str(caught.value)
    assert make_shard("c").digest[:16] in str(caught.value)
    whole = [store(tmp_path, top_of([[0.5]], 2), number) for number in (2, 0, 1)]
    assert [partial.reference for partial in _in_order(whole, 3, make_shard("c"))] == [0, 1, 2]


@given(st.integers(1, 300), st.integers(1, 10**6), st.integers(1, 10**6))
def test_enough_is_kept(k_max: int, references: int, others: int) -> None:
    kept = kept_scores(k_max, references, references + others)
    share = k_max * references / (references + others)
    assert share <= kept <= k_max
    assert kept == k_max or share + 4 * share**0.5 + 4 <= kept <= 2 * (share + 4 * share**0.5 + 4)
    assert kept_scores(k_max, references, references) == k_max
    assert kept_scores(128, 4096, 60 * 4096) == 12
    others_ = _other_sizes(k_max, kept)
    assert kept not in others_
    assert all(kept / 2 <= size <= k_max for size in others_)
    assert kept == k_max or k_max in others_


def test_names_follow_every_input() -> None:
    candidates = make_shard("c", 3)
    reference = shard_references([make_shard("r", 5)], Grouping.of(0, 10))[0]
    base = Partial.of(candidates, reference, 8, False, "work")
    assert base.uri.startswith("work/partials/")
    assert (base.candidates, base.reference, base.rows, base.k_max) == (candidates.digest, 0, 3, 8)
    others = [
        Partial.of(dataclasses.replace(candidates, digest="0" * 64), reference, 8, False, "work"),
        Partial.of(candidates, dataclasses.replace(reference, digest="0" * 40), 8, False, "work"),
        Partial.of(candidates, reference, 9, False, "work"),
        Partial.of(candidates, reference, 8, True, "work"),
        Partial.of(candidates, reference, 8, False, "work", "settings of an approximate search"),
    ]
    assert len({base.uri, *(other.uri for other in others)}) == 6


def test_names_ignore_places_and_numbers() -> None:
    """A bank that loses its first shard keeps the partials of the others."""
    candidates, parts = make_shard("c", 3), [make_shard(f"r{number}", 5) for number in range(2)]
    second = shard_references(parts, Grouping.of(0, 5))[1]
    alone = shard_references(parts[1:], Grouping.of(0, 5))[0]
    assert (second.number, alone.number) == (1, 0)
    moved = dataclasses.replace(candidates, uri="elsewhere", source="elsewhere")
    first, again = (Partial.of(c, r, 8, False, "w") for c, r in ((candidates, second), (moved, alone)))
    assert first.uri == again.uri


def test_the_first_partial_under_a_name_stays(tmp_path: Path) -> None:
    partial = store(tmp_path, top_of([[0.5]], 2))
    partial.write(top_of([[0.25]], 2))
    assert partial.read()[0].scores.tolist() == [[0.5]]


def test_bytes_depend_on_the_scores_only(tmp_path: Path) -> None:
    first = Path(store(tmp_path, top_of([[0.5, 0.25], [1.0]], 2)).uri).read_bytes()
    assert Path(store(tmp_path, top_of([[0.25, 0.5], [1.0]], 2)).uri).read_bytes() == first


@pytest.mark.parametrize("change", [{"rows": 3}, {"rows": 1}, {"k_max": 5}])
def test_a_partial_that_is_another_is_refused(tmp_path: Path, change: dict[str, int]) -> None:
    """Rows must be the shard's; with another k the width would not fit."""
    partial = store(tmp_path, top_of([[0.5, 0.25, 0.1], [1.0]], 2))
    with pytest.raises(CorruptArtifactError, match=r"partial-0\.parquet' .* is not a readable partial"):
        dataclasses.replace(partial, **change).read()


@pytest.mark.parametrize("data", [b"", b"PAR1", b"nonsense" * 40])
def test_what_is_no_partial_is_refused(tmp_path: Path, data: bytes) -> None:
    partial = store(tmp_path, top_of([[0.5]], 2))
    Path(partial.uri).write_bytes(data)
    with pytest.raises(CorruptArtifactError, match=r"partial-0\.parquet' .* is not a readable partial"):
        partial.read()


def test_a_missing_partial_names_itself(tmp_path: Path) -> None:
    partial = store(tmp_path, top_of([[0.5]], 2))
    Path(partial.uri).unlink()
    with pytest.raises(LostArtifactError, match=r"partial-0\.parquet' .* is gone"):
        partial.read()


def test_a_flipped_bit_is_refused_or_harmless(tmp_path: Path) -> None:
    """Pages and content carry checksums, and whatever the footer says, no other error comes out."""
    top = top_of([[0.5, 0.25, 0.125], [1.0, -1.0], []], 4)
    partial = store(tmp_path, top)
    whole = Path(partial.uri).read_bytes()
    refused = 0
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= 1 << position % 8
        Path(partial.uri).write_bytes(bytes(data))
        try:
            read, method, _ = partial.read()
        except CorruptArtifactError:
            refused += 1
        else:
            assert read.seen.tolist() == top.seen.tolist()
            assert read.scores.tolist() == top.scores.tolist()
            assert method == "exact"
    assert refused > len(whole) // 2


def test_an_unknown_search_is_refused(tmp_path: Path) -> None:
    partial = store(tmp_path, top_of([[0.5]], 2))
    Path(partial.uri).unlink()
    partial.write(top_of([[0.5]], 2), "guess")
    with pytest.raises(CorruptArtifactError, match="it was made by an unknown search 'guess'"):
        partial.read()


def test_a_range_describes_each_of_its_partials_in_few_bytes() -> None:
    shard = make_shard("c")
    folder = f"memory://{'deep/' * 20}partials"
    partials = [
        Partial(shard.digest, number, f"{folder}/{number:040x}.parquet", shard.rows, 8 + number % 3)
        for number in range(60)
    ]
    scored = ScoredRange.of(shard, partials[10:])
    assert scored.partials == partials[10:]
    assert len(pickle.dumps(scored)) < 50 * 24 + 800
    assert ScoredRange.done(shard).partials == []


def test_what_scoring_was_like_adds_up_whatever_the_order() -> None:
    exact, approximate, small = frozenset({"exact"}), frozenset({"approximate"}), frozenset({8})
    each = [
        Scored(3, exact, kept=small),
        Scored(2, approximate, _OwnPairs(1, 3), small | {12}),
        Scored(5, exact),
    ]
    assert each[0] | each[1] | each[2] == each[2] | each[1] | each[0] == each[0] | (each[1] | each[2])
    assert each[0] | each[1] | each[2] == Scored(2, exact | approximate, _OwnPairs(1, 3), small | {12})
    assert all(Scored.from_arrays(scored.to_arrays()) == scored for scored in each)
