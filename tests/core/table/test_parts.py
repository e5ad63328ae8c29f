"""Table parts depend on the set of rows alone, however the corpus was cut into shards."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import oracles
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.digests import set_digest
from nnn_core.embedded.corpus import _part_boundaries
from nnn_core.errors import BankTooSmallError, CorruptArtifactError, DuplicateIdError, InputError
from nnn_core.table import parts
from nnn_core.table.parts import BiasSettings, RowSlice, TablePart, _k_for, collect_rows, means_of, resolve_k

SETTINGS = BiasSettings(4, 0.75, (1, 2, 4), "image", "text", False, {"kind": "precomputed"}, "b" * 64)
IDS = st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=4), unique=True, min_size=1, max_size=25)


def means_for(ids: Sequence[str]) -> npt.NDArray[np.float32]:
    """Means that can be told from the id, so that a row that strays is seen."""
    seeds = [int.from_bytes(hashlib.sha256(row_id.encode()).digest()[:4], "big") for row_id in ids]
    return np.array([np.random.default_rng(seed).random(3) for seed in seeds], np.float32).reshape(-1, 3)


def cut(ids: list[str], cuts: list[int]) -> list[list[str]]:
    places = [0, *sorted(place % (len(ids) + 1) for place in cuts), len(ids)]
    return [ids[first:last] for first, last in itertools.pairwise(places) if last > first]


def assemble(shards: list[list[str]], boundaries: tuple[str, ...]) -> dict[int, pa.Table]:
    pieces: dict[int, list[RowSlice]] = {}
    for number, ids in enumerate(shards):
        for part, piece in RowSlice.cut(pa.array(ids, pa.string()), means_for(ids), f"shard-{number}", boundaries):
            pieces.setdefault(part, []).append(piece)
    random.Random(len(shards)).shuffle(shards)
    return {part: collect_rows(random.Random(part).sample(found, len(found))) for part, found in pieces.items()}


def table_of(ids: Sequence[str], means: npt.NDArray[np.float32] | None = None) -> pa.Table:
    (_, piece), *_ = RowSlice.cut(pa.array(ids, pa.string()), means_for(ids) if means is None else means, "x", ())
    return collect_rows([piece])


@given(IDS, IDS, st.randoms(use_true_random=False), st.lists(st.integers(0, 99), max_size=5))
def test_rows_do_not_depend_on_shards(ids: list[str], sample: list[str], order: random.Random, cuts: list[int]) -> None:
    boundaries = tuple(sorted(set(sample[:4])))
    whole = assemble([list(ids)], boundaries)
    order.shuffle(ids)
    parts = assemble(cut(ids, cuts), boundaries)
    assert parts.keys() == whole.keys()
    for number, table in parts.items():
        assert table.equals(whole[number])
        oracles.assert_same_bits(means_of(table), means_for(table.column("id").to_pylist()))
    joined = [row_id for number in sorted(parts) for row_id in parts[number].column("id").to_pylist()]
    assert joined == sorted(ids)
    assert [row_id.encode() for row_id in joined] == sorted(row_id.encode() for row_id in ids)


@given(IDS, IDS)
def test_parts_hold_the_ranges_between_boundaries(ids: list[str], sample: list[str]) -> None:
    boundaries = tuple(sorted(sample))
    for number, table in assemble([ids], boundaries).items():
        for row_id in table.column("id").to_pylist():
            assert number == 0 or boundaries[number - 1] <= row_id
            assert number == len(boundaries) or row_id < boundaries[number]


@given(IDS, st.lists(st.integers(0, 99), max_size=5), st.integers(1, 30), st.randoms(use_true_random=False))
def test_boundaries_depend_on_the_set_of_ids(ids: list[str], cuts: list[int], size: int, order: random.Random) -> None:
    whole = _part_boundaries([ids], len(ids), size)
    order.shuffle(ids)
    assert _part_boundaries([*cut(ids, cuts), []], len(ids), size) == whole
    assert list(whole) == sorted(set(whole))
    assert set(whole) <= set(ids)
    assert len(whole) <= -(-len(ids) // size) - 1


@pytest.mark.parametrize(("rows", "size", "cuts"), [(100, 100, 0), (101, 100, 1), (1000, 100, 9), (1, 1, 0), (5, 1, 4)])
def test_boundaries_cut_evenly(rows: int, size: int, cuts: int) -> None:
    ids = [f"{number:05d}" for number in range(rows)]
    boundaries = _part_boundaries([ids], rows, size)
    assert len(boundaries) == cuts
    sizes = [table.num_rows for table in assemble([ids], boundaries).values()]
    assert sum(sizes) == rows
    assert max(sizes) - min(sizes) <= 1


def test_without_a_sample_there_is_one_part() -> None:
    assert _part_boundaries([], 10**9, 10) == ()
    assert _part_boundaries([[], []], 10**9, 10) == ()


def test_a_small_sample_gives_fewer_parts() -> None:
    assert _part_boundaries([["b"], ["a"]], 1000, 10) == ("a", "b")


def test_duplicates_name_the_id_and_both_places() -> None:
    pieces = [
        RowSlice.cut(pa.array(ids), means_for(ids), source, ())[0][1]
        for source, ids in (("one.tar", ["a", "x"]), ("two.tar", ["b"]), ("three.tar", ["x", "c"]))
    ]
    with pytest.raises(DuplicateIdError) as caught:
        collect_rows(pieces)
    message = str(caught.value)
    assert "candidate id 'x' occurs more than once (1 such rows in this part)" in message
    assert "'one.tar'" in message
    assert "'three.tar'" in message
    assert "two.tar" not in message
    assert "--id-column" in message


def test_slices_are_put_together_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"{7919 * row % 1000:03d}" for row in range(20)]
    pieces = [
        RowSlice.cut(pa.array(ids[row : row + 2]), means_for(ids[row : row + 2]), f"{row:02d}.tar", ())[0][1]
        for row in range(0, 20, 2)
    ]
    (_, double), *_ = RowSlice.cut(pa.array(ids[15:16]), means_for(ids[15:16]), "90.tar", ())
    whole = collect_rows(pieces)
    monkeypatch.setattr(parts, "_SLICES_AT_ONCE", 3)
    assert collect_rows(pieces).equals(whole)
    with pytest.raises(DuplicateIdError, match=rf"'{ids[15]}' occurs .*: in '14\.tar' and in '90\.tar'"):
        collect_rows([*pieces, double])


def test_duplicates_within_a_shard_are_refused_even_if_equal() -> None:
    (_, piece), *_ = RowSlice.cut(pa.array(["x", "a", "x"]), means_for(["x", "a", "x"]), "one.tar", ())
    with pytest.raises(DuplicateIdError, match=r"'x' occurs .*: twice in 'one\.tar'"):
        collect_rows([piece])
    (_, piece), *_ = RowSlice.cut(pa.array(["x", "a"]), means_for(["x", "a"]), "one.tar", ())
    with pytest.raises(DuplicateIdError, match="2 such rows"):
        collect_rows([piece, piece])


@pytest.mark.parametrize(
    ("k", "min_seen", "expected"),
    [
        (4, 100, (4, (1, 2, 4, 6, 8))),
        (4, 7, (4, (1, 2, 4, 6))),
        (4, 4, (4, (1, 2, 4))),
        (None, 100, (8, (1, 2, 4, 6, 8))),
        (None, 63, (4, (1, 2, 4, 6, 8))),
        (None, 7, (1, (1, 2, 4, 6))),
        (None, 1, (1, (1,))),
    ],
)
def test_resolve_k(k: int | None, min_seen: int, expected: tuple[int, tuple[int, ...]]) -> None:
    assert resolve_k(k, (1, 2, 4, 6, 8), min_seen) == expected


@pytest.mark.parametrize(
    ("references", "k"),
    [(1, 1), (16, 2), (127, 8), (128, 16), (10_000, 16), (40_000, 16), (10**5, 32), (10**6, 64), (10**8, 128)],
)
def test_k_for(references: int, k: int) -> None:
    assert _k_for(references) == k


@given(references=st.integers(1, 10**9))
def test_k_for_is_the_power_of_two_that_is_nearest_to_the_fourth_root(references: int) -> None:
    powers = 2.0 ** np.arange(40)
    grown = powers[np.abs(np.log2(powers) - np.log2(16 * (references / 1e4) ** 0.25)).argmin()]
    assert _k_for(references) == max(1, powers[powers <= min(max(16, grown), max(1, references / 8))].max())


@pytest.mark.parametrize(("k", "min_seen", "shown"), [(4, 3, "--k 4 needs 4"), (None, 0, "--k auto needs 1")])
def test_too_few_references(k: int | None, min_seen: int, shown: str) -> None:
    with pytest.raises(BankTooSmallError) as caught:
        resolve_k(k, (1, 2, 4, 8), min_seen)
    assert f"{shown} reference queries" in str(caught.value)
    assert f"has only {min_seen} without its own pairs" in str(caught.value)


@pytest.mark.parametrize("alpha", [0.0, 0.75, 1.5, 1 / 3])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_biases_from_the_definition(k: int, alpha: float) -> None:
    means = means_for([str(number) for number in range(50)])
    actual = dataclasses.replace(SETTINGS, k=k, alpha=alpha).biases(means)
    expected = [np.float32(alpha * float(mean)) for mean in means[:, {1: 0, 2: 1, 4: 2}[k]]]
    oracles.assert_same_bits(actual, np.array(expected, np.float32))


def test_a_part_and_its_description(tmp_path: Path) -> None:
    ids = ["é", "a", "b#0"]
    part = TablePart.write(str(tmp_path), 7, 3, table_of(ids), SETTINGS, {})
    data = (tmp_path / part.path).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert part.path == f"versions/000007/part-00003-{digest[:16]}.parquet"
    assert (part.rows, part.min_id, part.max_id) == (3, "a", "é")
    assert (part.sha256, part.bytes) == (digest, len(data))
    assert part.id_digest == set_digest(row_id.encode() for row_id in ids)
    table = pq.read_table(tmp_path / part.path)
    assert table.column_names == ["id", "bias", "mean_k"]
    assert table.schema.field("bias").type == pa.float32()
    assert table.schema.field("mean_k").type.list_size == 3
    bias = table.column("bias").to_numpy()
    oracles.assert_same_bits(bias, SETTINGS.biases(means_for(sorted(ids))))
    assert (part.bias_min, part.bias_max) == (bias.min(), bias.max())
    assert part.bias_sum == pytest.approx(bias.astype(np.float64).sum(), abs=1e-12)
    assert part.read(str(tmp_path)).equals(table)
    assert part.read(str(tmp_path), ["id"]).column_names == ["id"]


def test_a_part_says_what_it_is_valid_for(tmp_path: Path) -> None:
    part = TablePart.write(str(tmp_path), 1, 0, table_of(["a"]), SETTINGS, {})
    essentials = json.loads(pq.read_schema(tmp_path / part.path).metadata[b"nnn_bias_table"])
    assert essentials.pop("format") == "nnn-bias-table/1"
    assert BiasSettings(**{**essentials, "grid": tuple(essentials["grid"])}) == SETTINGS


def test_columns_beyond_the_grid_are_left_out(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, k=2, grid=(1, 2))
    part = TablePart.write(str(tmp_path), 1, 0, table_of(["a", "b"]), settings, {})
    oracles.assert_same_bits(means_of(part.read(str(tmp_path))), means_for(["a", "b"])[:, :2])


def test_a_file_that_exists_is_used_again(tmp_path: Path) -> None:
    first = TablePart.write(str(tmp_path), 1, 0, table_of(["a"]), SETTINGS, {})
    again = TablePart.write(str(tmp_path), 2, 5, table_of(["a"]), SETTINGS, {first.sha256: first.path})
    assert again == first
    assert not (tmp_path / "versions" / "000002").exists()
    other = TablePart.write(str(tmp_path), 2, 0, table_of(["b"]), SETTINGS, {first.sha256: first.path})
    assert other.path.startswith("versions/000002/")


@pytest.mark.parametrize("damage", ["changed", "cut", "deleted"])
def test_a_damaged_file_is_not_used_again(tmp_path: Path, damage: str) -> None:
    first = TablePart.write(str(tmp_path), 1, 0, table_of(["a"]), SETTINGS, {})
    path = tmp_path / first.path
    whole = path.read_bytes()
    path.write_bytes({"changed": whole[:50] + bytes([whole[50] ^ 1]) + whole[51:], "cut": whole[:-1]}.get(damage, b""))
    if damage == "deleted":
        path.unlink()
    again = TablePart.write(str(tmp_path), 2, 0, table_of(["a"]), SETTINGS, {first.sha256: first.path})
    assert again == dataclasses.replace(first, path=first.path.replace("000001", "000002"))
    assert (tmp_path / again.path).read_bytes() == whole


def test_a_damaged_file_in_the_way_is_refused(tmp_path: Path) -> None:
    part = TablePart.write(str(tmp_path), 1, 0, table_of(["a"]), SETTINGS, {})
    assert TablePart.write(str(tmp_path), 1, 0, table_of(["a"]), SETTINGS, {}) == part
    (tmp_path / part.path).write_bytes(b"half")
    with pytest.raises(CorruptArtifactError, match=f"{part.path}' is damaged.*delete it, and run the same command"):
        TablePart.write(str(tmp_path), 1, 0, table_of(["a"]), SETTINGS, {})


def test_a_damaged_part_is_refused(tmp_path: Path) -> None:
    part = TablePart.write(str(tmp_path), 1, 0, table_of(["a"]), SETTINGS, {})
    path = tmp_path / part.path
    whole = path.read_bytes()
    for data in (whole[:-1], whole + b"\0", whole[:50] + bytes([whole[50] ^ 1]) + whole[51:], b""):
        path.write_bytes(data)
        with pytest.raises(CorruptArtifactError) as caught:
            part.read(str(tmp_path))
        assert str(path) in str(caught.value)
        assert f"{len(data)} bytes" in str(caught.value)
        assert f"not {part.bytes} with {part.sha256[:16]}" in str(caught.value)
    path.unlink()
    with pytest.raises(InputError, match=f"{part.path}.*Read an older version, or run a refresh"):
        part.read(str(tmp_path))
