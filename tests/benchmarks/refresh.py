"""What a whole refresh costs beyond its kernel, and which part of it takes how much.

    python tests/benchmarks/refresh.py --candidates 100000 --references 100000

Embeddings are written as .npy files, the kernel is timed on them by itself, then a refresh runs over
them in a process of its own, with each of the given numbers of threads, then the kernel again. The ratio
is that of the whole process (interpreter, imports, reading, checking, scoring, merging, publishing)
to the mean of the two kernel times; by the clock, and by the time of the processor, which other programs disturb less.

``shares`` are the parts of the process's time by the clock. ``start`` is all that no stage counts: the interpreter and
its imports, Beam's graph and bundles, the digests of the input files, and the report.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from clouds import make_cloud

from nnn_core.embedded.shards import ROWS_PER_SHARD, VectorBlock
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.searches import exact_search

ROWS_PER_FILE = 50_000

#: Candidates that the kernel is timed on; its time grows in proportion.
KERNEL_ROWS = 16_384

#: Candidates that are scored before, after which every search has made its choice.
WARM_ROWS = 4096


def write_embeddings(folder: Path, side: str, rows: int, dim: int, seed: int) -> str:
    """clip-retrieval files of float32 vectors; returns their glob."""
    folder.mkdir(parents=True)
    for number, first in enumerate(range(0, rows, ROWS_PER_FILE)):
        count = min(ROWS_PER_FILE, rows - first)
        np.save(folder / f"img_emb_{number:04d}.npy", make_cloud(count, dim, seed + number, side))  # type: ignore[arg-type]
        ids = [f"{side}-{row:09d}" for row in range(first, first + count)]
        pq.write_table(pa.table({"id": ids}), folder / f"metadata_{number:04d}.parquet")
    return str(folder / "img_emb_*.npy")


@dataclass(frozen=True)
class Spent:
    """Time that something took, in seconds.

    Attributes:
        clock: by the clock.
        processor: of the processor, summed over its cores.
    """

    clock: float
    processor: float


def time_kernel(candidates: int, references: int, dim: int, k: int, threads: int) -> Spent:
    """Scoring alone, with everything in memory and made ready, extrapolated from ``KERNEL_ROWS`` candidates."""
    rows = min(KERNEL_ROWS, candidates)
    ids = pa.array([str(row) for row in range(rows)])
    block = VectorBlock(ids, ids, make_cloud(rows, dim, 1, "candidates"))
    bank = make_cloud(references, dim, 10_000, "references")
    parts = [ReferenceIndex.of(bank[at : at + ROWS_PER_SHARD]) for at in range(0, references, ROWS_PER_SHARD)]
    searches = [exact_search(part) for part in parts]
    for search in searches:  # compiles, chooses how to search, and rounds the references
        score_block(VectorBlock(ids[:WARM_ROWS], ids[:WARM_ROWS], block.vectors[:WARM_ROWS]), search, k, threads)
    start, before = time.perf_counter(), time.process_time()
    for search in searches:
        score_block(block, search, k, threads)
    whole = candidates / rows
    return Spent((time.perf_counter() - start) * whole, (time.process_time() - before) * whole)


def time_refresh(folder: Path, globs: tuple[str, str], k: int, threads: int) -> tuple[Spent, dict[str, Any]]:
    """The whole process, and its summary."""
    name = folder / str(threads)
    command = [
        sys.executable,
        "-m",
        "pipelines.refresh",
        "--json",
        "--k",
        str(k),
        "--k-max",
        str(k),
        "--threads",
        str(threads),
    ]
    command += ["--candidates", globs[0], "--references", globs[1]]
    command += ["--table", f"{name}/table", "--work", f"{name}/work"]
    start, before = time.perf_counter(), _processor_of_children()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    spent = Spent(time.perf_counter() - start, _processor_of_children() - before)
    return spent, json.loads(done.stdout.splitlines()[-1])


def _processor_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def shares_of(seconds: float, stages: dict[str, dict[str, float]]) -> dict[str, float]:
    """The part of each stage in a process that took so many seconds, and of what no stage counts."""
    counted = {stage: figures["seconds"] / seconds for stage, figures in stages.items()}
    return {name: round(share, 3) for name, share in {"start": 1 - sum(counted.values()), **counted}.items()}


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--references", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--k", type=int, default=128)
    parser.add_argument("--threads", default=str(cores), help="comma-separated (default: %(default)s)")
    args = parser.parse_args()
    shape = (args.candidates, args.references, args.dim, args.k)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        globs = (
            write_embeddings(folder / "candidates", "candidates", args.candidates, args.dim, 1),
            write_embeddings(folder / "references", "references", args.references, args.dim, 10_000),
        )
        for threads in map(int, args.threads.split(",")):
            before = time_kernel(*shape, cores)
            spent, summary = time_refresh(folder, globs, args.k, threads)
            after = time_kernel(*shape, cores)
            kernel = Spent((before.clock + after.clock) / 2, (before.processor + after.processor) / 2)
            row = {"threads": threads, "candidates": args.candidates, "references": args.references}
            row |= {"seconds": round(spent.clock, 1), "kernel_seconds": round(kernel.clock, 1)}
            row |= {"processor": round(spent.processor, 1), "kernel_processor": round(kernel.processor, 1)}
            row |= {
                "ratio": round(spent.clock / kernel.clock, 3),
                "processor_ratio": round(spent.processor / kernel.processor, 3),
            }
            print(json.dumps({**row, "shares": shares_of(spent.clock, summary["stages"])}), flush=True)


if __name__ == "__main__":
    main()
