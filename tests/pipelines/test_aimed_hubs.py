"""Vectors that were made to be found: a refresh lists them, says what they are aimed at, and tells of new ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import write_vectors
from fakes import grid_vectors

from nnn_core.table.manifest import read_manifest
from pipelines.commands import cli

DIM, TOPICS, BANK, QUERIES, ROWS = 32, 8, 320, 60, 200
AIMED = ("aimed-at-all", "aimed-at-one-topic")


def attacked() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates of which the last two are aimed, the bank by topic in turn, and queries like it."""
    rng = np.random.default_rng(1)
    topics = grid_vectors(TOPICS, DIM, 2) * 2 + grid_vectors(1, DIM, 3)
    asked = topics[np.arange(BANK + QUERIES) % TOPICS] + 0.15 * rng.standard_normal((BANK + QUERIES, DIM))
    bank, queries = asked[:BANK], asked[BANK:]
    apart = 2 * grid_vectors(1, DIM, 4) + 0.15 * rng.standard_normal((ROWS, DIM))
    innocent = 0.25 * topics[rng.integers(TOPICS, size=ROWS)] + apart
    candidates = np.concatenate([innocent, [bank.mean(axis=0)], [bank[::TOPICS].mean(axis=0)]])
    return tuple(unit(each) for each in (candidates, bank, queries))  # type: ignore[return-value]


def unit(vectors: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return rounded


NAMES = [*(f"c{row:03d}" for row in range(ROWS)), *AIMED]
CAPTIONS = [f"a picture of {name}" for name in NAMES]
CANDIDATES, REFERENCES, ASKED = attacked()


def refresh(folder: Path, rows: int, files: int, table: str = "table", work: str = "work", shard: int = 90) -> None:
    """A refresh of the first candidates, cut into so many files."""
    side = folder / f"candidates-{rows}-{files}"
    flags: dict[str, Any] = {
        "candidates": write_vectors(side, NAMES[:rows], CANDIDATES[:rows], files, captions=CAPTIONS),
        "references": write_vectors(folder / "references", [f"q{row:03d}" for row in range(BANK)], REFERENCES, 3),
        "validation": write_vectors(folder / "asked", [f"v{row}" for row in range(QUERIES)], ASKED, 1, NAMES[:QUERIES]),
        "validation-pair-id-column": "pair_id",
        "table": folder / table,
        "work": folder / work,
        "k": 16,
        "reference-shard-rows": shard,
    }
    accepted = [part for gate in ("gain", "agreement", "canary_overlap", "max_abs_bias") for part in ("--accept", gate)]
    arguments = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    assert cli.main(["refresh", *arguments, *accepted]) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 of the innocent candidates, version 2 with those that are aimed."""
    folder = tmp_path_factory.mktemp("hubs")
    refresh(folder, ROWS, 3)
    refresh(folder, ROWS + 2, 2)
    return folder


def test_what_is_aimed_at_queries_is_listed_with_them(folder: Path) -> None:
    manifest = read_manifest(str(folder / "table"))
    assert manifest.version == 2
    assert manifest.hubs is not None
    rows = manifest.hubs.read(str(folder / "table")).to_pylist()
    assert {row["id"] for row in rows} >= {*AIMED}
    first = np.argsort(-(ASKED.astype(np.float64) @ CANDIDATES.astype(np.float64).T), axis=1)[:, :10]
    for row in rows:
        place = NAMES.index(row["id"])
        assert row["n_10"] == int((first == place).sum())
        scores = REFERENCES.astype(np.float64) @ CANDIDATES[place].astype(np.float64)
        nearest = np.argsort(-scores)[:10]
        assert row["references"] == [f"q{at:03d}" for at in nearest]
        np.testing.assert_allclose(row["scores"], scores[nearest], atol=1e-6)
    at_one = next(row for row in rows if row["id"] == "aimed-at-one-topic")
    assert {int(name[1:]) % TOPICS for name in at_one["references"]} == {0}


def test_two_refreshes_are_compared(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    listed = tmp_path / "ids.txt"
    flags = ["--table", str(folder / "table"), "--since", "1", "--quarantine", str(listed), "--json"]
    assert cli.main(["table", "hubs", *flags]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {*AIMED} <= {*found["new"]}
    assert listed.read_text().splitlines() == found["ids"]
    words = (folder / "work" / "reports" / "latest.html").read_text()
    assert "<h1><bdi>Version 2 " in words
    assert f"{len(found['new'])} new" in words
    section = words[words.index('id="listed-hubs"') :]
    assert all(f"<bdi>a picture of {name}</bdi>" in section for name in AIMED)


@pytest.mark.slow
def test_the_list_does_not_depend_on_how_the_work_is_cut(folder: Path) -> None:
    refresh(folder, ROWS + 2, 5, "other-table", "other-work", 37)
    one, other = (read_manifest(str(folder / name)).hubs for name in ("table", "other-table"))
    assert one is not None
    assert other is not None
    assert one.sha256 == other.sha256
