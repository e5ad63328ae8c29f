"""The memory that a plan foretells, and what the operating system then accounts for, of ten different refreshes.

    python tests/benchmarks/planned_memory.py              # all, in ten minutes
    python tests/benchmarks/planned_memory.py small images

Each refresh runs in a process of its own, with two threads. A line of the table that is printed has both in MiB, their
quotient, and the stage in which the plan expects the most. Memory does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from memory import write_embeddings
from PIL import Image

ENCODER = Path(__file__).parents[2] / "nnn_core" / "demo" / "encoder"
_WORDS = ("a", "brown", "dog", "runs", "over", "the", "wide", "green", "meadow", "while", "one", "cat", "sits", "under")


@dataclass(frozen=True)
class Job:
    """A refresh: what it is, and what writes its input to a folder and returns its flags.

    Attributes:
        title: a few words for the table.
        write: what writes the input to a folder and returns the flags.
        again: what changes the input for a second refresh, which is the one that counts; None for the first.
    """

    title: str
    write: Callable[[Path], list[str]]
    again: Callable[[Path], object] | None = None


def vectors(candidates: int, references: int, dim: int, *flags: str) -> Callable[[Path], list[str]]:
    """Ready-made vectors in files of 50,000 rows."""

    def write(folder: Path) -> list[str]:
        globs = [write_embeddings(folder / "c", "c", candidates, dim, 1)]
        globs.append(write_embeddings(folder / "r", "r", references, dim, 2))
        return ["--candidates", globs[0], "--references", globs[1], *flags]

    return write


def judged(folder: Path) -> list[str]:
    """Vectors that 1,000 held-out queries judge, each of which one candidate answers."""
    flags, rng = vectors(60_000, 20_000, 256)(folder), np.random.default_rng(3)
    values = pa.FixedSizeListArray.from_arrays(pa.array(rng.standard_normal(256_000, np.float32)), 256)
    answers = [f"c{row:09d}" for row in range(1000)]
    table = pa.table({"id": [f"v{row}" for row in range(1000)], "pair": answers, "v": values})
    pq.write_table(table, folder / "v.parquet")
    named = ["--validation-pair-id-column", "pair", "--validation-vector-column", "v"]
    return [*flags, "--validation", str(folder / "v.parquet"), *named, "--tune"]


def images(folder: Path) -> list[str]:
    """600 pictures as single files, and captions."""
    (folder / "c").mkdir()
    rng = np.random.default_rng(0)
    for number in range(600):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
        coarse.resize((320, 240)).save(folder / "c" / f"{number}.jpg")
    return ["--candidates", str(folder / "c" / "*.jpg"), *_captions(folder, "r", 3000), *_encoder()]


def texts(folder: Path) -> list[str]:
    """Captions on both sides, which are alike."""
    _, candidates = _captions(folder, "c", 10_000)
    sides = ["--candidates", candidates, *_captions(folder, "r", 3000)]
    how = ["--candidate-modality", "text", "--reference-modality", "text", "--accept", "near_copies"]
    return [*sides, *_encoder(), *how]


def _captions(folder: Path, side: str, rows: int) -> list[str]:
    rng = np.random.default_rng(rows)
    lines = (" ".join(rng.choice(_WORDS, 9)) for _ in range(rows))
    records = ({"id": f"{side}{row}", "caption": f"{line} {row}"} for row, line in enumerate(lines))
    path = folder / f"{side}.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return ["--references", str(path)]


def _encoder() -> list[str]:
    return ["--encoder", f"open_clip:local-dir:{ENCODER}"]


def small_files(folder: Path) -> list[str]:
    """500 files of 100 candidates, and a bank of 30 files of 500."""
    for side, files, rows in (("c", 500, 100), ("r", 30, 500)):
        for number in range(files):
            place = folder / f"{side}-{number}"
            write_embeddings(place, f"{side}{number}-", rows, 128, 1000 * files + number)
    return ["--candidates", str(folder / "c-*" / "*.npy"), "--references", str(folder / "r-*" / "*.npy")]


def days(folder: Path) -> list[str]:
    """Three files of candidates, and a bank of 14 days."""
    for side, files, rows in (("c", 3, 30_000), ("r", 14, 3_000)):
        for number in range(files):
            write_embeddings(folder / f"{side}-{number}", f"{side}{number}-", rows, 256, 1000 * files + number)
    return ["--candidates", str(folder / "c-*" / "*.npy"), "--references", str(folder / "r-*" / "*.npy")]


def next_day(folder: Path) -> None:
    """Vectors of a file of candidates are others, and a day is replaced."""
    for seed, side, ids, rows in ((5, "c-0", "c0-", 30_000), (6, "r-0", "new-", 3_000)):
        shutil.rmtree(folder / side)
        write_embeddings(folder / side, ids, rows, 256, seed)


JOBS = {
    "small": Job("3,000 x 2,000 vectors of 64", vectors(3_000, 2_000, 64, "--search", "exact")),
    "k16": Job("60,000 x 12,000 of 64, --k-max 16", vectors(60_000, 12_000, 64, "--search", "exact", "--k-max", "16")),
    "prefilter": Job("60,000 x 20,000 of 512, prefilter", vectors(60_000, 20_000, 512, "--search", "prefilter")),
    "wide": Job("50,000 x 20,000 of 1,024, exact", vectors(50_000, 20_000, 1024, "--search", "exact")),
    "large": Job("60,000 x 100,000 of 512", vectors(60_000, 100_000, 512)),
    "judged": Job("60,000 x 20,000 of 256, 1,000 queries, --tune", judged),
    "images": Job("600 images x 3,000 captions", images),
    "texts": Job("10,000 x 3,000 captions", texts),
    "files": Job("500 files of 100 x 30 of 500, of 128", small_files),
    "night": Job("90,000 x 42,000 of 256, second night", days, next_day),
}


def measure(job: Job) -> dict[str, float | str]:
    """What was planned and what was done, in MiB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = [*job.write(folder), "--threads", "2", "--table", str(folder / "table"), "--work", str(folder / "work")]
        if job.again:
            _run("refresh", flags)
            job.again(folder)
        plan = json.loads(_run("plan", [*flags, "--json"]).splitlines()[-1])
        done = json.loads(_run("refresh", [*flags, "--with-plan", "--json"]).splitlines()[-1])
    (peak,) = _found(done, "peak_bytes", "planned")
    assert peak["planned"] == round(plan["peak_bytes"]), "the plan is that of the run"
    memory = plan["memory"]
    stages = {name: value for name, value in memory.items() if name not in ("process", "model")}
    return {**{name: value / 2**20 for name, value in peak.items()}, "most": max(stages, key=lambda each: stages[each])}


def _run(command: str, flags: Sequence[str]) -> str:
    call = [sys.executable, "-m", "pipelines.commands.cli", command, *flags]
    return subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout


def _found(value: object, name: str, with_key: str) -> list[dict[str, float]]:
    """The objects of that name, however deep, that have such a key."""
    if not isinstance(value, dict):
        return []
    here = [value[name]] if isinstance(value.get(name), dict) and with_key in value[name] else []
    return [*here, *(each for inner in value.values() for each in _found(inner, name, with_key))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", help=f"of {', '.join(JOBS)} (default: all)")
    chosen = parser.parse_args().jobs or list(JOBS)
    print("| job | planned, MiB | done, MiB | planned / done | most in |")
    print("|---|---|---|---|---|")
    for name in chosen:
        found = measure(JOBS[name])
        planned, done = float(found["planned"]), float(found["done"])
        print(
            f"| {JOBS[name].title} | {planned:,.0f} | {done:,.0f} | {planned / done:.2f} | {found['most']} |",
            flush=True,
        )


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
