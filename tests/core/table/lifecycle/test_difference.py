"""What two versions differ in equals what two dictionaries differ in, however the tables are cut into files."""

from __future__ import annotations

import io
import itertools
import uuid
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import publish_biases

from nnn_core import storage
from nnn_core.artifacts import to_parquet_in_pieces
from nnn_core.encoders.probes import _to_text
from nnn_core.errors import ConfigError, CorruptArtifactError, InputError, StorageError
from nnn_core.table.lifecycle import difference
from nnn_core.table.lifecycle.difference import SHARES, Difference, _Sketch
from nnn_core.table.manifest import read_manifest
from nnn_core.table.parts import TablePart

BIASES = st.dictionaries(st.text("abcé😀", min_size=1, max_size=3), st.integers(0, 3), min_size=1, max_size=20)


def read_delta(uri: str) -> list[tuple[str, float | None, str]]:
    table = pq.read_table(io.BytesIO(storage.read_bytes(uri)))
    assert table.column_names == ["id", "bias", "op"]
    return [tuple(row.values()) for row in table.to_pylist()]  # type: ignore[misc]


def apply(delta: list[tuple[str, float | None, str]], biases: dict[str, float]) -> dict[str, float]:
    """What a consumer does that updates in place."""
    result = dict(biases)
    for row_id, bias, op in delta:
        assert (row_id in result) == (op != "add")
        assert (bias is None) == (op == "remove")
        if bias is None:
            del result[row_id]
        else:
            result[row_id] = bias
    return result


@given(
    BIASES, BIASES, st.lists(st.text("abcé", max_size=2), max_size=4), st.lists(st.text("abcé", max_size=2), max_size=4)
)
def test_the_difference_is_that_of_dictionaries(
    old: dict[str, float],
    new: dict[str, float],
    one: list[str],
    two: list[str],
) -> None:
    uri = f"memory://difference/{uuid.uuid4().hex}"  # which waits for no disk
    publish_biases(uri, 1, old, tuple(sorted(set(one))))
    publish_biases(uri, 2, new, tuple(sorted(set(two))), bank="c")
    found = Difference.of(uri, 1, 2, f"{uri}/delta.parquet")
    common = old.keys() & new.keys()
    assert found.added == len(new.keys() - old.keys())
    assert found.removed == len(old.keys() - new.keys())
    assert found.changed == sum(old[row_id] != new[row_id] for row_id in common)
    assert found.unchanged == sum(old[row_id] == new[row_id] for row_id in common)
    delta = read_delta(f"{uri}/delta.parquet")
    assert [row_id for row_id, _, _ in delta] == sorted(row_id for row_id, _, _ in delta)
    assert apply(delta, old) == new
    changes = [new[row_id] - old[row_id] for row_id in common if new[row_id] != old[row_id]]
    if changes:
        assert found.changes is not None
        assert (found.changes.lowest, found.changes.highest) == (min(changes), max(changes))
        assert found.changes.mean == pytest.approx(np.mean(changes))
        assert found.changes.mean_absolute == pytest.approx(np.mean(np.abs(changes)))
    else:
        assert found.changes is None


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Three files, of which the second version changes the middle one."""
    uri, biases = str(tmp_path / "table"), {f"{number:03d}": float(number) for number in range(300)}
    publish_biases(uri, 1, biases, ("100", "200"))
    publish_biases(uri, 2, {**biases, "150": 0.25, "1505": 7.0}, ("100", "200"))
    return uri


@given(BIASES, BIASES, st.sampled_from([0.0, 0.25, 1.0, 100.0]))
def test_small_changes_are_left_out_by_request(old: dict[str, float], new: dict[str, float], least: float) -> None:
    uri = f"memory://difference/{uuid.uuid4().hex}"
    publish_biases(uri, 1, old)
    publish_biases(uri, 2, new, bank="c")
    found = Difference.of(uri, 1, 2, f"{uri}/delta.parquet", least)
    small = {row_id for row_id in old.keys() & new.keys() if 0 < abs(new[row_id] - old[row_id]) < least}
    assert found.small == len(small)
    after = apply(read_delta(f"{uri}/delta.parquet"), old)
    assert after == {row_id: old[row_id] if row_id in small else bias for row_id, bias in new.items()}


@pytest.mark.parametrize("least", [-0.1, float("nan"), float("inf")])
def test_a_least_change_that_is_none(table: str, least: float) -> None:
    with pytest.raises(ConfigError, match="--min-change"):
        Difference.of(table, 1, 2, None, least)


def test_files_in_common_are_not_read(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = TablePart.read, []

    def read(part: TablePart, uri: str, columns: list[str]) -> pa.Table:
        seen.append(part)
        return real(part, uri, columns)

    monkeypatch.setattr(TablePart, "read", read)
    found = Difference.of(table, 1, 2)
    assert seen == [read_manifest(table, 1).files[1], read_manifest(table, 2).files[1]]
    assert (found.added, found.removed, found.changed, found.unchanged, found.shared_files) == (1, 0, 1, 299, 2)


def test_a_version_does_not_differ_from_itself(table: str) -> None:
    found = Difference.of(table, 2, 2, f"{table}/none.parquet")
    assert (found.added, found.removed, found.changed, found.unchanged, found.changes) == (0, 0, 0, 301, None)
    assert read_delta(f"{table}/none.parquet") == []


def test_the_delta_is_the_same_bytes_each_time(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Difference.of(table, 1, 2, f"{table}/a.parquet")
    Difference.of(table, 1, 2, f"{table}/a.parquet")
    data = storage.read_bytes(f"{table}/a.parquet")
    Difference.of(table, 1, 2, f"{table}/b.parquet")
    assert storage.read_bytes(f"{table}/b.parquet") == data
    with pytest.raises(StorageError, match="exists already with other content and was left as it is"):
        Difference.of(table, 2, 1, f"{table}/a.parquet")
    assert storage.read_bytes(f"{table}/a.parquet") == data


def test_the_delta_does_not_depend_on_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two row groups, however the rows come."""
    pieces = partial(to_parquet_in_pieces, row_group_rows=1000)
    monkeypatch.setattr(difference, "to_parquet_in_pieces", pieces)
    old = {f"{number:06d}": float(number % 70) for number in range(1400)}
    new = {row_id: bias + (bias > 3) for row_id, bias in old.items() if bias != 2}
    data = set()
    for cuts in [(), ("000700", "001200")]:
        uri = f"memory://difference/{uuid.uuid4().hex}"
        publish_biases(uri, 1, old, cuts)
        publish_biases(uri, 2, new, ("001000",))
        Difference.of(uri, 1, 2, f"{uri}/delta.parquet")
        data.add(storage.read_bytes(f"{uri}/delta.parquet"))
    assert len(data) == 1
    assert pq.ParquetFile(io.BytesIO(data.pop())).num_row_groups == 2


def probes(*nudges: float) -> str:
    return _to_text({"text-1": np.array([1.0, *nudges], np.float32)})


def test_only_the_parts_of_an_encoder_that_differ_are_told() -> None:
    encoder = {"weights": "w", "tokenizer": "t", "probes": probes(0.0)}
    others = [{**encoder, "probes": probes(0.0005)}, {"weights": "w", "tokenizer": "t"}]
    assert [difference._compare_encoders(encoder, other) for other in (encoder, *others)] == [({}, {})] * 3
    old, new = difference._compare_encoders(encoder, {**encoder, "weights": "v", "probes": probes(0.5)})
    assert (old["weights"], new["weights"]) == ("w", "v")
    assert old.keys() == new.keys() == {"probes", "weights"}
    assert old["probes"] != new["probes"]
    assert old["probes"].startswith("1 vectors of 2 dimensions (text-1)")


def test_what_differs_in_the_settings_is_told(table: str) -> None:
    from nnn_core.table.reading import reweight

    reweight(table, alpha=0.5, k=1)
    found = Difference.of(table, 2, 3)
    assert found.settings == {"k": (2, 1), "alpha": (1.0, 0.5)}


def test_damaged_and_missing(table: str) -> None:
    with pytest.raises(InputError, match="no version 9"):
        Difference.of(table, 1, 9)
    path = Path(table) / read_manifest(table, 2).files[1].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptArtifactError, match="is damaged"):
        Difference.of(table, 1, 2, f"{table}/delta.parquet")
    assert not (Path(table) / "delta.parquet").exists()


def test_quantiles_of_the_sketch() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 0.01, 50_000), rng.normal(1, 30, 50_000), [0.0]]).astype(np.float32)
    sketch = _Sketch()
    for part in np.array_split(rng.permutation(values), 7):
        sketch.add(part)
    exact = np.quantile(values, SHARES, method="inverted_cdf")
    np.testing.assert_allclose([sketch.quantile(share) for share in SHARES], exact, rtol=1e-3)
    found = [sketch.quantile(share) for share in np.linspace(0.001, 1, 20)]
    assert all(low <= high for low, high in itertools.pairwise(found))
