"""What a refresh decides once its bank is known and scored: k, the grid, and what its version was made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from fakes import make_bank, make_shard

from nnn_core.embedded.corpus import Corpus
from nnn_core.embedded.profile import VectorSum
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.errors import BankTooSmallError
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.scoring.merged import Total
from nnn_core.scoring.partials import Scored
from nnn_core.table.parts import _k_for
from pipelines._settling import Gathered, describe_lineage, resolve_settings
from pipelines.config import RefreshConfig
from pipelines.stages.commit_bias_table import Basis

BANK = make_bank([make_shard("r0", 20), make_shard("r1", 13)], 1)


def config_of(k: int | str, k_max: int | None = None) -> RefreshConfig:
    return RefreshConfig("c/*", "r/*", "table", "work", k=k, alpha=0.5, k_max=k_max)  # type: ignore[arg-type]


@pytest.mark.parametrize("fewest", [1, 3, 7, 16, 32, 33])
@pytest.mark.parametrize("k", ["auto", 1, 3])
def test_k_and_the_grid_are_what_every_candidate_has_references_for(k: int | str, fewest: int) -> None:
    config = config_of(k, 64)
    fitting = [value for value in config.grid if value <= min(33, fewest)]
    if k != "auto" and int(k) > fewest:
        with pytest.raises(BankTooSmallError, match=f"one has only {fewest} without its own pairs"):
            resolve_settings(config, BANK, Scored(fewest, frozenset()), {})
        return
    found = resolve_settings(config, BANK, Scored(fewest, frozenset()), {"weights": "w"})
    assert found.grid == tuple(fitting)
    assert found.k == (max(value for value in fitting if value <= _k_for(fewest)) if k == "auto" else k)
    assert (found.alpha, found.bank_digest, found.encoder) == (0.5, BANK.digest, {"weights": "w"})
    assert (found.candidate_modality, found.reference_modality) == ("image", "text")


@pytest.mark.parametrize(
    ("k", "k_max", "kept", "grid"),
    [
        ("auto", None, 128, (1, 2, 4, 8, 16, 32, 64, 128)),
        ("auto", 12, 12, (1, 2, 4, 8, 12)),
        (16, None, 128, (1, 2, 4, 8, 16, 32, 64, 128)),
        (128, None, 128, (1, 2, 4, 8, 16, 32, 64, 128)),
        (5, None, 128, (1, 2, 4, 5, 8, 16, 32, 64, 128)),
        (200, None, 200, (1, 2, 4, 8, 16, 32, 64, 128, 200)),
        (5, 9, 9, (1, 2, 4, 5, 8, 9)),
    ],
)
def test_means_for_larger_k_are_kept_by_default(k: int | str, k_max: int | None, kept: int, grid: object) -> None:
    config = config_of(k, k_max)
    assert (config.kept_scores, config.grid) == (kept, grid)


def test_the_default_point() -> None:
    config = RefreshConfig("c/*", "r/*", "table", "work")
    assert (config.k, config.alpha, config.kept_scores) == ("auto", 0.5, 128)


@pytest.mark.parametrize("methods", [["exact"], ["prefilter", "exact"]])
def test_a_version_names_all_that_it_was_made_of(methods: Sequence[str]) -> None:
    shard = make_shard("c", 4)
    corpus = Corpus.gather([EmbeddedInput("c", "0" * 64, (shard,), RejectSummary(4), True)], 0.0, "rejects")
    config, nothing = config_of(2, 8), VectorSum(0, np.zeros(0, np.int64))
    scored = Scored(33, frozenset(methods))
    basis = Basis(resolve_settings(config, BANK, scored, {}), None, Total(scored, nothing))
    lineage = describe_lineage(config, Gathered(BANK, corpus, nothing, None), basis, [])
    assert lineage.needs.embedded == ("c.parquet", "r0.parquet", "r1.parquet")
    assert lineage.needs.candidates == (shard.digest,)
    assert lineage.needs.references == tuple(each.digest for each in BANK.shards)
    assert (lineage.needs.searches, lineage.needs.k_max) == ({}, 8)
    assert (lineage.search.methods, lineage.search.error) == (tuple(sorted(methods)), None)
