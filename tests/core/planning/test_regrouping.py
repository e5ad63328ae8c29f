"""Another size of group is proposed where it pays, with numbers that come true."""

from __future__ import annotations

import pytest
from fakes import make_shard

from nnn_core.embedded.shards import EmbeddedShard
from nnn_core.planning.costs import DEFAULT_RATES, Worker
from nnn_core.planning.regrouping import Asked, Regrouping
from nnn_core.scoring.bank import Grouping, shard_references

CPU = next(iter(DEFAULT_RATES.workers.values()))
CANDIDATES, SHARDS = 10**8, 1526


def files(number: int, rows: int, first: int = 0) -> list[EmbeddedShard]:
    return [make_shard(f"day-{day:05d}", rows) for day in range(first, first + number)]


def ask(added: int = 1, dropped: int = 0) -> Asked:
    return Asked(CANDIDATES, SHARDS, 512, 128, added, dropped)


def groups(shards: list[EmbeddedShard], rows: int) -> dict[str, int]:
    return {group.digest: group.rows for group in shard_references(shards, Grouping.of(0, rows))}


def new_rows(before: dict[str, int], after: dict[str, int]) -> int:
    return sum(rows for digest, rows in after.items() if digest not in before)


@pytest.mark.parametrize(("number", "dropped"), [(20, 0), (60, 1)])
def test_the_numbers_are_those_of_the_grouping(number: int, dropped: int) -> None:
    days, rows = files(number, 5000), 1 << 18
    found = Regrouping.propose(days, rows, ask(dropped=dropped), CPU)
    assert found is not None
    assert found.rows < rows
    assert found.pairs_now == CANDIDATES * new_rows(groups(days, rows), groups(days, found.rows))
    windows = [days[step * dropped : number - 8 + step] for step in range(9)]
    scored, merged = {}, {}
    for size in (rows, found.rows):
        cut = [groups(window, size) for window in windows]
        scored[size] = sum(new_rows(cut[step], cut[step + 1]) for step in range(8)) / 8
        merged[size] = sum(map(len, cut[1:])) / 8
    assert found.pairs_saved == CANDIDATES * (scored[rows] - scored[found.rows]) > 0
    assert found.partials_saved == pytest.approx(SHARDS * (merged[rows] - merged[found.rows]), abs=0.5)
    assert found.partials_saved < 0 < found.refreshes <= 30


def test_many_tiny_groups_are_joined() -> None:
    found = Regrouping.propose(files(1000, 300), 512, ask(), CPU)
    assert found is not None
    assert found.rows > 512
    assert found.partials_saved > 0 > found.pairs_saved


def test_nothing_is_proposed_where_nothing_pays() -> None:
    assert Regrouping.propose(files(14, 65_536), 1 << 16, ask(dropped=1), CPU) is None
    proposed = Regrouping.propose(files(60, 5000), 1 << 18, ask(dropped=1), CPU)
    assert proposed is not None
    # Who follows the advice gets no other.
    assert Regrouping.propose(files(60, 5000), proposed.rows, ask(dropped=1), CPU) is None


@pytest.mark.parametrize("days", [[], files(1, 10), files(3, 10)])
def test_too_few_files_say_nothing(days: list[EmbeddedShard]) -> None:
    assert Regrouping.propose(days, 1 << 16, ask(added=2, dropped=2), CPU) is None


def test_a_faster_product_asks_for_larger_groups() -> None:
    slow, fast = (
        Worker(gflops=gflops, images_per_second=1, texts_per_second=1, dollars_per_hour=1, memory_gib=16)
        for gflops in (50, 50_000)
    )
    found = [Regrouping.propose(files(60, 5000), 1 << 16, ask(dropped=1), worker) for worker in (slow, fast)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].rows < 1 << 16 < found[1].rows
