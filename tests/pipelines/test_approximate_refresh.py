"""A refresh with an approximate search: within its tolerance, and said so in the manifest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from corpora import brute_force_means, write_vectors
from fakes import clustered_vectors
from graphs import Steps

from nnn_core import load_bias_table
from nnn_core.errors import ConfigError
from pipelines.commands import cli
from pipelines.commands._parsing import parse_beam_options
from pipelines.commands._refresh import refresh
from pipelines.commands._refresh_flags import build_parser
from pipelines.config import RefreshConfig

CANDIDATES, REFERENCES, DIM, TOLERANCE = 400, 6000, 128, 1e-3
CANDIDATE_IDS = [f"item-{number * 7919 % 1000:03d}" for number in range(CANDIDATES)]
REFERENCE_IDS = [f"query-{number}" for number in range(REFERENCES)]


def options() -> PipelineOptions:
    return parse_beam_options([], build_parser())


def config(folder: Path) -> RefreshConfig:
    candidates = write_vectors(folder / "candidates", CANDIDATE_IDS, clustered_vectors(CANDIDATES, DIM, 1), 2)
    references = write_vectors(folder / "references", REFERENCE_IDS, clustered_vectors(REFERENCES, DIM, 2), 2)
    return RefreshConfig(
        candidates,
        references,
        str(folder / "table"),
        str(folder / "work"),
        k=2,
        k_max=2,
        alpha=0.75,
        reference_shard_rows=1,
        search="approximate",
        bias_tolerance=TOLERANCE,
    )


def test_the_table_keeps_to_the_tolerance(tmp_path: Path) -> None:
    manifest, summary = refresh(config(tmp_path), None, options())
    assert summary["stages"]["calibrate_search"]["computed"] == 2
    assert summary["search"] == dataclasses.asdict(manifest.search)
    exact = brute_force_means(clustered_vectors(CANDIDATES, DIM, 1), clustered_vectors(REFERENCES, DIM, 2), (1, 2))
    table = load_bias_table(str(tmp_path / "table"))
    assert table.ids.to_pylist() == sorted(CANDIDATE_IDS)
    found, exact = table.mean_k, exact[np.argsort(CANDIDATE_IDS)]
    assert (found <= exact + 1e-6).all()
    errors = np.abs(found - exact)
    # Each of two reference shards was chosen for a sample, so that of all candidates is only near it.
    assert 1e-6 < errors.mean(axis=0).max() < 2 * TOLERANCE
    report = manifest.search
    assert (report.methods, report.tolerance) == (("approximate",), TOLERANCE)
    assert report.error is not None
    assert report.error.candidates == CANDIDATES / 2
    assert report.error.mean == pytest.approx(errors.mean(axis=0).max(), rel=0.5)
    assert report.error.mean <= report.error.p99 <= report.error.max <= errors.max() + 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bias_tolerance": None}, "--search approximate with --bias-tolerance None"),
        ({"search": "auto"}, "--search auto with --bias-tolerance 0.001"),
        ({"search": "exact"}, "only the approximate search has a tolerance"),
        ({"bias_tolerance": 0.0}, "must lie between 0 and 1"),
        ({"bias_tolerance": 1.0}, "must lie between 0 and 1"),
        ({"bias_tolerance": float("nan")}, "must lie between 0 and 1"),
    ],
)
def test_tolerance_and_search_go_together(settings: dict[str, object], message: str) -> None:
    base = RefreshConfig("c", "r", "t", "w", k=2, alpha=0.75, search="approximate", bias_tolerance=1e-3)
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(base, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("flags", [["--search", "approximate"], ["--bias-tolerance", "1e-3"]])
def test_flags_that_lack_each_other(tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    sides = ["--candidates", "c", "--references", "r", "--table", str(tmp_path / "t"), "--work", str(tmp_path / "w")]
    assert cli.main(["refresh", *sides, *flags]) == 2
    assert "it needs one (try 1e-3)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_bad_candidates_are_complained_about_before_any_is_searched(tmp_path: Path) -> None:
    """Calibration reads them too, and would fail in words of its own: it waits for what looks at both sides."""
    assert any("GatherSides" in name for name in Steps(config(tmp_path)).before("CalibrateSearch/CalibrateShard"))
