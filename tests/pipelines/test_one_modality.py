"""Images against a bank of images, and texts against texts, where the bank may hold the candidates themselves."""

from __future__ import annotations

import json
import random
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import brute_force_means, tree, write_tar
from test_real_images import vectors

from nnn_core import load_bias_table
from nnn_core.demo import _scenes as scenes
from nnn_core.report.archive import read_report
from pipelines.commands import cli

SIZE, GRID = 8, (1, 2, 3)


def sample(row: int) -> dict[str, bytes]:
    scene = scenes.scene("candidates", 7, row)
    caption = scenes.captions(scene, ["full"], random.Random(row))[0]
    return {"jpg": scenes.jpeg(scene), "txt": f"{caption}, number {row}".encode()}


@pytest.fixture
def flags(tmp_path: Path) -> dict[str, str]:
    """Three files, of which the second is on both sides."""
    for shard in range(3):
        rows = range(shard * SIZE, (shard + 1) * SIZE)
        write_tar(tmp_path / f"{shard}.tar", {f"{row:02d}": sample(row) for row in rows})
    return {
        "candidates": str(tmp_path / "{0..1}.tar"),
        "references": str(tmp_path / "{1..2}.tar"),
        "table": str(tmp_path / "table"),
        "work": str(tmp_path / "work"),
        "encoder": f"open_clip:local-dir:{files('nnn_core') / 'demo' / 'encoder'}",
        "k": "3",
        "k-max": "3",
        "alpha": "1",
    }


def call(
    command: str, flags: dict[str, str], modality: str, *more: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, Any], str]:
    named = [part for name, value in flags.items() for part in (f"--{name}", value)]
    sides = ["--candidate-modality", modality, "--reference-modality", modality]
    code = cli.main([command, *named, *sides, *more, "--json"])
    out = capsys.readouterr()
    return code, json.loads(out.out.splitlines()[-1]) if code == 0 else {}, out.err


def scores(flags: dict[str, str], modality: Any, own: bool) -> tuple[list[str], np.ndarray]:
    """Ids of candidates, and means in float64 over the vectors that the refresh stored."""
    ids, held = vectors(flags["candidates"], modality, True, flags["work"])
    asked, bank = vectors(flags["references"], modality, False, flags["work"])
    mask = np.array([[one == other for other in asked] for one in ids])
    assert mask.sum() == SIZE
    return list(ids), brute_force_means(held, bank, GRID, mask if own else None)


@pytest.mark.parametrize("modality", ["image", pytest.param("text", marks=pytest.mark.slow)])
def test_own_references_left_out(flags: dict[str, str], modality: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, summary, error = call("refresh", flags, modality, "--exclude-own-pairs", capsys=capsys)
    assert code == 0, error
    assert summary["warnings"] == []
    assert summary["own_pairs"] == {"own_candidates": SIZE, "own_references": SIZE}
    table = load_bias_table(flags["table"])
    ids, means = scores(flags, modality, own=True)
    order = np.argsort(ids)
    assert table.ids.to_pylist() == sorted(ids)
    np.testing.assert_allclose(table.mean_k, means[order], rtol=0, atol=1e-6)
    settings = table.manifest.settings
    assert (settings.candidate_modality, settings.reference_modality) == (modality, modality)
    assert modality in settings.encoder["probes"]
    assert ("text" if modality == "image" else "image") not in settings.encoder["probes"]
    assert cli.main(["encoder", "check", flags["encoder"], "--table", flags["table"]]) == 0


@pytest.mark.slow
def test_a_bank_that_holds_candidates_is_refused_or_told(
    flags: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = call("refresh", flags, "image", capsys=capsys)
    assert (code, "near_copies: " in error, "use --exclude-own-pairs" in error) == (10, True, True)
    code, summary, error = call("refresh", flags, "image", "--accept", "near_copies", capsys=capsys)
    assert code == 0, error
    _, means = scores(flags, "image", own=False)
    copies = int((means[:, 0] > 0.999).sum())
    assert copies >= SIZE
    (warning,) = summary["warnings"]
    assert warning.startswith(f"{copies} of {2 * SIZE} candidates have a near copy")
    assert warning in error
    assert read_report(summary["report"]).notes == (warning,)
    code, planned, error = call("plan", flags, "image", capsys=capsys)
    assert (code, planned["pairs"], planned["pairs_todo"]) == (0, 4 * SIZE * SIZE, 0), error


@pytest.mark.slow
def test_a_shared_model_gives_the_same_bytes(
    flags: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("refresh", flags, "text", "--exclude-own-pairs", capsys=capsys)[0] == 0
    shared = flags | {"table": str(tmp_path / "shared"), "work": str(tmp_path / "shared-work")}
    code, summary, error = call("refresh", shared, "text", "--exclude-own-pairs", "--model-copies", "1", capsys=capsys)
    assert code == 0, error
    assert tree(Path(shared["table"])) == tree(Path(flags["table"]))
    for stage in ("embed_candidates", "embed_references"):
        figures = summary["stages"][stage]
        assert figures["rows"] == 2 * SIZE
        assert 0.0 < figures["model_utilisation"] <= 1.0
        assert figures["rows_per_second"] > 0.0
