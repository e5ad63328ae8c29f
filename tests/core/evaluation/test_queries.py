"""Held-out queries: what is stored of them, and which of them are in the bank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpora import gaussian, write_vectors
from fakes import grid_vectors
from sides import embed_side

from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, read_shard
from nnn_core.errors import InputError, RejectedRowsError
from nnn_core.evaluation.queries import Overlap, QuerySet, _Unused
from nnn_core.inputs.rejects import RejectSummary

PAIRS = ["c1", "", "c0"]


def files(folder: Path, rejected: int = 0) -> str:
    """Three queries in two files, of which one has no answer, and as many rows as asked for that are unusable."""
    vectors = gaussian(3 + rejected, 4, 1)
    vectors[3:] = 0.0
    ids = [f"q{row}" for row in range(3 + rejected)]
    return write_vectors(folder / "queries", ids, vectors, 2, PAIRS + [""] * rejected)


def gather(pattern: str, work: str, judgements: dict[str, dict[str, float]] | None = None, rate: float = 0.0):  # type: ignore[no-untyped-def]
    inputs = embed_side(pattern, work, "--queries", pair_id="pair_id")
    return QuerySet.gather(inputs, judgements, rate, "--queries", f"{work}/rejects")


def test_queries_without_an_answer_stay(tmp_path: Path) -> None:
    queries, rejects = gather(files(tmp_path), str(tmp_path / "work"))
    assert (queries.ids, queries.relevant, rejects.rejected) == (("q0", "q1", "q2"), (("c1",), (), ("c0",)), 0)
    loaded = queries.store(str(tmp_path / "work")).load()
    for one in (queries, loaded):
        assert (one.ids, one.relevant, one.grades.tolist()) == (queries.ids, queries.relevant, [1.0, 1.0])
        assert (one.answered.ids, one.answered.relevant) == (("q0", "q2"), (("c1",), ("c0",)))
        assert one.answered.vectors.tolist() == queries.vectors[[0, 2]].tolist()


def test_grades_are_those_of_the_answered(tmp_path: Path) -> None:
    judgements = {"q2": {"b": 2.0, "a": 1.0}, "q1": {"a": 3.0}, "stranger": {"a": 1.0}}
    queries, _ = gather(files(tmp_path), str(tmp_path / "work"), judgements)
    assert (queries.relevant, queries.grades.tolist()) == (((), ("a",), ("a", "b")), [3.0, 1.0, 2.0])
    assert (queries.answered.relevant, queries.answered.grades.tolist()) == ((("a",), ("a", "b")), [3.0, 1.0, 2.0])


def test_rejected_rows_are_counted_and_bounded(tmp_path: Path) -> None:
    pattern, work = files(tmp_path, 1), str(tmp_path / "work")
    assert gather(pattern, work, rate=0.25)[1].rejected == 1
    with pytest.raises(RejectedRowsError, match=r"1 of 4 rows of --queries were rejected \(25.000%;"):
        gather(pattern, work, rate=0.24)


def test_queries_of_which_none_has_an_answer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the 3 validation queries names the candidate that answers it"):
        gather(files(tmp_path), str(tmp_path / "work"), {})


@pytest.mark.parametrize(
    ("unused", "words"),
    [
        (_Unused(0, 0, 0), ""),
        (
            _Unused(0, 0, 1),
            "1 of 8 rows of queries (12.50%) are left out of all figures: 1 with no answer in the index.",
        ),
        (
            _Unused(2, 1, 0),
            "3 of 8 rows of queries (37.50%) are left out of all figures: 2 rejected, 1 without an answer.",
        ),
    ],
)
def test_what_no_figure_is_of_is_said(unused: _Unused, words: str) -> None:
    assert unused.describe(8) == words


def test_queries_are_left_out_of_the_bank_by_id_and_by_vector(tmp_path: Path) -> None:
    """A position in a file is no id that another file's rows could share."""
    vectors, work = grid_vectors(8, 4, 1), str(tmp_path)
    queries = QuerySet(("a", "b", "row 1"), vectors[:3], ((), ("c",), ()), np.ones(1))
    stored = queries.store(work)
    shards = (
        EmbeddedShard.write(str(tmp_path / "x"), ["a", "r", "b"], ["", "p", ""], vectors[[3, 4, 1]], "x"),
        EmbeddedShard.write(str(tmp_path / "y"), ["r", "a"], ["", ""], vectors[[0, 5]], "x"),
        EmbeddedShard.write(str(tmp_path / "z"), ["row 1", "s"], ["", "q"], vectors[[6, 7]], "x"),
    )
    whole = EmbeddedInput("x", "digest", shards, RejectSummary(9, 2), True)
    rest = stored.leave_out(whole, work)
    assert (rest.rejects, len(rest.shards), rest.shards[1]) == (RejectSummary(5, 2), 2, shards[2])
    block = read_shard(rest.shards[0])
    assert (block.ids.to_pylist(), block.pair_ids.to_pylist()) == (["r"], ["p"])
    assert np.array_equal(block.vectors, vectors[4:5])
    found = stored.left_out([whole], [rest])
    assert (found.dropped, found.overlap, found.digest) == (4, 0, stored.digest)
    overlap = [Overlap.find(queries, shard) for shard in shards]
    assert [(sorted(each.ids), sorted(each.vectors)) for each in overlap] == [
        (["a", "b"], ["b"]),
        (["a"], ["a"]),
        ([], []),
    ]
    assert all(not Overlap.find(queries, shard).queries for shard in rest.shards)
