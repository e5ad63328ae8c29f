"""Canaries: what a version ranked first is found again by its manifest alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tables import make_manifest

from nnn_core.errors import CorruptArtifactError
from nnn_core.evaluation.canaries import find_canaries, store_canaries
from nnn_core.evaluation.metrics import top_overlap


def test_a_ranking_belongs_to_one_version_and_one_set_of_queries(tmp_path: Path) -> None:
    manifest, work, rows = make_manifest(), str(tmp_path), [["a", "b"], ["ü"]]
    store_canaries(manifest, "queries", rows, work)
    store_canaries(manifest, "queries", rows, work)
    assert find_canaries(manifest, "queries", work) == rows
    other = dataclasses.replace(manifest, settings=dataclasses.replace(manifest.settings, alpha=0.25))
    moved = dataclasses.replace(manifest, candidates=dataclasses.replace(manifest.candidates, digest="0"))
    assert find_canaries(other, "queries", work) is None
    assert find_canaries(moved, "queries", work) is None
    assert find_canaries(manifest, "others", work) is None
    # The number says nothing about the content: an unchanged table keeps its ranking.
    assert find_canaries(dataclasses.replace(manifest, version=7), "queries", work) == rows
    (file,) = (tmp_path / "evaluation").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptArtifactError, match="is damaged"):
        find_canaries(manifest, "queries", work)


def test_overlap_of_names_and_of_short_rankings() -> None:
    assert top_overlap([["a", "b"], ["c"]], [["b", "d"], ["c"]]) == pytest.approx((1 / 2 + 1) / 2)
    assert top_overlap(np.array([[1, 2, 3]]), np.array([[3, 1, 9]]), 2) == pytest.approx(1 / 2)
    assert top_overlap([["a"]], [[]]) == 0.0
