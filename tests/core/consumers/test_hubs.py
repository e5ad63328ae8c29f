"""Hubs as a list: vectors that were made to be found are on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from corpora import brute_force_means
from fakes import grid_vectors
from tables import publish_biases

from nnn_core.consumers.hubs import Hubs
from nnn_core.errors import ConfigError, InputError, StorageError
from nnn_core.vectors import unit_vectors

DIM, TOPICS, BANK, ROWS, K = 32, 8, 400, 300, 16


def attacked() -> dict[str, float]:
    """Means of innocent candidates, and of two that were aimed: at all queries, and at those of one topic.

    Images and texts lie apart, as those of real models do, so an item that is aimed at texts lies among them.
    """
    rng = np.random.default_rng(1)
    topics = grid_vectors(TOPICS, DIM, 2) * 2 + grid_vectors(1, DIM, 3)
    bank = topics[np.arange(BANK) % TOPICS] + 0.15 * rng.standard_normal((BANK, DIM))
    apart = 2 * grid_vectors(1, DIM, 4) + 0.15 * rng.standard_normal((ROWS, DIM))
    innocent = 0.25 * topics[rng.integers(TOPICS, size=ROWS)] + apart
    at_all, at_one = bank.mean(axis=0), bank[::TOPICS].mean(axis=0)
    vectors, _, _ = unit_vectors(np.concatenate([innocent, [at_one], [at_all]]))
    queries, _, _ = unit_vectors(bank)
    means = brute_force_means(vectors, queries, [K])[:, 0]
    names = [*(f"c{row:03d}" for row in range(ROWS)), "aimed-at-one-topic", "aimed-at-all"]
    return dict(zip(names, means.tolist(), strict=True))


def test_vectors_that_are_aimed_at_queries_are_hubs(tmp_path: Path) -> None:
    means = attacked()
    publish_biases(uri := str(tmp_path), 1, means)
    found = Hubs.find(uri)
    assert found.ids == ["aimed-at-one-topic", "aimed-at-all"]
    values = np.array(list(means.values()))
    scale = 1.4826 * np.median(np.abs(values - np.median(values)))
    for row in found.rows.to_pylist():
        assert row["mean"] == np.float32(means[row["id"]])
        assert row["deviations"] == pytest.approx((means[row["id"]] - np.median(values)) / scale, rel=0.03)
    assert found.ids == sorted(found.ids, key=lambda name: (-np.float32(means[name]), name))
    missed = [name for name in means if name not in found.ids]
    assert max(means[name] for name in missed) <= min(means[name] for name in found.ids)


def publish(uri: str, version: int, hubs: dict[str, float]) -> None:
    publish_biases(uri, version, {**{f"n{row}": 0.1 + row / 1000 for row in range(50)}, **hubs})


def test_files_and_changes(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    publish(uri, 1, {"a": 0.9, "b": 0.9, "gone": 0.8})
    publish(uri, 2, {"a": 0.9, "b": 0.9, "new": 0.95})
    before, now = Hubs.find(uri, 1), Hubs.find(uri)
    assert (before.ids, now.ids, now.version, now.candidates) == (["a", "b", "gone"], ["new", "a", "b"], 2, 53)
    assert now.changes(before) == (["new"], ["gone"])
    now.write(output := str(tmp_path / "hubs.parquet"))
    now.write(output)
    assert pq.read_table(output).column("id").to_pylist() == now.ids
    with pytest.raises(StorageError, match="exists already"):
        before.write(output)
    now.quarantine(listed := str(tmp_path / "ids.txt"))
    assert Path(listed).read_text().splitlines() == now.ids


def test_what_cannot_be_listed(tmp_path: Path) -> None:
    publish(uri := str(tmp_path / "table"), 1, {"two\nlines": 0.9})
    with pytest.raises(InputError, match="has a line break"):
        Hubs.find(uri).quarantine(str(tmp_path / "ids.txt"))
    for least in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="must be a number above 0"):
            Hubs.find(uri, least=least)
    publish_biases(even := str(tmp_path / "even"), 1, {"a": 0.5, "b": 0.5})
    assert Hubs.find(even).ids == []
