"""Own pairs: names of both sides meet, or what keeps them apart is said."""

from __future__ import annotations

import unicodedata
from functools import reduce
from operator import or_
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fakes import grid_vectors, make_block

from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard
from nnn_core.errors import InputError
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.scoring.bank import Bank, ReferenceIndex
from nnn_core.scoring.own_pairs import _OwnPairs, check_own_pairs
from nnn_core.scoring.partials import Scored

CLOSED = unicodedata.normalize("NFC", "é.jpg")
APART = unicodedata.normalize("NFD", "é.jpg")


def stored(folder: Path, name: str, ids: list[str], pair_ids: list[str]) -> EmbeddedInput:
    shard = EmbeddedShard.write(str(folder / name), ids, pair_ids, grid_vectors(len(ids), 4, 1), name)
    return EmbeddedInput(name, name, (shard,), RejectSummary(len(ids)), True)


def check(folder: Path, pair_ids: list[str], names: list[str], candidate_pairs: list[str] | None = None) -> None:
    bank = Bank.gather(
        [stored(folder, "bank", [f"q{row}" for row in range(len(pair_ids))], pair_ids)], 100, None, 0.0, "", True
    )
    cut = [stored(folder, f"c{row}", [name], [(candidate_pairs or names)[row]]) for row, name in enumerate(names)]
    assert check_own_pairs(bank, cut) is bank


@pytest.mark.parametrize(
    ("pair_ids", "names", "candidate_pairs"),
    [
        (["a", "x", ""], ["b", "a"], None),
        (["group"], ["b", "a"], ["", "group"]),
        ([APART], ["b", CLOSED], None),
        ([CLOSED], ["b", APART], None),
    ],
)
def test_one_name_that_meets_will_do(
    tmp_path: Path, pair_ids: list[str], names: list[str], candidate_pairs: list[str] | None
) -> None:
    check(tmp_path, pair_ids, names, candidate_pairs)


@pytest.mark.parametrize(
    ("pair", "name", "difference"),
    [
        ("item-003.jpg", "item-003", "the suffixes of the files"),
        ("000000000139.jpg", "000000000139", "the suffixes of the files"),
        ("val2014/a.jpg", "a.jpg", "the folders in front of the names"),
        ("Item-3", "item-3", "upper and lower case"),
        ("v/a.jpg", "a", "the folders in front of the names and the suffixes of the files"),
    ],
)
def test_names_that_do_not_meet_are_told_apart(tmp_path: Path, pair: str, name: str, difference: str) -> None:
    with pytest.raises(InputError) as caught:
        check(tmp_path, ["0", pair, pair, ""], ["zzz", name])
    message = str(caught.value)
    assert "None of the 2 pair ids of --references, such as '0', is the id or pair id of a candidate" in message
    assert f"They differ in {difference}: {pair!r} and {name!r}." in message
    assert "--reference-pair-id-column" in message


def test_names_of_other_things_have_no_difference(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"would leave nothing out.*Name matching columns"):
        check(tmp_path, ["1", "2"], ["a", "b"])


def test_an_empty_pair_id_meets_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="None of the 1 pair ids"):
        check(tmp_path, ["", "x"], ["a"], [""])


def test_forms_of_unicode_are_one_name_to_the_scores() -> None:
    index = ReferenceIndex.of(grid_vectors(3, 4, 2), pa.chunked_array([[APART, "b", CLOSED]]))
    block = make_block(grid_vectors(2, 4, 3), [CLOSED, APART], ["", ""])
    own = index.own_codes(block.ids, block.pair_ids)
    assert index.own_references(own).tolist() == [2, 2]


def test_what_was_left_out_is_counted() -> None:
    parts = [_OwnPairs.of(np.array(left)) for left in ([0, 3, 1], [0], [2])]
    assert sum(parts, _OwnPairs()) == _OwnPairs(3, 6)
    scored = [Scored(5, frozenset({"exact"}), part) for part in parts]
    assert reduce(or_, scored).own_pairs == _OwnPairs(3, 6)
