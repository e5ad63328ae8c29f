"""Measures of how an attribute's values share the first places, by hand and by brute force."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.evaluation._shares import Attribute, Shares, precision_and_recall
from nnn_core.evaluation.fairness import (
    _compare_fairness,
    _figures,
)

Positions = npt.NDArray[np.int64]


def attribute_of(names: Sequence[str | None]) -> Attribute:
    """From each candidate's value."""
    values = tuple(sorted({name for name in names if name}))
    held = [name for name in names if name]
    codes = np.array([values.index(name) if name else -1 for name in names], np.int64)
    return Attribute(values, codes, np.array([held.count(value) / len(held) for value in values]))


#: man, woman, man, unknown, woman, man
SIX = attribute_of(["man", "woman", "man", None, "woman", "man"])


def test_bias_by_hand() -> None:
    shares = Shares.of(np.array([[0, 2, 1, 3], [3, 1, 4, 0], [3, -1, -1, -1]]), SIX)
    assert shares.bias(2, "man", "woman").tolist() == [1.0, -1.0, 0.0]
    assert shares.bias(3, "man", "woman") == pytest.approx([1 / 3, -1.0, 0.0])
    assert shares.bias(4, "woman", "man") == pytest.approx([-1 / 3, 1 / 3, 0.0])


def test_skew_by_hand() -> None:
    shares = Shares.of(np.array([[0, 2, 1, 3], [3, 1, 4, 0], [3, -1, -1, -1]]), SIX)
    even = np.array([0.5, 0.5])
    assert shares.max_skew(2, even) == pytest.approx([math.log(2), math.log(2), 0.0])
    assert shares.max_skew(4, even) == pytest.approx([math.log(4 / 3), math.log(4 / 3), 0.0])
    assert shares.max_skew(4, SIX.shares) == pytest.approx([math.log((2 / 3) / 0.6), math.log((2 / 3) / 0.4), 0.0])


def test_divergence_by_hand() -> None:
    shares = Shares.of(np.array([[0, 1, 2, 4], [3, -1, -1, -1]]), SIX)
    first, third = math.log(2), 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    weights = [1.0, 1 / math.log2(3), 1 / 2]
    expected = (first + third / 2) / sum(weights)
    assert shares.ndkl(3, np.array([0.5, 0.5])) == pytest.approx([expected, 0.0])
    assert shares.ndkl(1, np.array([0.5, 0.5])) == pytest.approx([first, 0.0])


def test_precision_and_recall_by_hand() -> None:
    ranking = np.array([[7, 3, 5, 1], [0, 1, 2, 3], [-1, -1, -1, -1]])
    precision, recall = precision_and_recall(ranking, [{7, 5, 9}, {4}, {1}], 3)
    assert precision == pytest.approx([(1 + 2 / 3) / 3, 0.0, 0.0])
    assert recall == pytest.approx([2 / 3, 0.0, 0.0])
    precision, _ = precision_and_recall(ranking, [set(range(1, 9)), {0}, {1}], 2)
    assert precision == pytest.approx([1.0, 1.0, 0.0])  # as good as two places can be


@st.composite
def cases(draw: st.DrawFn) -> tuple[Positions, list[set[int]], list[str | None], int]:
    candidates, depth, queries = draw(st.integers(3, 12)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    names: list[str | None] = ["a", "b", *draw(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=candidates))]
    rows = st.permutations(range(len(names))).map(lambda order: [*order[:depth], *[-1] * depth][:depth])
    ranking = np.array([draw(rows) for _ in range(queries)], np.int64)
    answers = st.sets(st.integers(0, len(names) - 1), min_size=1, max_size=5)
    return ranking, [draw(answers) for _ in range(queries)], names, draw(st.integers(1, min(depth, len(names))))


def brute_force(
    row: list[int], answers: set[int], names: list[str | None], cut: int
) -> dict[tuple[str, tuple[str, ...]], float]:
    """One query's figures from the definitions."""
    values = sorted({name for name in names if name})
    desired = {value: names.count(value) / sum(name is not None for name in names) for value in values}
    prefixes = [[names[at] for at in row[:i] if at >= 0 and names[at]] for i in range(1, cut + 1)]
    first = prefixes[-1]
    found: dict[tuple[str, tuple[str, ...]], float] = {}
    for i, one in enumerate(values):
        for other in values[i + 1 :]:
            total = first.count(one) + first.count(other)
            bias = (first.count(one) - first.count(other)) / total if total else 0.0
            found["bias@n", (one, other)], found["absolute_bias@n", (one, other)] = bias, abs(bias)
    skews = [math.log(first.count(v) / len(first) / desired[v]) for v in values if v in first]
    found["max_skew@n", ()] = max(skews, default=0.0)
    divergences = [
        sum(p.count(v) / len(p) * math.log(p.count(v) / len(p) / desired[v]) for v in values if v in p)
        for p in prefixes
    ]
    weights = [1 / math.log2(i + 1) for i in range(1, cut + 1)]
    found["ndkl@n", ()] = sum(w * d for w, d in zip(weights, divergences, strict=True)) / sum(weights)
    hits = [at in answers for at in row[:cut]]
    precisions = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]
    found["average_precision@n", ()] = sum(precisions) / min(cut, len(answers))
    found["recall@n", ()] = sum(hits) / len(answers)
    return found


@given(cases())
def test_figures_from_the_definitions(case: tuple[Positions, list[set[int]], list[str | None], int]) -> None:
    ranking, relevant, names, cut = case
    figures = _figures(ranking, relevant, attribute_of(names), (cut,))
    for query, (row, answers) in enumerate(zip(ranking.tolist(), relevant, strict=True)):
        expected = brute_force(row, answers, names, cut)
        got = {(name.replace(f"@{cut}", "@n"), values): each[query] for (name, values), each in figures.items()}
        assert got == pytest.approx(expected, abs=1e-12)


def test_before_and_after() -> None:
    """A correction that fills the first two places with one of each, where there were two men."""
    before, after = np.tile([0, 2, 1, 4, 3], (40, 1)), np.tile([0, 1, 2, 4, 3], (40, 1))
    before[:10] = [1, 4, 0, 2, 3]
    figures = {(each.name, each.values): each for each in _compare_fairness(before, after, [{1}] * 40, SIX, (2, 5))}
    bias = figures["bias@2", ("man", "woman")]
    assert (bias.before.value, bias.after.value, bias.change.value) == (0.5, 0.0, -0.5)
    assert bias.before.low < 0.5 < bias.before.high
    assert (bias.after.low, bias.after.high) == (0.0, 0.0)
    assert bias.change.excludes_zero
    assert figures["absolute_bias@2", ("man", "woman")].before.value == 1.0
    assert figures["recall@2", ()].before.value == 0.25
    assert figures["recall@2", ()].after.value == 1.0
    assert figures["bias@5", ("man", "woman")].change.value == 0.0
    assert len(figures) == 2 * 6


def test_every_pair_is_compared() -> None:
    three = attribute_of(["a", "b", "c"])
    keys = _figures(np.array([[0, 1, 2]]), [{0}], three, (2,))
    assert [values for name, values in keys if name == "bias@2"] == [("a", "b"), ("a", "c"), ("b", "c")]
