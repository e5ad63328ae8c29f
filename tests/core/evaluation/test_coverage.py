"""Candidates of an evaluation beside those of the table: ids that are missing, further, doubled or rejected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpora import gaussian, write_vectors
from sides import embed_side
from tables import IDS, publish

from nnn_core.errors import DuplicateIdError, InputError
from nnn_core.evaluation.coverage import Coverage
from nnn_core.table.manifest import Manifest

DIM = 8


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return publish(str(tmp_path / "table"))


def cover(manifest: Manifest, folder: Path, ids: list[str], subset: bool = False, zero: int = 0) -> Coverage:
    vectors = gaussian(len(ids), DIM, 1)
    vectors[:zero] = 0.0
    pattern = write_vectors(folder / "given", ids, vectors, 2)
    inputs = embed_side(pattern, str(folder / "work"), "--candidates")
    return Coverage.of(inputs, manifest, "table", subset)


def test_the_table_s_candidates_in_any_order(manifest: Manifest, tmp_path: Path) -> None:
    found = cover(manifest, tmp_path, list(np.random.default_rng(0).permutation(IDS)))
    assert (found.given, found.known, found.describe()) == (40, 40, "")


@pytest.mark.parametrize("subset", [False, True])
@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([*IDS, "stranger"], InputError, "gives 41 candidates, which are not the 40 of version 1"),
        ([*IDS[1:], "stranger"], InputError, "gives 40 candidates, which are not the 40"),
        ([*IDS[2:], IDS[2], IDS[2]], DuplicateIdError, f"{IDS[2]!r} was given 3 times"),
        ([*IDS[:5], IDS[0]], DuplicateIdError, "1 such ids"),
    ],
)
def test_other_candidates_are_refused(
    manifest: Manifest, tmp_path: Path, ids: list[str], error: type[Exception], message: str, subset: bool
) -> None:
    with pytest.raises(error, match=message):
        cover(manifest, tmp_path, ids, subset)


def test_a_part_is_refused_unless_it_is_meant_to_be_one(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gives 7 candidates of the 40 .* use --subset"):
        cover(manifest, tmp_path, IDS[:7])
    found = cover(manifest, tmp_path, IDS[:7], subset=True)
    assert found.describe().startswith("7 of the table's 40 candidates were given (--subset)")


def test_rejected_candidates_are_missing_ones(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gives 37 candidates \(3 more were rejected\) of the 40"):
        cover(manifest, tmp_path, IDS, zero=3)
    assert cover(manifest, tmp_path, IDS, subset=True, zero=3).rejects.rejected == 3
