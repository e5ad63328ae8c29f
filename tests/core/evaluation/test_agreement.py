"""Agreement of a bank and queries, against numpy's correlation."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import grid_vectors
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.evaluation.agreement import NO_MOMENTS, agreement_of, moments_of
from nnn_core.vectors import unit_vectors


def by_hand(scores: np.ndarray, near_bank: np.ndarray) -> float | None:
    """From similarities (candidates, queries), nan where a query is left out, by numpy's own covariances."""
    halves = [np.nanmean(scores[:, half::2], axis=1) for half in (0, 1)]
    common, whole = np.cov(halves)[0, 1], np.var(np.mean(halves, axis=0), ddof=1)
    if common < 0.5 * whole:
        return None
    correlation = np.corrcoef(near_bank, np.mean(halves, axis=0))[0, 1]
    return float(np.clip(correlation / np.sqrt(common / whole), -1, 1))


@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(0, 3))
def test_it_is_the_correlation_whatever_the_shards(seed: int, shards: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    candidates, queries = grid_vectors(23, 8, seed), grid_vectors(9, 8, seed + 1, offset)
    bank = grid_vectors(40, 8, seed + 2).mean(axis=0, dtype=np.float64)
    ids = [f"{row:02}" for row in range(23)]
    relevant = [tuple(rng.choice([*ids, "elsewhere"], rng.integers(0, 4), replace=False)) for _ in range(9)]
    scores = candidates.astype(np.float64) @ queries.astype(np.float64).T
    for query, names in enumerate(relevant):
        scores[[int(name) for name in names if name != "elsewhere"], query] = np.nan
    known = (~np.isnan(scores[:, 0::2])).any(axis=1) & (~np.isnan(scores[:, 1::2])).any(axis=1)
    expected = by_hand(scores[known], (candidates.astype(np.float64) @ bank)[known])
    cuts = np.array_split(np.arange(23), shards)
    parts = [moments_of(candidates[rows], [ids[row] for row in rows], bank, queries, relevant) for rows in cuts]
    found = agreement_of(np.sum(parts, axis=0))
    assert (found is None) == (expected is None)
    assert found is None or found == pytest.approx(expected, abs=6e-5)


def test_few_queries_do_not_lower_it() -> None:
    """Of 40 queries that scatter widely around their mean, by which the plain correlation is lower."""
    rng = np.random.default_rng(7)
    candidates = unit_vectors(rng.standard_normal((2000, 32)) + rng.exponential(size=(2000, 1)) * np.eye(32)[0])[0]
    ids = [f"{row}" for row in range(2000)]
    bank = np.eye(32)[0]
    found, plain = [], []
    for _ in range(20):
        queries = unit_vectors(rng.standard_normal((40, 32)) + np.eye(32)[0])[0]
        found.append(agreement_of(moments_of(candidates, ids, bank, queries, [()] * 40)))
        plain.append(np.corrcoef(candidates @ bank, (candidates @ queries.T).mean(axis=1))[0, 1])
    known = [each for each in found if each is not None]
    assert len(known) >= 15
    assert np.mean(plain) < 0.9
    assert np.mean(known) == pytest.approx(0.97, abs=0.05)


def test_a_candidate_that_answers_every_query_is_left_out() -> None:
    candidates, queries = grid_vectors(6, 4, 1), grid_vectors(2, 4, 2)
    ids = list("abcdef")
    without = moments_of(candidates[1:], ids[1:], candidates[0].astype(np.float64), queries, [(), ()])
    assert moments_of(candidates, ids, candidates[0].astype(np.float64), queries, [("a",), ("a",)]) == pytest.approx(
        without
    )


def test_nothing_is_known_of_no_candidates() -> None:
    """As of a table of an earlier release, which keeps no mean vector of its bank."""
    assert agreement_of(np.sum([NO_MOMENTS, NO_MOMENTS], axis=0)) is None


@pytest.mark.parametrize(("rows", "bank"), [(0, [1.0, 0, 0]), (1, [1.0, 0, 0]), (5, [0.0, 0, 0]), (5, [1.0, 0, 0])])
def test_what_does_not_vary_has_no_agreement(rows: int, bank: list[float]) -> None:
    candidates = unit_vectors(np.tile([1.0, 2.0, 3.0], (rows, 1)))[0]
    found = moments_of(candidates, [str(row) for row in range(rows)], np.array(bank), grid_vectors(3, 3, 0), [()] * 3)
    assert agreement_of(found) is None


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0.9, 1.0), (0.95, -0.6, 0.6), (1.0, -0.6, 0.6)])
def test_a_foreign_bank_is_told(share: float, low: float, high: float) -> None:
    """Candidates that lie near the queries' mean to different degrees; a part of the bank lies elsewhere."""
    rng = np.random.default_rng(4)
    ours, theirs = np.eye(64)[0] * 3, np.eye(64)[1] * 3
    noise = rng.standard_normal((3, 1000, 64)) / 8
    towards = rng.exponential(size=(2, 1000, 1)) / 3
    candidates = unit_vectors(noise[0] * 4 + towards[0] * ours + towards[1] * theirs)[0]
    queries = unit_vectors(noise[1][:100] + ours)[0]
    foreign = (np.arange(1000) < share * 1000)[:, None]
    bank = unit_vectors(noise[2] + np.where(foreign, theirs, ours))[0].mean(axis=0, dtype=np.float64)
    found = agreement_of(moments_of(candidates, [f"{row}" for row in range(1000)], bank, queries, [()] * 100))
    assert found is not None
    assert low <= found <= high
