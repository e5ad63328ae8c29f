"""Records: the same bytes for the same content, defaults for what is missing, one line for what is wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from nnn_core import records


@dataclass(frozen=True)
class Inner:
    """One of several."""

    names: tuple[str, ...]
    share: float = 0.5


@dataclass(frozen=True)
class Outer:
    """A record of records."""

    number: int
    inner: tuple[Inner, ...] = ()
    note: str | None = None


RECORD = Outer(3, (Inner(("é", "b"), 1e-7), Inner(())), "x")
LINE = (
    b'{"inner": [{"names": ["\\u00e9", "b"], "share": 1e-07}, {"names": [], "share": 0.5}], "note": "x", "number": 3}'
)


def test_round_trip() -> None:
    assert records.to_json(RECORD) == LINE
    assert records.build(Outer, json.loads(LINE)) == RECORD
    assert records.to_json({"b": [1], "a": "é"}, ensure_ascii=False) == '{"a": "é", "b": [1]}'.encode()
    assert records.to_page({"b": 1, "a": "é"}) == '{\n "a": "é",\n "b": 1\n}\n'.encode()
    assert records.build(list[list[str]], [["a"], []]) == [["a"], []]


def test_keys_that_are_not_there_take_their_defaults_and_unknown_ones_say_nothing() -> None:
    assert records.build(Outer, {"number": 3, "later": 7, "inner": [{"names": ["a"]}]}) == Outer(3, (Inner(("a",)),))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, r"Field required \(number\)"),
        ({"number": 1, "inner": [{"names": [2]}]}, r"Input should be a valid string \(inner\.0\.names\.0\)"),
        ([], "Input should be a dictionary or an instance of Outer"),
    ],
)
def test_what_is_no_record(values: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}"):
        records.build(Outer, values)
