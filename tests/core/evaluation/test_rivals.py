"""Every method's ranks are those of its paper's formula on the full matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from fakes import grid_vectors, make_block
from hypothesis import given
from hypothesis import strategies as st

from nnn_core.errors import InputError
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.ranks import biases_at
from nnn_core.evaluation.rivals import Trial, _all_rivals, _choosing_half, _fit, _leaders, _rank_quality, _Rival
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.exact import ExactSearch

Vectors = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

ALPHAS, BETAS = (0.25, 0.75, 1.5), (1.0, 20.0, 100.0)

#: Scores that a float32 column may put in another order: its rounding, and that of the k highest scores.
TIE = 1e-5


def trial(seed: int = 0, queries: int = 30, rows: int = 90, references: int = 70, dim: int = 8) -> Trial:
    rng = np.random.default_rng(seed)
    ids = [f"c{number:03}" for number in rng.permutation(rows)]
    relevant = [[ids[row] for row in rng.integers(0, rows, rng.integers(1, 4))] for _ in range(queries)]
    asked, held, bank = (grid_vectors(count, dim, seed + at) for at, count in enumerate((queries, rows, references)))
    return Trial(asked, relevant, held, ids, bank, grid_vectors(25, dim, seed + 9))


def wide(*vectors: Vectors) -> Matrix:
    left, right = (each.astype(np.float64) for each in vectors)
    return left @ right.T


def nearest_mean(scores: Matrix, k: int) -> Matrix:
    """Mean of the k highest of each row."""
    return np.array([np.mean(sorted(row, reverse=True)[:k]) for row in scores])


# The formulas as their papers print them; each gives a score for every query and candidate.


def plain(case: Trial) -> Matrix:
    return wide(case.queries, case.candidates)


def nnn(case: Trial, alpha: float, k: int) -> Matrix:
    return plain(case) - alpha * nearest_mean(wide(case.candidates, case.bank), k)


def csls(case: Trial, k: int) -> Matrix:
    of_queries = nearest_mean(wide(case.queries, case.candidates), k)
    return 2 * plain(case) - of_queries[:, None] - nearest_mean(wide(case.candidates, case.bank), k)


def distribution_normalization(case: Trial, weight: float) -> Matrix:
    queries = case.queries.astype(np.float64) - weight * case.bank.astype(np.float64).mean(axis=0)
    candidates = case.candidates.astype(np.float64) - weight * case.candidates.astype(np.float64).mean(axis=0)
    return queries @ candidates.T


def inverted_softmax(case: Trial, beta: float) -> Matrix:
    exponentials = np.exp(beta * plain(case)) / np.exp(beta * wide(case.bank, case.candidates)).sum(axis=0)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def qb_norm(case: Trial, beta: float) -> Matrix:
    activated = set(wide(case.bank, case.candidates).argmax(axis=1).tolist())
    scores = plain(case)
    for row, corrected in enumerate(inverted_softmax(case, beta)):
        if int(scores[row].argmax()) in activated:
            scores[row] = corrected
    return scores


def db_norm(case: Trial, beta_1: float, beta_2: float) -> Matrix:
    scores = plain(case)
    of_bank = np.exp(beta_1 * scores) / np.exp(beta_1 * wide(case.bank, case.candidates)).sum(axis=0)
    of_gallery = np.exp(beta_2 * scores) / np.exp(beta_2 * wide(case.second_bank, case.candidates)).sum(axis=0)
    return of_bank * of_gallery


ORACLES: dict[str, Callable[..., Matrix]] = {
    "none": plain,
    "nnn": nnn,
    "csls": csls,
    "dn": distribution_normalization,
    "is": inverted_softmax,
    "qbnorm": qb_norm,
    "dbnorm": db_norm,
}


def rival_named(name: str, references: int = 70) -> _Rival:
    return next(rival for rival in _all_rivals(references, ALPHAS, BETAS, 64) if rival.name == name)


def ranks_of(case: Trial, rival: _Rival) -> npt.NDArray[np.int64]:
    """(settings, queries) rank of the first relevant candidate."""
    return _rank_quality(case, _fit(case, rival)).first


def first_ranks(scores: Matrix, case: Trial) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(queries,) rank of the first relevant candidate, and whether another's score is too close to tell."""
    ranks, close = [], []
    for row, names in zip(scores, case.relevant, strict=True):
        order = sorted(range(len(row)), key=lambda at: (-row[at], case.ids[at]))
        best = next(at for at in order if case.ids[at] in names)
        ranks.append(order.index(best) + 1)
        others = np.abs(np.delete(row, best) - row[best])
        close.append(others.min() < TIE * np.abs(row[best]))
    return np.array(ranks), np.array(close)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ranks_are_those_of_the_formula(name: str, seed: int) -> None:
    case, rival = trial(10 * seed), rival_named(name)
    found = ranks_of(case, rival)
    told = 0
    for at, setting in enumerate(rival.settings):
        expected, close = first_ranks(ORACLES[name](case, *map(int_if_whole, rival.parameters, setting)), case)
        assert found[at][~close].tolist() == expected[~close].tolist()
        told += int((~close).sum())
    assert told > 0.95 * found.size


def int_if_whole(parameter: str, value: float) -> float:
    return int(value) if parameter == "k" else value


def test_the_gate_is_open_for_some_queries_only() -> None:
    """Otherwise the test above says nothing of it."""
    case = trial()
    activated = _fit(case, rival_named("qbnorm")).activated
    flags = np.isin(_leaders(case.queries, case.candidates, case.ids), activated)
    assert 0 < flags.sum() < len(flags)
    assert (ranks_of(case, rival_named("qbnorm")) != ranks_of(case, rival_named("is"))).any()
    assert (ranks_of(case, rival_named("qbnorm")) != ranks_of(case, rival_named("none"))).any()


def test_only_qb_norm_is_more_than_a_column() -> None:
    rivals = _all_rivals(70)
    assert [rival.name for rival in rivals] == list(ORACLES)
    assert [rival.name for rival in rivals if rival.gated] == ["qbnorm"]
    assert all(len(rival.settings) == len(set(rival.settings)) for rival in rivals)
    assert max(rival.settings[-1][-1] for rival in _all_rivals(5)[1:3]) == 5


def test_nnn_has_the_biases_of_the_table() -> None:
    case, rival = trial(), rival_named("nnn")
    top = score_block(make_block(case.candidates), ExactSearch(ReferenceIndex.of(case.bank)), 64)
    points = [Point(int(k), alpha) for alpha, k in rival.settings]
    grid = tuple(sorted({point.k for point in points}))
    expected = biases_at(top.means(grid), grid, points)
    assert np.array_equal(_fit(case, rival).biases, expected)


def test_what_is_said_of_the_methods_kinship() -> None:
    case = trial()
    biases = {rival.name: _fit(case, rival).biases for rival in _all_rivals(70, (0.5, 1.0), (1e-5, 1e5), 70)}
    where = {rival.name: rival.settings.index for rival in _all_rivals(70, (0.5, 1.0), (1e-5, 1e5), 70)}
    np.testing.assert_array_equal(biases["csls"][where["csls"]((64,))], biases["nnn"][where["nnn"]((0.5, 64))])
    np.testing.assert_allclose(biases["dn"][where["dn"]((1.0,))], biases["nnn"][where["nnn"]((1.0, 70))], atol=1e-6)
    soft = biases["is"][where["is"]((1e-5,))].astype(np.float64) - np.log(70) / 1e-5
    np.testing.assert_allclose(soft - soft.mean(), biases["dn"][1] - biases["dn"][1].mean(), atol=0.05)
    np.testing.assert_allclose(biases["is"][where["is"]((1e5,))], biases["nnn"][where["nnn"]((1.0, 1))], atol=1e-4)


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 30))
def test_leaders_from_the_definition(seed: int, queries: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    asked, held = grid_vectors(queries, 3, seed), grid_vectors(rows, 3, seed + 1)[rng.integers(0, rows, rows)]
    ids = [f"c{number:02}" for number in rng.permutation(rows)]
    best = [min(range(rows), key=lambda row: (-line[row], ids[row])) for line in wide(asked, held)]
    assert _leaders(asked, held, ids).tolist() == best


def test_leaders_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    case = replace(trial(), candidates=trial().candidates[np.arange(90) % 11])  # the same ones in every tile
    whole = _leaders(case.queries, case.candidates, case.ids)
    monkeypatch.setattr("nnn_core.evaluation.rivals._LEADER_CANDIDATES", 7)
    monkeypatch.setattr("nnn_core.evaluation.rivals._LEADER_QUERIES", 4)
    assert _leaders(case.queries, case.candidates, case.ids).tolist() == whole.tolist()


def test_a_comparison_is_on_the_same_footing() -> None:
    case = trial(queries=120)
    rows = {row["method"]: row for row in case.compare()}
    assert list(rows) == list(ORACLES)
    assert rows["none"]["gains"]["recall@1"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    for row in rows.values():
        for name, figure in row["figures"].items():
            gain = figure["value"] - rows["none"]["figures"][name]["value"]
            assert row["gains"][name]["value"] == pytest.approx(gain)
            lead = figure["value"] - rows["nnn"]["figures"][name]["value"]
            assert row["leads"][name]["value"] == pytest.approx(lead)
            assert figure["low"] <= figure["value"] <= figure["high"]
        assert row["seconds"]["total"] == pytest.approx(row["seconds"]["fit"] + row["seconds"]["search"])
    bank, gallery = 90 * 70, 90 * 25
    asked = rows["nnn"]["pairs"] - bank
    assert 90 * 40 < asked < 90 * 80
    assert rows["csls"]["pairs"] == rows["is"]["pairs"] == bank + asked
    assert rows["qbnorm"]["pairs"] == 2 * bank + 2 * asked
    assert rows["dbnorm"]["pairs"] == bank + gallery + asked
    assert rows["none"]["pairs"] == 0


def test_the_setting_is_the_best_of_the_choosing_half_only() -> None:
    case = trial(queries=200)
    half = _choosing_half(case.relevant)
    row = next(row for row in case.compare(objective="mrr") if row["method"] == "nnn")
    rival = _all_rivals(70)[1]
    quality = _rank_quality(case, _fit(case, rival))
    best = int(quality.figures["mrr"][:, half].mean(axis=1).argmax())
    assert row["setting"] == dict(zip(rival.parameters, rival.settings[best], strict=True))
    assert row["figures"]["mrr"]["value"] == pytest.approx(quality.figures["mrr"][best, ~half].mean())


def test_a_sampled_second_bank_is_repeatable() -> None:
    case = trial()
    few = Trial(case.queries, case.relevant, case.candidates, case.ids, case.bank[:20])
    assert few.second_bank.shape == (20, 8)
    assert np.array_equal(few.second_bank, few.second_bank)
    assert {row.tobytes() for row in few.second_bank} <= {row.tobytes() for row in case.candidates}
    many = Trial(case.queries, case.relevant, case.candidates, case.ids, grid_vectors(200, 8, 5))
    assert np.array_equal(many.second_bank, case.candidates)


def test_what_cannot_be_compared() -> None:
    case = trial()
    with pytest.raises(InputError, match="are too few"):
        case.asked_by(np.arange(30) == 0).compare()
