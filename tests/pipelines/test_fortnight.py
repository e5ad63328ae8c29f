"""A corpus that grows and changes, against a bank that is a window of days: every day costs what changed.

Each day the table equals that of a full computation, byte for byte, and so few pairs are scored anew as the
changed files account for.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from corpora import gaussian, tree, write_vectors

from nnn_core.gates.catalogue import RULES
from pipelines.commands._foretold import Foretold
from pipelines.commands._parsing import parse_beam_options
from pipelines.commands._refresh import refresh
from pipelines.commands._refresh_flags import build_parser
from pipelines.config import RefreshConfig

DIM, ROWS_PER_FILE, ROWS_PER_DAY, K = 8, 50, 40, 4
OPTIONS = parse_beam_options([], build_parser())


@dataclass(frozen=True)
class Day:
    """What changed, as files of candidates written or deleted, and the bank's window."""

    written: dict[str, int]
    deleted: tuple[str, ...]
    window: range


def days(number: int, files: int, window: int) -> Iterator[Day]:
    """A first day with everything; then 2 % new files a day (at least one), and now and then an edit or a deletion."""
    rng = np.random.default_rng(14)
    names, seeds = [f"f{at:03d}" for at in range(files)], itertools.count(1000)
    yield Day({name: next(seeds) for name in names}, (), range(window))
    for day in range(1, number):
        new = [f"f{len(names) + at:03d}" for at in range(max(1, round(0.02 * len(names))))]
        written = {name: next(seeds) for name in new}
        deleted: tuple[str, ...] = ()
        if day % 3 == 1:
            written[str(rng.choice(names))] = next(seeds)
        if day % 4 == 2:
            deleted = (str(rng.choice([name for name in names if name not in written])),)
        names = [name for name in names + new if name not in deleted]
        yield Day(written, deleted, range(day, day + window))


def settle(folder: Path, day: Day, state: dict[str, int]) -> None:
    """Bring the files into the state of the day."""
    for name in day.deleted:
        (folder / "candidates" / f"{name}.parquet").unlink()
        del state[name]
    for name, seed in day.written.items():
        _write(folder / "candidates", name, f"{name}-", ROWS_PER_FILE, seed)
        state[name] = seed
    for date in day.window:
        if not (folder / "references" / f"day-{date:03d}.parquet").exists():
            _write(folder / "references", f"day-{date:03d}", f"query-{date}-", ROWS_PER_DAY, date)
    for path in (folder / "references").glob("day-*.parquet"):
        if int(path.stem[4:]) not in day.window:
            path.unlink()


def _write(folder: Path, name: str, prefix: str, rows: int, seed: int) -> None:
    scratch = folder / "scratch"
    write_vectors(scratch, [f"{prefix}{row}" for row in range(rows)], gaussian(rows, DIM, seed), 1)
    (scratch / "part-0.parquet").rename(folder / f"{name}.parquet")


def config_of(folder: Path, where: str) -> RefreshConfig:
    gates = folder / "gates.yaml"
    gates.write_text(yaml.safe_dump(dict.fromkeys(rule.name for rule in RULES)))
    return RefreshConfig(
        str(folder / "candidates" / "f*.parquet"),
        str(folder / "references" / "day-*.parquet"),
        str(folder / where / "table"),
        str(folder / where / "work"),
        k=K,
        alpha=0.75,
        reference_shard_rows=ROWS_PER_DAY,
        gates=str(gates),
    )


def data_files(table: Path) -> list[bytes]:
    """The bytes of the current version's files, in order."""
    newest = max((table / "versions").glob("*.json"))
    return [(table / part["path"]).read_bytes() for part in json.loads(newest.read_bytes())["files"]]


def simulate(folder: Path, number: int, files: int, window: int) -> None:
    state: dict[str, int] = {}
    for day, change in enumerate(days(number, files, window)):
        settle(folder, change, state)
        config = config_of(folder, "nightly")
        planned = Foretold.of(config, None, None).plan
        _, summary = refresh(config, None, OPTIONS)
        scored = summary["stages"]["score_candidates"].get("pairs", 0)
        candidates, bank = len(state) * ROWS_PER_FILE, window * ROWS_PER_DAY
        new = len(change.written) * ROWS_PER_FILE
        # New rows meet the whole bank, old ones the day that came.
        due = new * bank + (candidates - new) * (bank if day == 0 else ROWS_PER_DAY)
        fresh = config_of(folder, f"full-{day}")
        refresh(fresh, None, OPTIONS)
        assert data_files(folder / "nightly" / "table") == data_files(folder / f"full-{day}" / "table")
        share = scored / (candidates * bank)
        print(f"day {day}: {len(state)} files, {share:.2%} of all pairs scored, {due / (candidates * bank):.2%} due")
        assert scored <= 1.1 * min(due, candidates * bank)
        assert planned.pairs_todo == scored
    assert tree(folder / "nightly" / "table")


@pytest.mark.slow
def test_some_days(tmp_path: Path) -> None:
    simulate(tmp_path, 3, 4, 3)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_fortnight(tmp_path: Path) -> None:
    simulate(tmp_path, 14, 30, 14)
