"""Reading the table, and reweighting it from the means that it keeps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import oracles
import pytest
from tables import GRID, IDS, MEANS, data_files, publish

from nnn_core import storage
from nnn_core.errors import ConfigError, ConflictError, CorruptArtifactError, InputError
from nnn_core.table.gate import Gate
from nnn_core.table.lifecycle.check import _FileCheck, check_table
from nnn_core.table.manifest import commit_version, list_versions, read_manifest
from nnn_core.table.reading import BiasTable, load_bias_table, reweight


@pytest.fixture
def table(tmp_path: Path) -> str:
    uri = str(tmp_path / "table")
    assert len(publish(uri).files) == 3
    return uri


def test_the_table_is_read_in_order(table: str) -> None:
    loaded = load_bias_table(table)
    assert loaded.ids.to_pylist() == IDS
    oracles.assert_same_bits(loaded.mean_k, MEANS)
    oracles.assert_same_bits(loaded.bias, (0.75 * MEANS[:, 2].astype(np.float64)).astype(np.float32))


def test_a_table_is_printed_in_a_line(table: str) -> None:
    said = repr(load_bias_table(table))
    assert said == f"BiasTable(version 1, {len(IDS):,} candidates, k = {GRID[2]}, alpha = 0.75)"


def test_biases_come_in_the_order_asked_for(table: str) -> None:
    loaded = load_bias_table(table)
    rng = np.random.default_rng(1)
    wanted = [*rng.permutation(IDS).tolist(), IDS[7], IDS[7]]
    by_id = dict(zip(IDS, loaded.bias.tolist(), strict=True))
    assert loaded.bias_of(wanted).tolist() == [by_id[row_id] for row_id in wanted]
    assert loaded.bias_of(wanted).dtype == np.float32
    assert loaded.bias_of(tuple(IDS[:1])).shape == (1,)
    assert loaded.bias_of([]).shape == (0,)


def test_candidates_without_a_bias_are_counted(table: str) -> None:
    with pytest.raises(InputError) as caught:
        load_bias_table(table).bias_of([IDS[0], "unknown-1", "unknown-2", IDS[1]])
    assert "2 of 4 candidates have no bias in version 1" in str(caught.value)
    held = load_bias_table(table)
    mean = np.float32(held.manifest.bias_mean)
    assert held.bias_of(["nobody", IDS[3]], missing="mean").tolist() == [mean, held.bias[3]]
    assert "(first: 'unknown-1')" in str(caught.value)


def test_an_older_version_can_be_read(table: str) -> None:
    reweight(table, k=1)
    assert load_bias_table(table).manifest.version == 2
    old = load_bias_table(table, 1)
    assert old.manifest.version == 1
    oracles.assert_same_bits(old.bias, (0.75 * MEANS[:, 2].astype(np.float64)).astype(np.float32))
    with pytest.raises(InputError, match=r"no version 9. It has versions 1 to 2 \(2 in all\)"):
        load_bias_table(table, 9)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_any_flipped_byte_of_a_part_is_noticed(table: str, number: int) -> None:
    path = Path(table) / read_manifest(table).files[number].path
    whole = path.read_bytes()
    for position in range(number, len(whole), 7):
        data = bytearray(whole)
        data[position] ^= 1 << position % 8
        path.write_bytes(bytes(data))
        with pytest.raises(CorruptArtifactError, match=f"{path.name}' is damaged"):
            load_bias_table(table)
    path.write_bytes(whole)
    assert load_bias_table(table).ids.to_pylist() == IDS


def test_a_missing_part_names_itself(table: str) -> None:
    path = Path(table) / read_manifest(table).files[1].path
    path.unlink()
    with pytest.raises(InputError, match=path.name):
        load_bias_table(table)


def test_parts_of_a_killed_job_are_not_read(table: str) -> None:
    (Path(table) / "versions" / "000002").mkdir()
    (Path(table) / "versions" / "000002" / "part-00000-0123456789abcdef.parquet").write_bytes(b"half")
    assert load_bias_table(table).ids.to_pylist() == IDS


@pytest.mark.parametrize(("k", "alpha"), [(1, None), (2, 0.3), (None, 0.3), (None, 0.0), (1, 2.0)])
def test_reweight_equals_the_definition(table: str, k: int | None, alpha: float | None) -> None:
    manifest = reweight(table, k, alpha)
    used_k, used_alpha = k or 4, 0.75 if alpha is None else alpha
    assert (manifest.version, manifest.settings.k, manifest.settings.alpha) == (2, used_k, used_alpha)
    loaded = load_bias_table(table)
    assert loaded.manifest == manifest
    assert loaded.ids.to_pylist() == IDS
    column = MEANS[:, GRID.index(used_k)].astype(np.float64)
    oracles.assert_same_bits(loaded.bias, (used_alpha * column).astype(np.float32))
    oracles.assert_same_bits(loaded.mean_k, MEANS)


def test_reweight_equals_a_table_made_that_way(table: str, tmp_path: Path) -> None:
    direct = publish(str(tmp_path / "direct"), version=2, k=2, alpha=0.3)
    assert dataclasses.replace(reweight(table, 2, 0.3), hubs=None) == direct
    for part in direct.files:
        assert (Path(table) / part.path).read_bytes() == (tmp_path / "direct" / part.path).read_bytes()


def test_reweight_keeps_what_it_was_not_asked_to_change(table: str) -> None:
    settings = reweight(table, k=2, alpha=0.3).settings
    assert reweight(table, alpha=0.5).settings == dataclasses.replace(settings, alpha=0.5)
    assert reweight(table, k=1).settings == dataclasses.replace(settings, alpha=0.5, k=1)


def test_reweight_keeps_the_lineage(table: str) -> None:
    before, after = read_manifest(table), reweight(table, k=1)
    of_before = {"settings": before.settings, "files": before.files, "hubs": before.hubs}
    assert dataclasses.replace(after, version=1, **of_before) == before


@pytest.mark.parametrize(("k", "alpha"), [(None, None), (4, None), (None, 0.75), (4, 0.75)])
def test_reweight_to_the_same_publishes_nothing(table: str, k: int | None, alpha: float | None) -> None:
    before = data_files(table)
    assert reweight(table, k, alpha) == read_manifest(table, 1)
    assert list_versions(table) == [1]
    assert data_files(table) == before


def test_reweight_starts_from_an_older_version(table: str) -> None:
    reweight(table, k=1, alpha=5.0)
    manifest = reweight(table, alpha=0.1, version=1)
    assert (manifest.version, manifest.settings.k, manifest.settings.alpha) == (3, 4, 0.1)
    assert load_bias_table(table).bias.tolist() == (0.1 * MEANS[:, 2].astype(np.float64)).astype(np.float32).tolist()


def test_reweight_back_gives_the_first_files_again(table: str) -> None:
    first = read_manifest(table)
    reweight(table, k=1)
    third = reweight(table, k=4)
    assert third.version == 3
    assert [part.sha256 for part in third.files] == [part.sha256 for part in first.files]


def test_reweight_uses_identical_files_again(table: str) -> None:
    """From an older version to what the current one says: nothing is written."""
    second = reweight(table, k=1)
    before = data_files(table)
    assert reweight(table, k=1, version=1) == second
    assert data_files(table) == before


def test_k_outside_the_grid_is_refused(table: str) -> None:
    with pytest.raises(ConfigError) as caught:
        reweight(table, k=3)
    assert "--k 3 is not in the grid of version 1" in str(caught.value)
    assert "Choose one of 1, 2, 4, or run a refresh with --k 3" in str(caught.value)
    assert list_versions(table) == [1]


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), -0.5])
def test_alpha_must_be_a_number(table: str, alpha: float) -> None:
    """A table of NaN would empty every search result, a negative weight would favour hubs."""
    with pytest.raises(ConfigError, match="alpha"):
        reweight(table, alpha=alpha)
    assert list_versions(table) == [1]


def test_an_alpha_beyond_float32_is_refused(table: str) -> None:
    with pytest.raises(ConfigError, match=r"--alpha 1e\+39 makes biases too large for float32"):
        reweight(table, alpha=1e39)
    assert list_versions(table) == [1]
    assert not (Path(table) / "versions" / "000002").exists()


@pytest.mark.parametrize("moment", range(6))
@pytest.mark.parametrize("version", [None, 1])
def test_a_version_that_is_published_meanwhile_is_not_superseded(
    table: str, monkeypatch: pytest.MonkeyPatch, moment: int, version: int | None
) -> None:
    """Whenever it comes: either the new one is what was reweighted, or nothing is published."""
    real, calls = storage.list_names, []

    def list_names(uri: str) -> list[str]:
        if len(calls) == moment:
            calls.append("publishing")
            publish(table, version=2, alpha=9.0, k=2)
        calls.append(uri)
        return real(uri)

    monkeypatch.setattr(storage, "list_names", list_names)
    try:
        made = reweight(table, alpha=0.1, version=version)
    except ConflictError:
        assert list_versions(table) == [1, 2]
    else:
        assert made.version == (3 if "publishing" in calls else 2)
        assert made.settings.k == (4 if version or "publishing" not in calls else 2)


def test_a_damaged_part_is_not_reweighted(table: str) -> None:
    path = Path(table) / read_manifest(table).files[0].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptArtifactError, match="is damaged"):
        reweight(table, k=1)
    assert list_versions(table) == [1]


def test_a_table_in_memory_works_the_same(tmp_path: Path) -> None:
    publish("memory://bias-table-test")
    loaded: BiasTable = load_bias_table("memory://bias-table-test")
    publish(str(tmp_path))
    oracles.assert_same_bits(loaded.bias, load_bias_table(str(tmp_path)).bias)
    assert reweight("memory://bias-table-test", k=1).version == 2


def test_a_whole_version_is_whole(table: str) -> None:
    check = check_table(table)
    names = ["versions/000001.json", *(part.path for part in read_manifest(table).files)]
    assert (check.version, check.bad) == (1, ())
    assert check.files == tuple(_FileCheck(name, "whole") for name in names)


def test_each_damaged_or_missing_file_is_found(table: str) -> None:
    first, second, third = (part.path for part in read_manifest(table).files)
    data = (Path(table) / first).read_bytes()
    (Path(table) / first).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (Path(table) / third).unlink()
    check = check_table(table)
    assert [(file.path, file.state) for file in check.bad] == [(first, "damaged"), (third, "missing")]
    assert [file.state for file in check.files if file.path == second] == ["whole"]
    assert all(f"{table}/{file.path}" in file.problem for file in check.bad)


def test_a_file_that_is_there_but_may_not_be_read_is_not_called_missing(table: str) -> None:
    path = Path(table) / read_manifest(table).files[0].path
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="cannot read"):
        check_table(table)


def test_a_damaged_mark_is_found(table: str) -> None:
    (Path(table) / "nnn-bias-table.json").write_bytes(b"{}")
    (bad,) = check_table(table).bad
    assert (bad.path, bad.state) == ("nnn-bias-table.json", "damaged")
    assert load_bias_table(table).manifest.version == 1


def test_reweight_takes_over_no_verdicts(table: str) -> None:
    """The gates judged other biases."""
    judged = dataclasses.replace(
        read_manifest(table), version=2, dim=9, gates=(Gate("alpha", 1.0, 2.0, "pass", "the factor is 1"),)
    )
    commit_version(table, judged)
    assert reweight(table, alpha=0.9).gates == ()
