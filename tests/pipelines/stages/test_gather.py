"""Each side as a whole: what is summed up, and what is refused before anything is scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import make_shard

from nnn_core.embedded.corpus import Corpus, Outcome
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard
from nnn_core.errors import BankTooSmallError, InputError, NNNError, RejectedRowsError
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.scoring.bank import Bank
from pipelines import _settling
from pipelines.config import RefreshConfig
from pipelines.stages.metrics import POSITIONAL_KEYS, WHITENED


def file(number: int, rows: int, rejected: int = 0, **shard: Any) -> EmbeddedInput:
    """A file of ``rows`` good rows, in one embedded shard, and of some rejected ones."""
    name = f"file-{number}"
    reasons = (("zero norm", rejected, f"row 0 of {name}"),) if rejected else ()
    shards = (make_shard(name, rows, **shard),) if rows else ()
    return EmbeddedInput(name, f"{number:064x}", shards, RejectSummary(rows + rejected, rejected, reasons), True)


FILES = [file(2, 5, 1), file(0, 7), file(1, 0), file(3, 4, 2)]


def candidates(inputs: Sequence[EmbeddedInput], rate: float = 1.0) -> Corpus:
    return Corpus.gather(inputs, rate, "rejects")


def references(
    inputs: Sequence[EmbeddedInput], rate: float = 1.0, k: int | None = None, own_pairs: bool = False
) -> Bank:
    return Bank.gather(inputs, 6, k, rate, "rejects", own_pairs)


@pytest.mark.parametrize("gathered", [candidates, references])
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0]])
def test_a_side_is_the_sum_of_its_files_in_any_order(gathered: Any, order: list[int]) -> None:
    found = gathered([FILES[at] for at in order])
    assert (found.side.rows, found.side.rejected) == (5 + 7 + 4, 1 + 2)
    assert found.side.inputs == tuple(f"{number:064x}" for number in range(4))
    # Digests of vectors add up modulo 2**256, so that neither order nor cuts matter.
    digests = [int(shard.vector_digest, 16) for each in FILES for shard in each.shards]
    assert found.side.digest == f"{sum(digests) % 2**256:064x}"
    assert found.outcome == Outcome(frozenset({True}), found.outcome.rejects)
    assert (found.outcome.rejects.rows, found.outcome.rejects.rejected) == (19, 3)


def test_the_bank_says_the_same_as_its_side() -> None:
    bank = references(FILES)
    assert (bank.rows, bank.digest) == (bank.side.rows, bank.side.digest)
    assert [part.source for part in bank.parts] == ["file-0", "file-2", "file-3"]


def test_candidates_name_their_files() -> None:
    shards: list[EmbeddedShard] = [shard for each in FILES for shard in each.shards]
    assert candidates(FILES).shards == tuple(sorted((f"{s.source}.parquet", s.digest) for s in shards))


EMPTY = [dataclasses.replace(file(0, 0), rejects=RejectSummary(0))]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: candidates(FILES, 0.1), RejectedRowsError, "3 of 19 rows of --candidates were rejected"),
        (lambda: references(FILES, 0.1), RejectedRowsError, "3 of 19 rows of --references were rejected"),
        (lambda: candidates([file(0, 0, 3)]), InputError, "no candidate is left: all 3 rows of --candidates"),
        (lambda: references([file(0, 0, 3)]), BankTooSmallError, "the bank is empty: all 3 rows of --references"),
        (lambda: candidates(EMPTY), InputError, "the files of --candidates hold no rows"),
        (lambda: references(EMPTY), BankTooSmallError, "no row of --references can be used"),
        (lambda: candidates([*FILES, file(9, 1, dim=5)]), InputError, "vectors differ in dimension"),
        (lambda: references([*FILES, file(9, 1, dim=5)]), InputError, "vectors differ in dimension"),
        (lambda: references(FILES, k=17), BankTooSmallError, "--k 17 needs at least 17 reference queries"),
        (lambda: references(FILES, own_pairs=True), InputError, "no row of --references has one"),
    ],
)
def test_what_cannot_be_scored_is_refused(call: Any, error: type[NNNError], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_limits_that_are_just_kept() -> None:
    assert candidates(FILES, 3 / 19).side.rows == references(FILES, 3 / 19, k=16).rows == 16
    assert references([*FILES, file(9, 1, paired=1)], own_pairs=True).rows == 17


def test_sides_of_two_encoders_are_refused(tmp_path: Path) -> None:
    config = RefreshConfig("c/*", "r/*", str(tmp_path / "table"), str(tmp_path / "work"))
    sides = [("embed_references", file(0, 9)), ("embed_candidates", file(1, 7, dim=5))]
    with pytest.raises(InputError, match="must come from one encoder"):
        _settling.gather_sides(config, sides)


def test_positional_keys_and_white_images_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []

    class Distribution:
        def __init__(self, namespace: str, name: str) -> None:
            self.name = name

        def update(self, value: int) -> None:
            told.append((self.name, value))

    monkeypatch.setattr(_settling.Metrics, "distribution", Distribution)
    monkeypatch.setattr(_settling, "measure_vectors", lambda parts, work: len(parts))
    config = RefreshConfig("c/*", "r/*", str(tmp_path / "table"), str(tmp_path / "work"), max_reject_rate=1.0)
    files = [dataclasses.replace(each, positional_keys=at < 2, whitened=at) for at, each in enumerate(FILES)]
    sides = {"embed_references": FILES, "embed_candidates": files, "embed_validation": FILES[:1]}
    gathered = _settling.gather_sides(config, [(stage, each) for stage, every in sides.items() for each in every])
    assert gathered.corpus == candidates(files)
    assert gathered.bank.side == references(FILES).side
    assert (gathered.previous, gathered.whole, gathered.reference_sum) == (None, (), 3)
    assert told == [(POSITIONAL_KEYS, 2), (WHITENED, sum(range(len(FILES))))]
