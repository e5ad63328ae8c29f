"""What a whole refresh costs beyond its kernel.

    python tests/benchmarks/refresh.py --candidates 100000 --references 100000

Embeddings are written as .npy files, the kernel is timed on them by itself, then a refresh runs over
them in a process of its own, with each of the given numbers of threads, then the kernel again. The ratio
is that of the whole process (interpreter, imports, reading, checking, scoring, merging, publishing)
to the mean of the two kernel times.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def write_embeddings(folder: Path, side: str, rows: int, dim: int, seed: int) -> str:
    """clip-retrieval files of float32 vectors; returns their glob."""
    folder.mkdir(parents=True)
    for number, first in enumerate(range(0, rows, ROWS_PER_FILE)):
        count = min(ROWS_PER_FILE, rows - first)
        np.save(folder / f"img_emb_{number:04d}.npy", make_cloud(count, dim, seed + number, side))  # type: ignore[arg-type]
        ids = [f"{side}-{row:09d}" for row in range(first, first + count)]
        pq.write_table(pa.table({"id": ids}), folder / f"metadata_{number:04d}.parquet")
    return str(folder / "img_emb_*.npy")


def time_kernel(candidates: int, references: int, dim: int, k: int, threads: int) -> float:
    """Seconds for scoring alone, with everything in memory, extrapolated from ``KERNEL_ROWS`` candidates."""
    rows = min(KERNEL_ROWS, candidates)
    ids = pa.array([str(row) for row in range(rows)])
    block = VectorBlock(ids, ids, make_cloud(rows, dim, 1, "candidates"))
    bank = make_cloud(references, dim, 10_000, "references")
    parts = [ReferenceIndex.of(bank[at : at + ROWS_PER_SHARD]) for at in range(0, references, ROWS_PER_SHARD)]
    searches = [exact_search(part) for part in parts]
    score_block(VectorBlock(ids[:64], ids[:64], block.vectors[:64]), searches[0], k, threads)
    start = time.perf_counter()
    for search in searches:
        score_block(block, search, k, threads)
    return (time.perf_counter() - start) * candidates / rows


def time_refresh(folder: Path, globs: tuple[str, str], k: int, threads: int) -> tuple[float, dict]:  # type: ignore[type-arg]
    """Seconds of the whole process, and its summary."""
    name = folder / str(threads)
    command = [sys.executable, "-m", "pipelines.refresh", "--json", "--k", str(k), "--threads", str(threads)]
    command += [
        "--candidates",
        globs[0],
        "--references",
        globs[1],
        "--table",
        f"{name}/table",
        "--work",
        f"{name}/work",
    ]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, json.loads(done.stdout.splitlines()[-1])


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
            seconds, summary = time_refresh(folder, globs, args.k, threads)
            kernel = (before + time_kernel(*shape, cores)) / 2
            stages = {stage: figures["seconds"] for stage, figures in summary["stages"].items()}
            row = {"threads": threads, "candidates": args.candidates, "references": args.references}
            row |= {
                "seconds": round(seconds, 1),
                "kernel_seconds": round(kernel, 1),
                "ratio": round(seconds / kernel, 3),
            }
            print(json.dumps({**row, "stages": stages}), flush=True)


if __name__ == "__main__":
    main()
