"""Own pairs of the bank: found by id and by pair id, and left out exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import grid_vectors, make_bank

from nnn_core.embedded.profile import VectorSum
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, read_shard
from nnn_core.errors import BankTooSmallError, ConfigError
from nnn_core.evaluation.own_pairs import OwnPairIds, _bank_pairs, check_bank_of, check_rest, own_pair_ids
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.scoring.bank import Bank
from nnn_core.vectors import GRID


def shard(tmp_path: Path, name: str, ids: list[str], pairs: list[str]) -> EmbeddedShard:
    return EmbeddedShard.write(
        str(tmp_path / name), ids, pairs, grid_vectors(len(ids), 4, len(name)), f"{name}.parquet"
    )


def bank_of(*shards: EmbeddedShard) -> Bank:
    return make_bank(shards)


def test_a_reference_belongs_by_id_or_by_pair_id(tmp_path: Path) -> None:
    bank = bank_of(
        shard(tmp_path, "r1", ["r1", "r2", "r3"], ["a", "", "page-7"]),
        shard(tmp_path, "r22", ["r4", "r5"], ["nobody", "a"]),
    )
    assert _bank_pairs(bank).to_pylist() == ["a", "nobody", "page-7"]
    candidates = shard(tmp_path, "c", ["a", "b", ""], ["", "page-7", ""])
    assert own_pair_ids(candidates, bank) == {"a", "page-7"}
    found = OwnPairIds.store({"page-7", "a"}, str(tmp_path / "work"))
    assert found.names == 2
    assert [found.count(part) for part in bank.shards[0].parts] == [2, 1]


def test_a_name_is_one_in_either_form_of_unicode(tmp_path: Path) -> None:
    apart, whole = "cafe\u0301.jpg", "caf\u00e9.jpg"  # as macOS writes it, and everybody else
    assert apart != whole
    for there, here in ((apart, whole), (whole, apart)):
        bank = bank_of(shard(tmp_path, "r1", ["r1", "r2"], [there, "x"]))
        for ids, pairs in (([here], [""]), (["c"], [here])):
            names = own_pair_ids(shard(tmp_path, "c", ids, pairs), bank)
            found = OwnPairIds.store(names, str(tmp_path / "work"))
            assert (found.names, found.count(bank.parts[0])) == (1, 1)
            given = EmbeddedInput("r", "digest", tuple(bank.parts), RejectSummary(2), True)
            assert [part.rows for part in found.leave_out(given, str(tmp_path / "work")).shards] == [1]


def test_what_is_left_is_the_other_rows_in_order(tmp_path: Path) -> None:
    mixed = shard(tmp_path, "r1", ["r1", "r2", "r3"], ["a", "", "b"])
    owned = shard(tmp_path, "r22", ["r4"], ["a"])
    other = shard(tmp_path, "r333", ["r5", "r6"], ["c", ""])
    given = EmbeddedInput("r", "digest", (mixed, owned, other), RejectSummary(6), True)
    found = OwnPairIds.store({"a"}, str(tmp_path / "work"))
    rest = found.leave_out(given, str(tmp_path / "work"))
    assert [part.rows for part in rest.shards] == [2, 2]
    block, before = read_shard(rest.shards[0]), read_shard(mixed)
    assert (block.ids.to_pylist(), block.pair_ids.to_pylist()) == (["r2", "r3"], ["", "b"])
    assert np.array_equal(block.vectors, before.vectors[1:])
    assert rest.shards[1] == other  # nothing to leave out, so nothing is copied
    assert found.leave_out(given, str(tmp_path / "work")) == rest
    # The sum of what is left is kept with it; of a shard that somebody else stored it is taken when it is asked for.
    sums = VectorSum.of_shards(rest.shards, str(tmp_path / "work"))
    assert [computed for _, computed in sums] == [False, True]
    for part, (total, _) in zip(rest.shards, sums, strict=True):
        expected = read_shard(part).vectors.sum(axis=0, dtype=np.float64) * GRID
        assert (total.rows, total.total.tolist()) == (part.rows, expected.tolist())


def test_too_little_left_or_another_bank(tmp_path: Path) -> None:
    bank = bank_of(shard(tmp_path, "r1", ["r1", "r2"], ["a", ""]))
    check_rest(bank, 2, 7)
    with pytest.raises(BankTooSmallError, match=r"leaves 2 reference queries \(7 belong to candidates\)"):
        check_rest(bank, 3, 7)
    check_bank_of(bank, bank.digest, "t")
    with pytest.raises(ConfigError, match="is not the bank of"):
        check_bank_of(bank, "0" * 64, "t")
