"""What ``auto`` runs: the faster of two searches that give the same bits, as this process measured it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import oracles
import pytest
from fakes import grid_vectors, make_block

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search import searches
from nnn_core.scoring.search._prefilter import PrefilterSearch
from nnn_core.scoring.search._selection import Tile
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.scoring.search.searches import _FasterSearch, exact_search

Vectors = npt.NDArray[np.float32]
CANDIDATES = grid_vectors(300, 16, 1)


@pytest.fixture(autouse=True)
def faster(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, int, int], str]:
    """What this process found, which is nothing at first; the prefilter is tried at the second tile."""
    found: dict[tuple[int, int, int], str] = {}
    monkeypatch.setattr(searches, "_FASTER", found)
    monkeypatch.setattr(searches, "_TRIED_AFTER", 301)
    monkeypatch.setattr(searches, "_has_device", lambda: False)
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds that each search takes for a tile, by a clock that nothing else moves."""
    seconds, now = {"exact": 1.0, "prefilter": 1.0}, [0.0]

    def slow(original: Callable[..., Vectors]) -> Callable[..., Vectors]:
        def top(self: ExactSearch | PrefilterSearch, tile: Tile, k: int) -> Vectors:
            now[0] += seconds[self.name]
            return original(self, tile, k)

        return top

    for kind in (ExactSearch, PrefilterSearch):
        monkeypatch.setattr(kind, "top", slow(kind.top))
    monkeypatch.setattr(searches.time, "perf_counter", lambda: now[0])
    return seconds


def search_twice(search: _FasterSearch, k: int = 5) -> list[str]:
    """The names of the searches that ran, whose results are checked."""
    names = []
    for _ in range(2):
        top = search.top(Tile(CANDIDATES, np.zeros((len(CANDIDATES), 0), np.int64)), k)
        scores = oracles.exact_scores(CANDIDATES, search.index.vectors)
        oracles.assert_same_bits(top, oracles.padded(oracles.highest(scores, k)))
        names.append(search.name)
    return names


@pytest.mark.parametrize(("exact", "prefilter", "chosen"), [(2.0, 1.0, "prefilter"), (1.0, 1.1, "exact")])
def test_the_faster_is_chosen_and_said(
    exact: float, prefilter: float, chosen: str, clock: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    clock.update(exact=exact, prefilter=prefilter)
    with caplog.at_level(logging.INFO):
        assert search_twice(_FasterSearch(ReferenceIndex(grid_vectors(400, 16, 2)))) == ["exact", chosen]
    assert f"exact search takes {exact:.3f} s and the prefilter {prefilter:.3f} s" in caplog.text
    assert f"uses {chosen} from now on" in caplog.text


def test_what_was_found_holds_for_banks_like_it(
    clock: dict[str, float], faster: dict[tuple[int, int, int], str]
) -> None:
    clock.update(exact=2.0)
    search_twice(_FasterSearch(ReferenceIndex(grid_vectors(400, 16, 2))))
    clock.update(exact=0.5)  # which nobody looks at any more
    assert search_twice(_FasterSearch(ReferenceIndex(grid_vectors(450, 16, 3)))) == ["prefilter", "prefilter"]
    assert search_twice(_FasterSearch(ReferenceIndex(grid_vectors(600, 16, 3)))) == ["exact", "exact"]
    assert search_twice(_FasterSearch(ReferenceIndex(grid_vectors(450, 16, 3))), k=6) == ["exact", "exact"]
    assert faster == {(16, 9, 5): "prefilter", (16, 10, 5): "exact", (16, 9, 6): "exact"}


def test_few_candidates_are_not_worth_rounding_a_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrefilterSearch, "of", lambda index: pytest.fail("the bank was rounded"))
    search = _FasterSearch(ReferenceIndex(grid_vectors(400, 16, 2)))
    search.top(Tile(CANDIDATES, np.zeros((300, 0), np.int64)), 5)
    for first in range(0, 300, 100):  # enough of them, but in tiles that tell little
        search.top(Tile(CANDIDATES[first : first + 100], np.zeros((100, 0), np.int64)), 5)
    assert search.name == "exact"


def test_a_bank_is_rounded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rounded: list[ReferenceIndex] = []
    original = PrefilterSearch.of
    monkeypatch.setattr(PrefilterSearch, "of", lambda index: (rounded.append(index), original(index))[1])
    monkeypatch.setattr(searches, "_FASTER", {(16, 9, 5): "prefilter"})
    search = dataclasses.replace(_FasterSearch(ReferenceIndex(grid_vectors(400, 16, 2))), tile_rows=10)
    top = score_block(make_block(CANDIDATES), search, 5, threads=4)
    scores = oracles.exact_scores(CANDIDATES, search.index.vectors)
    oracles.assert_same_bits(top.scores, oracles.padded(oracles.highest(scores, 5)))
    assert len(rounded) == 1


def test_a_wrong_product_is_noticed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    original = PrefilterSearch.top
    monkeypatch.setattr(PrefilterSearch, "top", lambda *args: original(*args) - np.float32(2.0**-24))
    assert search_twice(_FasterSearch(ReferenceIndex(grid_vectors(400, 16, 2)))) == ["exact", "exact"]
    assert "int8 products are wrong on this machine" in caplog.text


@pytest.mark.parametrize(
    ("asked", "kind"), [("auto", _FasterSearch), ("prefilter", PrefilterSearch), ("exact", ExactSearch)]
)
def test_what_runs_for_what_was_asked(asked: str, kind: type) -> None:
    assert isinstance(exact_search(ReferenceIndex(grid_vectors(20, 16, 2)), asked), kind)


def test_memory_is_that_of_the_rounded_bank_too() -> None:
    index = ReferenceIndex(grid_vectors(4000, 64, 2))
    assert _FasterSearch(index).nbytes == pytest.approx(PrefilterSearch.of(index).nbytes, rel=0.06)
