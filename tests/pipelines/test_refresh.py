"""The pipeline's table equals the one computed directly, whatever the shards and the runner."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from corpora import brute_force_means, gaussian, tree, write_vectors
from failpoints import several_parts

from nnn_core import load_bias_table
from nnn_core.embedded import embedding
from nnn_core.encoders import Encoder, Fingerprint
from nnn_core.errors import BankTooSmallError, CorruptArtifactError
from nnn_core.scoring.topk import grid_of
from nnn_core.table.manifest import read_manifest
from nnn_core.table.parts import resolve_k
from pipelines.commands._parsing import parse_beam_options
from pipelines.commands._refresh_flags import build_parser
from pipelines.commands.refresh import refresh
from pipelines.config import RefreshConfig

CANDIDATES, REFERENCES, DIM, K = 230, 317, 24, 16
CANDIDATE_IDS = [f"item-{number * 7919 % 1000:03d}" for number in range(CANDIDATES)]
REFERENCE_IDS = [f"query-{number}" for number in range(REFERENCES)]


def options(*flags: str) -> PipelineOptions:
    return parse_beam_options(list(flags), build_parser())


def config(folder: Path, candidate_files: int = 4, reference_files: int = 3, **settings: object) -> RefreshConfig:
    candidates = write_vectors(folder / "candidates", CANDIDATE_IDS, gaussian(CANDIDATES, DIM, 1), candidate_files)
    references = write_vectors(folder / "references", REFERENCE_IDS, gaussian(REFERENCES, DIM, 2), reference_files)
    base = RefreshConfig(
        candidates, references, str(folder / "table"), str(folder / "work"), k=K, alpha=0.75, reference_shard_rows=1
    )
    return dataclasses.replace(base, **settings)  # type: ignore[arg-type]


def expected_means(ids: Sequence[str], grid: Sequence[int]) -> np.ndarray:
    means = brute_force_means(gaussian(CANDIDATES, DIM, 1), gaussian(REFERENCES, DIM, 2), grid)
    position = {row_id: row for row, row_id in enumerate(CANDIDATE_IDS)}
    return means[[position[row_id] for row_id in ids]]


#: Files of candidates and of references. All of them are tried by ``make test-slow``.
LAYOUTS = [(1, 1), (1, 7), (4, 3)]
MORE_LAYOUTS = [(1, 3), (4, 1), (4, 7)]
Refreshed = Callable[[tuple[int, int]], Path]


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory: pytest.TempPathFactory) -> Refreshed:
    """The folder of the same job over some layout of its input into shards, run once and to be left as it is."""
    folders: dict[tuple[int, int], Path] = {}

    def refresh_once(layout: tuple[int, int]) -> Path:
        if layout not in folders:
            folder = tmp_path_factory.mktemp("layout")
            _, summary = refresh(config(folder, *layout), None, options())
            assert summary["stages"]["score_candidates"]["computed"] == layout[0] * layout[1]
            folders[layout] = folder
        return folders[layout]

    return refresh_once


@pytest.fixture
def published(refreshed: Refreshed, tmp_path: Path) -> RefreshConfig:
    """A copy of that job with 4 files of candidates and 3 of references, to go on with."""
    shutil.copytree(refreshed((4, 3)), tmp_path, dirs_exist_ok=True)
    return config(tmp_path)


@pytest.mark.parametrize("layout", [*LAYOUTS, *(pytest.param(each, marks=pytest.mark.slow) for each in MORE_LAYOUTS)])
def test_means_equal_brute_force(refreshed: Refreshed, layout: tuple[int, int]) -> None:
    table = load_bias_table(str(refreshed(layout) / "table"))
    ids = table.ids.to_pylist()
    assert ids == sorted(CANDIDATE_IDS)
    means = expected_means(ids, table.manifest.settings.grid)
    np.testing.assert_allclose(table.mean_k, means, rtol=0, atol=1e-6)
    np.testing.assert_allclose(table.bias, 0.75 * means[:, -1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("layouts", [LAYOUTS, pytest.param([*LAYOUTS, *MORE_LAYOUTS], marks=pytest.mark.slow)])
def test_table_files_do_not_depend_on_shards(refreshed: Refreshed, layouts: list[tuple[int, int]]) -> None:
    """Data files are the same to the bit; manifests differ in their lineage, which names the shards."""
    files, manifests = [], []
    for folder in map(refreshed, layouts):
        stored = tree(folder / "table")
        files.append({name: data for name, data in stored.items() if name.endswith(".parquet")})
        manifests.append(read_manifest(str(folder / "table")))
    assert len(files[0]) == 1
    assert all(data == files[0] for data in files)
    without_inputs = [
        dataclasses.replace(
            m,
            candidates=dataclasses.replace(m.candidates, inputs=()),
            references=dataclasses.replace(m.references, inputs=()),
        )
        for m in manifests
    ]
    assert all(manifest == without_inputs[0] for manifest in without_inputs)


def test_table_files_do_not_depend_on_shards_of_a_bank_without_ids(tmp_path: Path) -> None:
    """Its rows are numbered by shard, and those numbers must not get into the table."""
    data = []
    for files in (1, 3):
        settings = config(tmp_path / str(files), reference_files=files)
        for path in (tmp_path / str(files) / "references").iterdir():
            pq.write_table(pq.read_table(path).drop_columns("id"), path)
        refresh(settings, None, options())
        stored = tree(tmp_path / str(files) / "table")
        data.append({name: content for name, content in stored.items() if name.endswith(".parquet")})
    assert data[0] == data[1]


def test_large_shards_are_cut_and_give_the_same_table(
    refreshed: Refreshed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "ROWS_PER_SHARD", 50)
    cut = config(tmp_path / "cut", 1, 1)
    _, summary = refresh(cut, None, options())
    assert summary["stages"]["score_candidates"]["computed"] == 5 * 7
    assert read_manifest(cut.table).files == read_manifest(str(refreshed((1, 1)) / "table")).files


def test_several_parts_are_sorted_throughout(tmp_path: Path) -> None:
    names = {}
    for candidate_files in (1, 4):
        settings = config(tmp_path / str(candidate_files), candidate_files)
        with several_parts(60):
            manifest, _ = refresh(settings, None, options())
        assert len(manifest.files) == 4
        table = load_bias_table(settings.table)
        assert table.ids.to_pylist() == sorted(CANDIDATE_IDS)
        np.testing.assert_allclose(table.mean_k, expected_means(sorted(CANDIDATE_IDS), (1, 2, 4, 8, 16)), atol=1e-6)
        names[candidate_files] = [(part.path, part.sha256) for part in manifest.files]
    assert names[1] == names[4]


def test_bundles_that_run_again_give_the_same_bytes(refreshed: Refreshed, tmp_path: Path) -> None:
    refresh(config(tmp_path), None, options("--runner=BundleBasedDirectRunner"))
    assert tree(tmp_path / "table") == tree(refreshed((4, 3)) / "table")


def test_second_run_reuses_everything_and_publishes_nothing(published: RefreshConfig, tmp_path: Path) -> None:
    before = tree(tmp_path)
    _, summary = refresh(published, None, options())
    stages = summary["stages"]
    assert [stages[name]["computed"] for name in stages if name != "merge_partials"] == [0, 0, 0, 0, 0]
    assert (stages["score_candidates"]["reused"], summary["version"]) == (12, 1)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("damage", ["changed", "deleted", "manifest"])
def test_a_refresh_repairs_a_damaged_table(published: RefreshConfig, tmp_path: Path, damage: str) -> None:
    first = read_manifest(published.table)
    victim = tmp_path / "table" / first.files[0].path
    manifest = tmp_path / "table" / "versions" / "000001.json"
    whole = victim.read_bytes()
    if damage == "manifest":
        manifest.write_bytes(manifest.read_bytes()[:-5])
        with pytest.raises(CorruptArtifactError, match=r"000001\.json' .*move this file out of its folder"):
            refresh(published, None, options())
        manifest.rename(tmp_path / "table" / "000001.json.broken")
    else:
        victim.write_bytes(whole[:-1]) if damage == "changed" else victim.unlink()
    again, _ = refresh(published, None, options())
    assert again.version == (1 if damage == "manifest" else 2)
    assert [part.sha256 for part in again.files] == [part.sha256 for part in first.files]
    assert (tmp_path / "table" / again.files[0].path).read_bytes() == whole
    assert load_bias_table(published.table).manifest == again


def test_a_new_reference_file_costs_one_partial_a_candidate_shard(published: RefreshConfig, tmp_path: Path) -> None:
    write_vectors(tmp_path / "references" / "more", ["new"], gaussian(1, DIM, 3), 1)
    (tmp_path / "references" / "more" / "part-0.parquet").rename(tmp_path / "references" / "part-3.parquet")
    _, summary = refresh(published, None, options())
    assert summary["version"] == 2
    scoring = summary["stages"]["score_candidates"]
    assert (scoring["computed"], scoring["reused"], scoring["pairs"]) == (4, 12, summary["rows"])
    fresh = dataclasses.replace(published, table=str(tmp_path / "fresh"), work=str(tmp_path / "work2"))
    refresh(fresh, None, options())
    assert [part.sha256 for part in read_manifest(fresh.table).files] == [
        part.sha256 for part in read_manifest(published.table).files
    ]


@dataclasses.dataclass(frozen=True)
class NamedEncoder:
    """An encoder that may be named, not loaded."""

    fingerprint: Fingerprint

    def load(self) -> Encoder:
        raise AssertionError("no shard needs the encoder")


def test_an_encoder_that_was_not_used_is_not_recorded(published: RefreshConfig) -> None:
    """Vectors came from wherever they came; the table must not claim that this encoder made them."""
    first = read_manifest(published.table)
    assert first.settings.encoder == {"kind": "precomputed"}
    assert refresh(published, NamedEncoder(Fingerprint("w", "a", "p", "t")), options())[0] == first


def test_own_pairs_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    pair_ids = [CANDIDATE_IDS[row] for row in rng.integers(0, 40, REFERENCES)]
    settings = config(tmp_path, exclude_own_pairs=True)
    write_vectors(tmp_path / "references", REFERENCE_IDS, gaussian(REFERENCES, DIM, 2), 3, pair_ids)
    refresh(dataclasses.replace(settings, reference_pair_id_column="pair_id"), None, options())
    own = np.array([[candidate == pair for pair in pair_ids] for candidate in CANDIDATE_IDS])
    assert 0 < own.sum(axis=1).max() > 8
    table = load_bias_table(settings.table)
    means = brute_force_means(gaussian(CANDIDATES, DIM, 1), gaussian(REFERENCES, DIM, 2), (1, 2, 4, 8, 16), own)
    np.testing.assert_allclose(table.mean_k[np.argsort(np.argsort(CANDIDATE_IDS))], means, rtol=0, atol=1e-6)


def test_own_pairs_can_leave_too_few(tmp_path: Path) -> None:
    settings = config(tmp_path, exclude_own_pairs=True, k=REFERENCES)
    write_vectors(
        tmp_path / "references", REFERENCE_IDS, gaussian(REFERENCES, DIM, 2), 3, [CANDIDATE_IDS[0]] * REFERENCES
    )
    with pytest.raises(BankTooSmallError, match="some candidate has only 0 left"):
        refresh(dataclasses.replace(settings, reference_pair_id_column="pair_id"), None, options())
    assert not list((tmp_path / "table" / "versions").glob("*.json"))


def test_k_auto_takes_the_largest_of_the_grid_that_fits(tmp_path: Path) -> None:
    settings = config(tmp_path, k="auto")
    references = write_vectors(tmp_path / "bank", [str(row) for row in range(100)], gaussian(100, DIM, 2), 1)
    manifest, _ = refresh(dataclasses.replace(settings, references=references), None, options())
    assert (manifest.settings.k, manifest.settings.grid) == (64, grid_of(64))


@pytest.mark.parametrize(("seen", "k"), [(1000, 128), (100, 64), (1, 1)])
def test_k_auto_by_what_every_candidate_has_seen(tmp_path: Path, seen: int, k: int) -> None:
    assert resolve_k(None, config(tmp_path, k="auto").grid, seen) == (k, grid_of(k))


def test_k_max_keeps_means_beyond_k(tmp_path: Path) -> None:
    manifest, _ = refresh(config(tmp_path, k=5, k_max=100), None, options())
    assert manifest.settings.grid == (1, 2, 4, 5, 8, 16, 32, 64, 100)
    table = load_bias_table(str(tmp_path / "table"))
    np.testing.assert_allclose(
        table.mean_k, expected_means(table.ids.to_pylist(), manifest.settings.grid), rtol=0, atol=1e-6
    )
