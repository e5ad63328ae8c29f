"""Second looks are kept, grow, and are never taken for others."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnn_core import storage
from nnn_core.scoring.looks import _look_again, looks_path
from nnn_core.scoring.partials import Partial
from nnn_core.vectors import FloatMatrix

ROWS, KEPT, K = 7, 2, 5
SCORES = -np.sort(-np.random.default_rng(3).standard_normal((ROWS, K)).astype(np.float32), axis=1)


class World:
    """A partial, and who looks at its rows."""

    def __init__(self, folder: Path, name: str = "a" * 40) -> None:
        self.partial = Partial("c" * 64, 4, str(folder / "partials" / f"{name}.parquet"), ROWS, KEPT)
        self.file = folder / looks_path(f"{name}.parquet", K)
        self.looked: list[int] = []

    def look(self, number: int, rows: np.ndarray) -> FloatMatrix:
        assert number == 4
        self.looked += rows.tolist()
        return SCORES[rows]

    def ask(self, *rows: int) -> int:
        """Have rows looked at; asserts that the answer is right, and returns how many bytes were read."""
        found, read = _look_again(self.partial, np.array(rows), K, self.look)
        oracles.assert_same_bits(np.ascontiguousarray(found), SCORES[list(rows), KEPT:])
        return read


@given(st.lists(st.sets(st.integers(0, ROWS - 1), min_size=1), max_size=5))
def test_a_row_is_looked_at_once(tmp_path_factory: pytest.TempPathFactory, nights: list[set[int]]) -> None:
    world = World(tmp_path_factory.mktemp("looks"))
    for night, rows in enumerate(nights):
        size = world.file.stat().st_size if night else 0
        assert world.ask(*sorted(rows)) == size
    assert sorted(world.looked) == sorted(set().union(*nights))


def test_rows_with_fewer_references_are_filled_up(tmp_path: Path) -> None:
    """Of a candidate that leaves out its own pairs there are fewer scores than of another."""
    world = World(tmp_path)
    _look_again(world.partial, np.array([3]), K, lambda _, rows: SCORES[rows, :4])
    found, _ = _look_again(world.partial, np.array([2, 3]), K, world.look)
    np.testing.assert_array_equal(found, [SCORES[2, KEPT:], [*SCORES[3, KEPT:4], -np.inf]])


def test_a_damaged_file_is_looked_at_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path)
    world.ask(1, 3)
    whole = world.file.read_bytes()
    for place in range(0, len(whole), 97):
        world.file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        world.ask(1, 3)
    assert len(world.looked) > 2
    assert "is not a readable file of second looks" in caplog.text
    world.file.unlink()
    world.ask(1)


def test_a_file_under_another_name_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world, other = World(tmp_path), World(tmp_path, "b" * 40)
    world.ask(1, 3)
    storage.create(str(other.file), world.file.read_bytes())
    with caplog.at_level(logging.WARNING):
        other.ask(1, 3)
    assert other.looked == [1, 3]
    assert "its checksum does not match" in caplog.text
