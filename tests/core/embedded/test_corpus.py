"""What is said of the candidates as a whole, and how much of it goes to every worker."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from fakes import make_shard

from nnn_core.embedded.corpus import Corpus, Outcome
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.inputs.rejects import RejectSummary


def make_input(number: int, precomputed: bool = True) -> EmbeddedInput:
    """A file of one good row and of ``number`` rejected ones."""
    rejected = RejectSummary(number + 1, number, (("zero norm", number, f"row {number}"),) if number else ())
    shard = replace(make_shard(f"c{number}"), id_sample=())
    return EmbeddedInput(f"c{number}", f"{number:064x}", (shard,), rejected, precomputed)


def test_an_outline_is_of_one_size_however_many_files_there_are() -> None:
    few, many = (Corpus.gather([make_input(number) for number in range(files)], 1.0, "") for files in (2, 40))
    assert len(pickle.dumps(many.outline())) < len(pickle.dumps(few.outline())) + 20
    assert (many.outline().dim, many.outline().boundaries) == (many.dim, many.boundaries)
    assert many.outline().side.rows == many.side.rows == 40


def test_a_shard_that_is_scored_takes_no_sample_of_its_ids_along() -> None:
    shard = replace(make_shard("c", rows=9), id_sample=tuple(f"item-{row:09d}" for row in range(64)))
    (located,) = EmbeddedInput("c", "0" * 64, (shard,), RejectSummary(9), True).located()
    assert len(pickle.dumps(located)) < 250
    assert replace(located, vector_digest=shard.vector_digest, id_digest=shard.id_digest) == replace(
        shard, id_sample=()
    )


def test_outcomes_add_up_whatever_the_order() -> None:
    every = [make_input(number, number != 1) for number in range(3)]
    whole = Outcome.of(every)
    assert whole == Outcome.of(every[::-1]) == Corpus.gather(every, 1.0, "").outcome
    assert whole == Outcome(frozenset({True, False}), RejectSummary(6, 3, (("zero norm", 3, "row 1"),)))


@pytest.mark.parametrize("precomputed", [True, False])
def test_an_outcome_tells_a_side_of_vectors_from_one_that_was_encoded(precomputed: bool) -> None:
    assert Outcome.of([make_input(0, precomputed)] * 2).precomputed == {precomputed}
