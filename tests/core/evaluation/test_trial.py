"""What methods are compared on, gathered from files: all candidates, or a sample that keeps the answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fakes import grid_vectors, make_bank

from nnn_core.embedded.shards import EmbeddedShard
from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.rivals import Trial

ROWS = 400


def shards(tmp_path: Path, cut: int) -> list[EmbeddedShard]:
    vectors = grid_vectors(ROWS, 4, 1)
    names = [f"c{row}" for row in range(ROWS)]
    return [
        EmbeddedShard.write(
            str(tmp_path / f"c{cut}"),
            names[at : at + cut],
            [""] * len(names[at : at + cut]),
            vectors[at : at + cut],
            "c",
        )
        for at in range(0, ROWS, cut)
    ]


QUERIES = QuerySet(
    ("q0", "q1", "q2"), grid_vectors(3, 4, 2), (("c5", "c399"), ("nowhere",), ("c17", "nowhere")), np.ones(5)
)


def test_a_sample_keeps_the_answers_and_does_not_depend_on_shards(tmp_path: Path) -> None:
    bank = make_bank([EmbeddedShard.write(str(tmp_path / "r"), ["r0", "r1"], ["", ""], grid_vectors(2, 4, 3), "r")], 10)
    whole = Trial.gather(QUERIES, shards(tmp_path, 150), bank)
    assert (len(whole.queries), len(whole.ids), len(whole.bank)) == (2, ROWS, 2)
    assert np.array_equal(whole.candidates, grid_vectors(ROWS, 4, 1))
    samples = [Trial.gather(QUERIES, shards(tmp_path, cut), bank, 100) for cut in (150, 400)]
    assert 60 < len(samples[0].ids) < 140
    assert {"c5", "c399", "c17"} <= set(samples[0].ids)
    assert list(samples[0].ids) == list(samples[1].ids)
    assert np.array_equal(samples[0].candidates, samples[1].candidates)
    rows = [int(name[1:]) for name in samples[0].ids]
    assert np.array_equal(samples[0].candidates, whole.candidates[rows])
