"""``nnn search`` in the terminal: what its order follows from stands in its lines."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import pytest

from nnn_core.encoders import parse_encoder
from nnn_core.errors import InputError
from nnn_core.report.answers import Answer
from pipelines.commands import _search
from pipelines.commands._search import _encode, _hits, _side_by_side


def test_lines_show_what_the_order_follows_from() -> None:
    """The second list is not in the order of its scores: the hub with the highest one has a bias."""
    bias = {"hub": 0.25, "cat": 0.0, "dog": -0.125}
    answer = Answer("a cat", ((0.5, "hub"), (0.375, "cat")), ((0.375, "cat"), (0.25, "dog")), bias)
    assert [line.split() for line in _side_by_side(answer)] == [
        ["'a", "cat'"],
        ["before", "score", "after", "score", "bias", "less", "was", "at"],
        ["1", "hub", "0.500", "cat", "0.375", "+0.000", "+0.375", "2"],
        ["2", "cat", "0.375", "dog", "0.125", "-0.125", "+0.250", "beyond", "2"],
    ]
    assert _hits(answer.before) == [{"id": "hub", "score": 0.5}, {"id": "cat", "score": 0.375}]
    assert _hits(answer.after, answer.bias)[1] == {"id": "dog", "score": 0.25, "bias": -0.125}


def test_a_query_without_direction_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source = parse_encoder("python:fakes:EmptyEncoder")
    monkeypatch.setattr(_search, "encoder_of_table", lambda *_: source)
    settings = SimpleNamespace(reference_modality="text", encoder={})
    table = SimpleNamespace(manifest=SimpleNamespace(settings=settings, version=1))
    args = argparse.Namespace(table="t", encoder="", work=None, query=["a cat", "nothing"])
    with pytest.raises(InputError, match=r"--query 'nothing' cannot be searched for \(vector"):
        _encode(args, table)  # type: ignore[arg-type]
