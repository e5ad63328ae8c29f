"""The pipeline's table equals the one computed directly, whatever the shards and the runner."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
from corpora import brute_force_means, gaussian, tree, write_vectors
from failpoints import several_parts
from sides import bank_of

from nnn_core import load_bias_table
from nnn_core.embedded import embedding
from nnn_core.encoders import Encoder, EncoderSource, Fingerprint
from nnn_core.errors import CorruptArtifactError
from nnn_core.scoring.topk import grid_of
from nnn_core.table.manifest import Manifest, current_manifest, read_manifest
from pipelines.commands._parsing import parse_beam_options
from pipelines.commands._refresh import refresh
from pipelines.commands._refresh_flags import build_parser
from pipelines.config import RefreshConfig

CANDIDATES, REFERENCES, DIM = 230, 97, 24
CANDIDATE_IDS = [f"item-{number * 7919 % 1000:03d}" for number in range(CANDIDATES)]
REFERENCE_IDS = [f"query-{number}" for number in range(REFERENCES)]


def config(folder: Path, candidate_files: int = 4, reference_files: int = 4, **settings: object) -> RefreshConfig:
    candidates = write_vectors(folder / "candidates", CANDIDATE_IDS, gaussian(CANDIDATES, DIM, 1), candidate_files)
    references = write_vectors(folder / "references", REFERENCE_IDS, gaussian(REFERENCES, DIM, 2), reference_files)
    where = str(folder / "table"), str(folder / "work")
    base = RefreshConfig(candidates, references, *where, k="auto", alpha=0.75, reference_shard_rows=1)
    return dataclasses.replace(base, **settings)  # type: ignore[arg-type]


def run(
    settings: RefreshConfig,
    encoder: EncoderSource | None = None,
    runner: str = "DirectRunner",
    rows_per_shard: int = 50,
) -> tuple[Manifest, dict[str, Any]]:
    """The job, with a table of four parts."""
    with several_parts(60), mock.patch.object(embedding, "ROWS_PER_SHARD", rows_per_shard):
        return refresh(settings, encoder, parse_beam_options([f"--runner={runner}"], build_parser()))


def expected_means(grid: Sequence[int], own: np.ndarray | None = None) -> np.ndarray:
    """In the order of the sorted ids."""
    means = brute_force_means(gaussian(CANDIDATES, DIM, 1), gaussian(REFERENCES, DIM, 2), grid, own)
    return means[np.argsort(CANDIDATE_IDS)]


def digests(manifest: Manifest) -> list[tuple[int, str]]:
    """What the data files hold, wherever they lie."""
    return [(part.rows, part.sha256) for part in manifest.files]


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way to cut the same input, and to run the job.

    Attributes:
        files: number of files of candidates and of references.
        rows_per_shard: rows from which on a file is cut into several embedded shards.
        runner: Beam's.
    """

    files: tuple[int, int]
    rows_per_shard: int = embedding.ROWS_PER_SHARD
    runner: str = "DirectRunner"


#: All of them are tried by ``make test-slow``.
LAYOUTS = [Layout((1, 7), runner="BundleBasedDirectRunner")]
MORE_LAYOUTS = [
    Layout((1, 1)),
    Layout((1, 1), rows_per_shard=50),
    Layout((1, 3)),
    Layout((1, 7)),
    Layout((4, 4), runner="BundleBasedDirectRunner"),
    Layout((4, 1), rows_per_shard=20),
    Layout((4, 7)),
]
Refreshed = Callable[[Layout], Path]


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory: pytest.TempPathFactory) -> Refreshed:
    """The folder of the same job over some layout of its input, run once and to be left as it is."""
    folders: dict[Layout, Path] = {}

    def refresh_once(layout: Layout) -> Path:
        if layout not in folders:
            folder = tmp_path_factory.mktemp("layout")
            settings = config(folder, *layout.files)
            run(settings, runner=layout.runner, rows_per_shard=layout.rows_per_shard)
            sides = zip((CANDIDATES, REFERENCES), layout.files, strict=True)
            shards = [files * -(-rows // files // layout.rows_per_shard) for rows, files in sides]
            assert len(list((folder / "work" / "partials").iterdir())) == shards[0] * shards[1]
            folders[layout] = folder
        return folders[layout]

    return refresh_once


def test_the_digest_of_a_bank_without_ids_does_not_depend_on_shards(tmp_path: Path) -> None:
    """Its rows are numbered by shard, and those numbers must not get into the table."""
    banks = []
    for files in (1, 3):
        config(tmp_path / str(files), reference_files=files)
        for path in (tmp_path / str(files) / "references").iterdir():
            pq.write_table(pq.read_table(path).drop_columns("id"), path)
        banks.append(bank_of(str(tmp_path / str(files) / "references" / "*"), str(tmp_path / "work")))
    assert banks[0].digest == banks[1].digest


@dataclasses.dataclass(frozen=True)
class Grown:
    """A job over four files of the bank on top of one over three of them: its folder, and its summary.

    Each of the four files of candidates is cut into two embedded shards.
    """

    folder: Path
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    folder = tmp_path_factory.mktemp("grown")
    settings = config(folder)
    run(dataclasses.replace(settings, references=str(folder / "references" / "part-{0..2}.parquet")))
    return Grown(folder, run(settings)[1])


@pytest.fixture
def published(grown: Grown, tmp_path: Path) -> RefreshConfig:
    """A copy of that job, to go on with."""
    shutil.copytree(grown.folder, tmp_path, dirs_exist_ok=True)
    return config(tmp_path)


@pytest.mark.parametrize("layout", [*LAYOUTS, *(pytest.param(each, marks=pytest.mark.slow) for each in MORE_LAYOUTS)])
def test_means_equal_brute_force(refreshed: Refreshed, layout: Layout) -> None:
    table = load_bias_table(str(refreshed(layout) / "table"))
    assert table.ids.to_pylist() == sorted(CANDIDATE_IDS)
    settings = table.manifest.settings
    assert (settings.k, settings.grid) == (8, grid_of(64)), "an eighth of 97 references, and all that they allow"
    means = expected_means(settings.grid)
    np.testing.assert_allclose(table.mean_k, means, rtol=0, atol=1e-6)
    np.testing.assert_allclose(table.bias, 0.75 * means[:, settings.grid.index(settings.k)], rtol=0, atol=1e-6)


@pytest.mark.parametrize("layouts", [LAYOUTS, pytest.param([*LAYOUTS, *MORE_LAYOUTS], marks=pytest.mark.slow)])
def test_the_table_does_not_depend_on_shards_and_runners(
    refreshed: Refreshed, grown: Grown, layouts: list[Layout]
) -> None:
    """Data files are the same to the bit; manifests differ in their lineage, which names the shards."""
    manifests = [read_manifest(str(refreshed(layout) / "table")) for layout in layouts]
    assert len(manifests[0].files) == 4
    without_inputs = [
        dataclasses.replace(
            m,
            candidates=dataclasses.replace(m.candidates, inputs=()),
            references=dataclasses.replace(m.references, inputs=()),
        )
        for m in manifests
    ]
    for manifest in without_inputs:
        assert manifest == without_inputs[0]
    # Nor on what was scored before, and in how many embedded shards.
    assert digests(read_manifest(str(grown.folder / "table"))) == digests(manifests[0])


def test_a_new_reference_file_costs_one_partial_a_candidate_shard(grown: Grown) -> None:
    scoring = grown.summary["stages"]["score_candidates"]
    last = pq.read_table(grown.folder / "references" / "part-3.parquet").num_rows
    assert (scoring["computed"], scoring["reused"], scoring["pairs"]) == (8, 24, CANDIDATES * last)
    assert grown.summary["version"] == 2


@dataclasses.dataclass(frozen=True)
class NamedEncoder:
    """An encoder that may be named, not loaded."""

    fingerprint: Fingerprint

    def load(self) -> Encoder:
        raise AssertionError("no shard needs the encoder")


def test_a_refresh_repairs_a_damaged_manifest(published: RefreshConfig, tmp_path: Path) -> None:
    """From what is there: nothing is computed twice. Vectors came from wherever they came; the table must not claim
    that the encoder that is named now made them.
    """
    first, before = read_manifest(published.table), tree(tmp_path)
    manifest = tmp_path / "table" / "versions" / "000002.json"
    manifest.write_bytes(manifest.read_bytes()[:-5])
    with pytest.raises(CorruptArtifactError, match=r"000002\.json' .*move this file out of its folder"):
        current_manifest(published.table)
    manifest.rename(tmp_path / "000002.json.broken")
    again, summary = run(published, NamedEncoder(Fingerprint("w", "a", "p", "t")))
    stages = summary["stages"]
    computed = {name: stages[name]["computed"] for name in stages if name != "merge_partials"}
    assert computed == {name: 4 * (name == "commit_bias_table") for name in computed}, "the parts of the table"
    assert (len(computed), stages["score_candidates"]["reused"]) == (5, 32)
    assert again == first == load_bias_table(published.table).manifest
    assert again.settings.encoder == {"kind": "precomputed"}
    (tmp_path / "000002.json.broken").unlink()
    assert tree(tmp_path) == before
