"""Single ids from a table: what a reader of the whole table finds, from a small part of the bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import BIASES_SETTINGS, publish_biases

from nnn_core import storage
from nnn_core.digests import sha256
from nnn_core.embedded.side import Side
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.table import parts
from nnn_core.table._lookup import FoundRow, count_above
from nnn_core.table.manifest import Manifest, SearchReport, commit_version, read_manifest
from nnn_core.table.parts import TablePart
from nnn_core.table.reading import find, load_bias_table

ROWS = 3000
IDS = [f"é{number * 7:06d}" for number in range(ROWS)]


def make(uri: str, rows_per_group: int, cuts: tuple[str, ...] = ()) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "ROWS_PER_GROUP", rows_per_group)
        rng = np.random.default_rng(0)
        publish_biases(uri, 1, dict(zip(IDS, rng.random(ROWS).tolist(), strict=True)), cuts)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("table"))
    make(uri, 100, (IDS[1000], IDS[1550]))
    return uri


@given(st.lists(st.one_of(st.sampled_from(IDS), st.text("é0123456789", max_size=8)), max_size=12))
def test_lookup_finds_what_the_table_holds(table: str, ids: list[str]) -> None:
    loaded = load_bias_table(table)
    places = {row_id: row for row, row_id in enumerate(IDS)}
    for row_id, row in zip(ids, find(table, ids), strict=True):
        if row_id not in places:
            assert row is None
        else:
            at = places[row_id]
            assert row == FoundRow(row_id, float(loaded.bias[at]), tuple(loaded.mean_k[at].tolist()))


@pytest.mark.parametrize("row", [0, 99, 100, 999, 1000, 1549, 1550, ROWS - 1])
def test_ids_at_the_edges_of_groups_and_files(table: str, row: int) -> None:
    (found,) = find(table, [IDS[row]])
    assert found is not None
    assert found.bias == load_bias_table(table).bias[row]


@given(st.floats(-0.125, 1.125, width=32))
def test_ranks_are_those_of_all_biases(table: str, bias: float) -> None:
    assert count_above(table, read_manifest(table), bias) == int((load_bias_table(table).bias > bias).sum())


def test_ranks_of_biases_that_occur(table: str) -> None:
    loaded, manifest = load_bias_table(table), read_manifest(table)
    for bias in (loaded.bias.min(), loaded.bias.max(), *loaded.bias[::500]):
        assert count_above(table, manifest, float(bias)) == int((loaded.bias > bias).sum())


class Counted:
    """A stream that counts the bytes read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.bytes = stream, 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.bytes += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def test_few_bytes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One group of ids and one of numbers, of one file; the others are not opened."""
    uri, streams = str(tmp_path), []
    ids = [f"{number * 2654435761 % 2**32:08x}-{number:05d}" for number in range(60_000)]
    monkeypatch.setattr(parts, "ROWS_PER_GROUP", 1000)
    publish_biases(uri, 1, dict.fromkeys(ids, 1.0), ("80000000",))
    real = storage.open_input

    @contextlib.contextmanager
    def opened(place: str, sparse: bool = False) -> Iterator[Counted]:
        with real(place, sparse) as stream:
            streams.append(Counted(stream))
            yield streams[-1]

    monkeypatch.setattr(storage, "open_input", opened)
    assert find(uri, [ids[1234]])[0] is not None
    (stream,) = streams
    assert 0 < stream.bytes < sum(part.bytes for part in read_manifest(uri).files) / 4
    streams.clear()
    assert find(uri, [" ", "~"]) == [None, None]
    assert not streams


def test_what_is_damaged_is_not_believed(tmp_path: Path) -> None:
    """A page whose checksum is wrong, a file that was exchanged, a file that is gone."""
    uri = str(tmp_path)
    make(uri, 100)
    path = Path(uri) / read_manifest(uri).files[0].path
    whole = path.read_bytes()
    missed = 0
    for position in range(0, len(whole), 997):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :])
        with contextlib.suppress(CorruptArtifactError):
            missed += find(uri, [IDS[5]]) != find_whole(path, whole, uri)
    assert missed == 0
    path.write_bytes(whole[:50])
    with pytest.raises(CorruptArtifactError, match="is damaged"):
        find(uri, [IDS[5]])
    path.unlink()
    with pytest.raises(InputError, match="Without it the version is incomplete"):
        find(uri, [IDS[5]])


def find_whole(path: Path, whole: bytes, uri: str) -> list[FoundRow | None]:
    now = path.read_bytes()
    path.write_bytes(whole)
    found = find(uri, [IDS[5]])
    path.write_bytes(now)
    return found


def test_a_file_of_other_settings_is_refused(tmp_path: Path) -> None:
    uri = str(tmp_path)
    publish_biases(uri, 1, {"a": 1.0, "b": 2.0})
    publish_biases(uri, 2, {"a": 1.0, "b": 2.0, "c": 3.0})
    (one,), (other,) = (read_manifest(uri, version).files for version in (1, 2))
    (Path(uri) / one.path).write_bytes((Path(uri) / other.path).read_bytes())
    with pytest.raises(CorruptArtifactError, match="is not the file that the manifest of version 1 names"):
        find(uri, ["a"], 1)


def test_values_without_statistics_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long ids: writers leave out their statistics, or cut them."""
    ids = [f"{'x' * 70_000}{number}" for number in range(6)]
    rows = pa.table({"id": ids, "mean_k": pa.array([[0.0, n] for n in range(6)], pa.list_(pa.float32(), 2))})
    monkeypatch.setattr(parts, "ROWS_PER_GROUP", 2)
    part = TablePart.write(str(tmp_path), 1, 0, rows, BIASES_SETTINGS, {})
    side = Side(6, 0, "c" * 64, ())
    commit_version(str(tmp_path), Manifest(1, BIASES_SETTINGS, 8, side, side, SearchReport(("exact",)), (part,)))
    assert [row and row.bias for row in find(str(tmp_path), [*ids, ids[0][:-1]])] == [0, 1, 2, 3, 4, 5, None]
    assert sha256((tmp_path / part.path).read_bytes()) == part.sha256


def test_lookup_on_object_stores(store: str) -> None:
    make(store, 500, (IDS[1000],))
    loaded = load_bias_table(store)
    assert [row and row.bias for row in find(store, [IDS[1], IDS[2500], "z"])] == [
        loaded.bias[1],
        loaded.bias[2500],
        None,
    ]
