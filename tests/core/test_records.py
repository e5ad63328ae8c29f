"""Records: the same bytes for the same content, defaults for what is missing, one line for what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from nnn_core import records
from nnn_core.errors import CorruptArtifactError


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
    assert records._from_json(Outer, LINE, "there") == RECORD
    assert records.to_json({"b": [1], "a": "é"}, ensure_ascii=False) == '{"a": "é", "b": [1]}'.encode()
    assert records.to_page({"b": 1, "a": "é"}) == '{\n "a": "é",\n "b": 1\n}\n'.encode()
    assert records._from_json(list[list[str]], b'[["a"], []]', "there") == [["a"], []]


def test_keys_that_are_not_there_take_their_defaults_and_unknown_ones_say_nothing() -> None:
    assert records.build(Outer, {"number": 3, "later": 7, "inner": [{"names": ["a"]}]}) == Outer(3, (Inner(("a",)),))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"{}", r"Field required \(number\)"),
        (b'{"number": 1, "inner": [{"names": [2]}]}', r"Input should be a valid string \(inner\.0\.names\.0\)"),
        (b"[]", "Input should be a dictionary or an instance of Outer"),
        (b"{", "Expecting property name"),
        (b"\xff", "can't decode"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_what_is_no_record(data: bytes, problem: str) -> None:
    with pytest.raises(CorruptArtifactError, match=f"^'there' is damaged: .*{problem}.*\\. Delete it and run the same"):
        records._from_json(Outer, data, "there")
    with pytest.raises(CorruptArtifactError, match=r"^'there' holds no record: .* Move it away\.$"):
        records._from_json(Outer, data, "there", "holds no record", "Move it away.")
