"""Rows by id, against a dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import publish_biases

from nnn_core.errors import InputError
from nnn_core.table import _hashing
from nnn_core.table.ids import IdIndex, id_texts
from nnn_core.table.reading import find, load_bias_table

LONG = [f"photos/{number:02d}-a-long-name.jpg"[:length] for number in (0, 1, 10) for length in (8, 9, 15, 16, 17, 27)]
TEXTS = (
    st.text(max_size=6)
    | st.text("ab", min_size=7, max_size=17)
    | st.sampled_from(LONG)
    | st.sampled_from(["", "a", "aa", "a\0", "\0", "é", "e\u0301", "0", "00"])
)


@given(st.lists(TEXTS), st.lists(TEXTS, max_size=20), st.integers(0, 5))
def test_it_finds_what_a_dictionary_finds(ids: list[str], others: list[str], cut: int) -> None:
    first = {row_id: row for row, row_id in reversed(list(enumerate(ids)))}
    index = IdIndex.of(pa.chunked_array([pa.array(ids[:cut], pa.string()), pa.array(ids[cut:], pa.string())]))
    asked = [*others, *ids]
    assert index.find(asked).tolist() == [first.get(row_id, -1) for row_id in asked]
    assert index.texts(slice(cut, None)).to_pylist() == ids[cut:]
    assert IdIndex.of(pa.array(["", *ids], pa.string()).slice(1)).find(asked).tolist() == index.find(asked).tolist()


def test_every_byte_of_an_id_changes_both_halves_of_its_hash() -> None:
    def halves(text: bytes) -> tuple[int, int]:
        value = int(_hashing.hash_of(np.frombuffer(b"-" + text, np.uint8), 1, 1 + len(text)))
        return value >> 32, value & 0xFFFFFFFF

    texts = [
        bytes(65 if byte == place else 97 for byte in range(length)) for length in range(26) for place in range(26)
    ]
    seen = {halves(text) for text in texts}
    assert len(seen) == len(set(texts)) == 351
    assert [len({half[side] for half in seen}) for side in (0, 1)] == [351, 351]


def test_ids_whose_hashes_meet_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loops as they are written, with a hash that knows eight values only: all of them are passed by probing."""
    monkeypatch.setattr(_hashing, "hash_of", lambda data, first, last: np.uint64(sum(data[first:last].tolist()) % 8))
    monkeypatch.setattr(_hashing, "_same", _hashing._same.py_func)
    ids = pa.array([f"id-{number}" for number in range(60)], pa.large_string())
    data, offsets = np.frombuffer(ids.buffers()[2], np.uint8), np.frombuffer(ids.buffers()[1], np.int64)
    slots, rows = np.zeros(128, np.uint64), np.empty(60, np.int64)
    _hashing.fill_slots.py_func(data, offsets, slots)
    _hashing.find_rows.py_func(data, offsets, slots, data, offsets, rows)
    assert rows.tolist() == list(range(60))
    strange = np.frombuffer(b"id-x", np.uint8)
    _hashing.find_rows.py_func(data, offsets, slots, strange, np.array([0, 4]), rows[:1])
    assert rows[0] == -1


@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        ([1, -2], ["1", "-2"]),
        (["a", 3], ["a", "3"]),
        (("a",), ["a"]),
        ([], []),
        (np.array([5, 2**62]), ["5", str(2**62)]),
        (np.array(["a", "bb"]), ["a", "bb"]),
        ([np.int64(3)], ["3"]),
        (pa.array([1, 2]), ["1", "2"]),
        (pa.chunked_array([["a"], ["b"]]), ["a", "b"]),
        (pa.array(["a"], pa.large_string()), ["a"]),
    ],
)
def test_ids_of_every_kind(ids: Any, texts: list[str]) -> None:
    assert id_texts(ids).to_pylist() == texts


def test_whole_numbers_in_a_table(tmp_path: Path) -> None:
    publish_biases(uri := str(tmp_path), 1, {"100": 0.5, "7": 0.25})
    assert load_bias_table(uri).bias_of([7, 100]).tolist() == [0.25, 0.5]
    assert [row and row.bias for row in find(uri, [100, 8, 7])] == [0.5, None, 0.25]


@pytest.mark.parametrize("ids", [[1.5], [None], ["a", None], [True], pa.array([1.0]), pa.array(["a", None]), [["a"]]])
def test_what_is_no_id(ids: Any) -> None:
    with pytest.raises(InputError, match="is not an id: ids are strings or whole numbers"):
        id_texts(ids)
