"""Peak memory of a refresh, as the operating system accounts for it.

    python tests/benchmarks/memory.py --candidates 200000 --references 50000 --dim 512

Embeddings are written as clip-retrieval shards of 50,000 rows in float16, a refresh runs over them
in a process of its own, and its peak resident memory is printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_FILE = 50_000


def write_embeddings(folder: Path, prefix: str, rows: int, dim: int, seed: int) -> str:
    """clip-retrieval shards; returns their glob."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number, first in enumerate(range(0, rows, ROWS_PER_FILE)):
        count = min(ROWS_PER_FILE, rows - first)
        vectors = rng.standard_normal((count, dim), dtype=np.float32) + 0.3
        np.save(folder / f"img_emb_{number}.npy", vectors.astype(np.float16))
        ids = [f"{prefix}{row:09d}" for row in range(first, first + count)]
        pq.write_table(pa.table({"id": ids}), folder / f"metadata_{number}.parquet")
    return str(folder / "img_emb_*.npy")


def measure(candidates: int, references: int, dim: int, k: int, flags: list[str]) -> dict[str, float]:
    """Run one refresh in a child process: its peak resident memory in MiB, and seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "pipelines.refresh", "--k", str(k)]
        command += ["--candidates", write_embeddings(folder / "candidates", "c", candidates, dim, 1)]
        command += ["--references", write_embeddings(folder / "references", "r", references, dim, 2)]
        command += ["--table", str(folder / "table"), "--work", str(folder / "work"), *flags]
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=sys.stderr)
        seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"candidates": candidates, "references": references, "peak_mib": round(peak), "seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=200_000)
    parser.add_argument("--references", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--k", type=int, default=128)
    args, flags = parser.parse_known_args()
    print(json.dumps(measure(args.candidates, args.references, args.dim, args.k, flags)))


if __name__ == "__main__":
    main()
