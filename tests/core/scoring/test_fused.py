"""The kernels for NVIDIA cards against float64; without a card they run in Triton's interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
import pytest
import torch
from fakes import grid_vectors

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search import _device
from nnn_core.scoring.search._device import DeviceSearch
from nnn_core.scoring.search._selection import Tile
from nnn_core.vectors import FloatMatrix

pytest.importorskip("triton")
from nnn_core.scoring.search import _fused

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROWS, REFERENCES, DIM = 128, 256, 64


@pytest.mark.parametrize(("columns", "capacity"), [(256, 256), (200, 256), (256, 8)])
def test_what_reaches_the_threshold_is_collected(columns: int, capacity: int) -> None:
    candidates, references = (
        torch.from_numpy(grid_vectors(rows, DIM, seed)).half().to(DEVICE) for rows, seed in ((ROWS, 1), (REFERENCES, 2))
    )
    scores = (candidates.double() @ references.double().T).cpu().numpy()[:, :columns]
    thresholds = np.linspace(-0.3, 0.6, ROWS, dtype=np.float32)
    thresholds[-1] = np.inf
    assert np.abs(scores - thresholds[:, None]).min() > 1e-6  # float32 sums decide none of them otherwise
    positions, counts = _fused.collect(
        candidates, references, columns, torch.from_numpy(thresholds).to(DEVICE), capacity
    )
    reached = scores >= thresholds[:, None]
    assert np.array_equal(counts.cpu().numpy(), reached.sum(axis=1))
    for row, found in enumerate(positions.cpu().numpy()):
        kept = found[: min(capacity, reached[row].sum())].tolist()
        assert len(set(kept)) == len(kept)
        assert set(kept) <= set(np.flatnonzero(reached[row]).tolist())


@pytest.mark.parametrize("dim", [5, 64, 100])
def test_scores_are_exact(dim: int) -> None:
    candidates, references = grid_vectors(3, dim, 1), grid_vectors(50, dim, 2)
    counts = np.array([0, 7, 80], np.int32)
    positions = np.random.default_rng(0).integers(0, 50, (3, 70)).astype(np.int32)
    found = _fused.exact_scores(
        *(torch.from_numpy(array).to(DEVICE) for array in (candidates, references, positions, counts))
    )
    expected = np.take_along_axis(oracles.exact_scores(candidates, references).astype(np.float64), positions, axis=1)
    for row, count in enumerate(counts.clip(max=70)):
        assert np.array_equal(found.cpu().numpy()[row, :count].astype(np.float32), expected[row, :count])
        assert np.isneginf(found.cpu().numpy()[row, count:]).all()


@pytest.mark.parametrize(("kind", "passes"), [("usual", 1), ("only sampled high", 2), ("only others high", 2)])
def test_rows_whose_first_threshold_was_wrong_are_collected_again(
    kind: str, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_device, "_SAMPLED", 4)
    monkeypatch.setattr(_device, "_MAXIMA", 128)
    candidates, references = grid_vectors(4, DIM, 1), grid_vectors(512, DIM, 2)
    sampled = np.arange(512) % 4 == 0
    if kind != "usual":
        references[sampled == (kind == "only others high")] *= -1
    rows: list[int] = []
    original = _fused.collect

    def spy(*arguments: Any) -> Any:
        rows.append(int(torch.isfinite(arguments[3]).sum()))
        return original(*arguments)

    monkeypatch.setattr(_fused, "collect", spy)
    search = DeviceSearch.of(ReferenceIndex(references), DEVICE, fused=True)
    top: FloatMatrix = search.top(Tile(candidates, np.zeros((4, 0), np.int64)), 28)
    assert len(rows) == passes
    assert rows[0] == 4
    oracles.assert_same_bits(top, oracles.padded(oracles.highest(oracles.exact_scores(candidates, references), 28)))
