"""Tasks cover every pair once, and what they find merges to the means that a plain sort finds."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
from apache_beam.pvalue import TaggedOutput
from fakes import grid_vectors, make_bank, make_shard

from nnn_core.embedded.corpus import Corpus
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, VectorBlock
from nnn_core.errors import CorruptArtifactError, InputError, StorageError
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.scoring.bank import Bank, ReferenceIndex, ReferenceShard, Sides
from nnn_core.scoring.partials import Partial, Scored, ScoredRange
from nnn_core.scoring.scorer import Scorer
from nnn_core.scoring.search.calibration import CalibratedShard
from nnn_core.scoring.search.searches import Search
from nnn_core.scoring.topk import TopK
from nnn_core.table.parts import collect_rows, means_of
from nnn_core.vectors import GRID as STEPS
from pipelines.stages import score_candidates
from pipelines.stages.merge_partials import MEANS, SCORED, TABLE_ROWS, _MergeShard
from pipelines.stages.score_candidates import _plan_tasks, _ScoreTask

DIM, GRID = 6, (1, 2, 4)


def corpus_of(*shards: EmbeddedShard) -> Corpus:
    rows = sum(shard.rows for shard in shards)
    return Corpus.gather([EmbeddedInput("c", "0" * 64, shards, RejectSummary(rows), True)], 0.0, "rejects")


@pytest.mark.parametrize("most", [1, 60, 130, 10**9])
@pytest.mark.parametrize("rows", [[5], [3, 40, 1, 25, 9], [30, 30, 30, 30]])
def test_tasks_cut_the_bank_at_the_first_shard_that_fills_them(
    most: int, rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_candidates, "_PAIRS_PER_TASK", most)
    bank = make_bank([make_shard(f"r{number}", count) for number, count in enumerate(rows)], 1)
    candidates = make_shard("c", 2)
    tasks = list(_plan_tasks(candidates, Sides(bank, corpus_of(candidates))))
    assert [number for task in tasks for number in range(task.first, task.last)] == list(range(len(bank.shards)))
    for task in tasks:
        pairs = [2 * shard.rows for shard in bank.shards[task.first : task.last]]
        assert sum(pairs[:-1]) < most, "it was full before its last shard"
        assert sum(pairs) >= most or task is tasks[-1], "it could have held more"


def test_sides_of_two_dimensions_never_meet() -> None:
    candidates = make_shard("c", 2, dim=5)
    with pytest.raises(InputError, match="dimension 5 and references of 4"):
        Sides(make_bank([make_shard("r")]), corpus_of(candidates))


@dataclasses.dataclass
class World:
    """Eleven candidates in one shard, and 23 references in three reference shards, on disk."""

    folder: Path
    vectors: np.ndarray = dataclasses.field(default_factory=lambda: grid_vectors(11, DIM, 1))
    references: np.ndarray = dataclasses.field(default_factory=lambda: grid_vectors(23, DIM, 2))

    def __post_init__(self) -> None:
        self.ids = [f"c{row:02d}" for row in np.random.default_rng(3).permutation(11)]
        self.candidates = EmbeddedShard.write(str(self.folder / "c"), self.ids, [""] * 11, self.vectors, "c.parquet")
        cuts = ((0, 9), (9, 10), (10, 23))
        self.bank: Bank = make_bank(
            [
                EmbeddedShard.write(
                    str(self.folder / f"r{at}"),
                    [f"r{n}" for n in range(*cut)],
                    [""] * (cut[1] - cut[0]),
                    self.references[slice(*cut)],
                    f"r{at}.parquet",
                )
                for at, cut in enumerate(cuts)
            ],
            1,
        )  # fmt: skip

    @property
    def corpus(self) -> Corpus:
        return corpus_of(self.candidates)

    @property
    def scorer(self) -> Scorer:
        return Scorer(max(GRID), False, str(self.folder / "work"), 1, "exact", grid=(*GRID, 64))

    def merge(
        self, ranges: Sequence[ScoredRange], corpus: Corpus | None = None, keep: bool = True
    ) -> list[TaggedOutput]:
        step = _MergeShard(self.scorer, keep)
        step.setup()
        step.start_bundle()
        found = list(step.process(("key", ranges), Sides(self.bank, corpus or self.corpus), []))
        return [*found, *(TaggedOutput(each.tag, each.value.value) for each in step.finish_bundle())]

    def score(self, ranges: Sequence[tuple[int, int]], calibrated: Sequence[CalibratedShard] = ()) -> list[ScoredRange]:
        scorer = dataclasses.replace(self.scorer, search="approximate") if calibrated else self.scorer
        step = score_candidates._ScoreShards(scorer)
        step.setup()
        tasks, sides = [_ScoreTask(self.candidates, *each) for each in ranges], Sides(self.bank, self.corpus)
        return [found for task in tasks for _, found in step.process(task, sides, list(calibrated))]

    def expected(self, grid: tuple[int, ...]) -> dict[str, list[float]]:
        """By id, the means of the k highest inner products: sorted, and averaged in float64."""
        rows = oracles.highest(oracles.exact_scores(self.vectors, self.references), len(self.references))
        return {name: [float(np.mean(row[:k])) for k in grid] for name, row in zip(self.ids, rows, strict=True)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("ranges", [[(0, 3)], [(2, 3), (0, 2)], [(1, 2), (2, 3), (0, 1)]])
@pytest.mark.parametrize("boundaries", [(), ("c04", "c09")])
def test_rows_of_a_shard_are_the_means_of_all_its_scores(
    world: World, ranges: list[tuple[int, int]], boundaries: tuple[str, ...]
) -> None:
    corpus = dataclasses.replace(corpus_of(world.candidates), boundaries=boundaries)
    outputs = world.merge(world.score(ranges), corpus)
    parts = [each.value for each in outputs if each.tag == TABLE_ROWS]
    assert [number for number, _ in parts] == list(range(len(boundaries) + 1))
    expected, seen = world.expected(GRID), []
    for number, piece in parts:
        rows = collect_rows([piece])
        ids = rows.column("id").to_pylist()
        seen += ids
        assert {sum(name >= cut for cut in boundaries) for name in ids} == {number}
        np.testing.assert_allclose(means_of(rows), [expected[name] for name in ids], rtol=0, atol=1e-7)
    assert seen == sorted(world.ids)
    (total,) = (each.value for each in outputs if each.tag == SCORED)
    assert total.scored == Scored(23, frozenset({"exact"}), kept=frozenset({4}))
    np.testing.assert_array_equal(total.vectors.total, (world.vectors.astype(np.float64) * STEPS).sum(axis=0))
    (kept,) = (each.value for each in outputs if each.tag == MEANS)
    assert kept.grid == GRID, "no mean of 64 is taken over 23 references"
    np.testing.assert_allclose(kept.load(), [expected[name] for name in world.ids], rtol=0, atol=1e-7)


def described(output: TaggedOutput) -> tuple[str, object]:
    value = output.value
    return output.tag, (value.scored, value.vectors.total.tolist()) if output.tag == SCORED else value


def test_means_are_kept_only_for_who_evaluates(world: World) -> None:
    outputs = world.merge(world.score([(0, 3)]), keep=False)
    assert MEANS not in {each.tag for each in outputs}


def test_what_was_merged_is_neither_scored_nor_merged_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.merge(world.score([(0, 3)]))
    for path in (world.folder / "work" / "partials").iterdir():
        path.unlink()
    monkeypatch.setattr(score_candidates, "score_block", None)
    again = world.score([(0, 2), (2, 3)])
    assert [scored.partials for scored in again] == [[], []]
    assert [described(each) for each in world.merge(again)] == [described(each) for each in first]


def test_a_shard_without_all_its_partials_is_not_merged(world: World) -> None:
    with pytest.raises(CorruptArtifactError, match="expected each of 0 to 2 once"):
        world.merge(world.score([(0, 2)]))


@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_a_partial_that_is_there_is_not_computed_again(
    world: World, monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    """For the same search, that is: what an approximate one found is nothing to an exact one, and the reverse."""
    how = (GRID, 1e-3, False, str(world.folder / "work"))
    calibrated = [CalibratedShard.of(reference, [world.candidates], *how) for reference in world.bank.shards]
    used, other = ([], calibrated) if search == "exact" else (calibrated, [])
    first = world.score([(0, 3)], used)
    monkeypatch.setattr(score_candidates, "score_block", None)
    assert world.score([(0, 3)], used) == first
    with pytest.raises(TypeError, match="not callable"):
        world.score([(0, 3)], other)


def test_the_next_references_are_loaded_while_the_search_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = {shard.digest: threading.Event() for shard in world.bank.shards}
    load, score = ReferenceIndex.load, score_candidates.score_block
    searched: list[int] = []

    def tell(shard: ReferenceShard, *args: Any) -> ReferenceIndex:
        begun[shard.digest].set()
        return load(shard, *args)

    def wait(block: VectorBlock, search: Search, k: int, threads: int) -> TopK:
        number = len(searched)
        for shard in world.bank.shards[number + 1 : number + 2]:
            assert begun[shard.digest].wait(60)
        assert not any(begun[shard.digest].is_set() for shard in world.bank.shards[number + 2 :])
        searched.append(search.index.rows)
        return score(block, search, k, threads)

    monkeypatch.setattr(ReferenceIndex, "load", tell)
    monkeypatch.setattr(score_candidates, "score_block", wait)
    world.score([(0, 3)])
    assert searched == [9, 1, 13]


@pytest.mark.parametrize("place", [(ReferenceIndex, "load"), (Partial, "write"), (score_candidates, "read_shard")])
def test_what_fails_in_another_thread_ends_the_task(
    world: World, monkeypatch: pytest.MonkeyPatch, place: tuple[object, str]
) -> None:
    def fail(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(*place, fail)
    with pytest.raises(StorageError, match="the disk is full"):
        world.score([(0, 3)])
