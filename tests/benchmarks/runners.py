"""What a refresh costs on an engine of this machine, beside the same refresh in this process.

    make test-runners                                # fetches the engines
    python tests/benchmarks/runners.py [--engines 'Flink cluster,Spark cluster'] [--rounds 3]
    python tests/benchmarks/runners.py --engines 'Flink cluster' --files 2000 --shards 20 --rounds 1

Vectors are ready-made. Every refresh is a first one, in a folder of its own; all take turns. Seconds are those of the
whole command, from its start to its end; the engine runs already. Memory is the highest that the processes of a kind
held together, as sampled; what they share, such as libraries, counts for each of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

from clouds import make_cloud
from clusters import ENGINES, ENVIRONMENT, descendants
from corpora import write_vectors
from large_graph import resident
from runner_parts import missing

from nnn_core.table.manifest import read_manifest

DIM = 64

#: What processes are told by, in their command lines.
KINDS = {
    "StandaloneSessionClusterEntrypoint": "job manager",
    "TaskManagerRunner": "task managers",
    "deploy.master.Master": "master",
    "deploy.worker.Worker": "Spark's workers",
    "CoarseGrainedExecutorBackend": "executors",
    "pipelines.commands.cli": "command",
    "nnn-worker": "Python workers",
    "SdkHarness": "Python workers",
    "job-server": "job server",
}


def write_side(folder: Path, side: Literal["candidates", "references"], rows: int, files: int) -> None:
    """Files of vectors that look like embeddings."""
    vectors = make_cloud(rows, DIM, 1 if side == "candidates" else 2, side)
    write_vectors(folder / side, [f"{side}-{row:07d}" for row in range(rows)], vectors, files)


class Watch(threading.Thread):
    """Samples the memory of all descendants until it is told to end."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = Counter[str]()
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(0.5):
            held = Counter[str]()
            for number, command in descendants(os.getpid()):
                kind = next((kind for word, kind in KINDS.items() if word in command), None)
                if kind:
                    held[kind] += resident(number)
            self.most |= held

    def end(self) -> Counter[str]:
        self._end.set()
        self.join()
        return self.most


def refresh(folder: Path, place: Path, flags: list[str], shard_rows: int) -> tuple[float, Counter[str], list[str]]:
    """Seconds, memory by kind of process, and digests of the table."""
    command = [
        *(sys.executable, "-m", "pipelines.commands.cli", "refresh", "--quiet", "--k", "16", "--k-max", "32"),
        *("--reference-shard-rows", str(shard_rows), "--table", str(place / "table"), "--work", str(place / "work")),
        *("--candidates", f"{folder}/candidates/*", "--references", f"{folder}/references/*", *flags),
    ]
    watch, start = Watch(), time.perf_counter()
    watch.start()
    subprocess.run(command, env=ENVIRONMENT, check=True)
    seconds = time.perf_counter() - start
    digests = [part.sha256 for part in read_manifest(str(place / "table")).files]
    shutil.rmtree(place)
    return seconds, watch.end(), digests


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", default="Flink cluster,Spark cluster", help="names as in tests/clusters.py")
    parser.add_argument("--candidates", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=8, help="of candidates")
    parser.add_argument("--references", type=int, default=12_000)
    parser.add_argument("--shards", type=int, default=4, help="of references")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    engines = [engine for engine in ENGINES if engine.name in args.engines.split(",")]
    for engine in engines:
        if reason := missing(*engine.parts):
            sys.exit(f"{engine.name}: {reason}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_side(folder, "candidates", args.candidates, args.files)
        write_side(folder, "references", args.references, args.shards)
        seconds: dict[str, list[float]] = {}
        memory: dict[str, Counter[str]] = {}
        tables = set()
        for number in range(args.rounds):
            for runner in [None, *engines]:
                who = runner.name if runner else "in process"
                with runner.running(folder / f"{who}-{number}") if runner else contextlib.nullcontext(([], None)) as on:
                    took, held, digests = refresh(folder, folder / "run", on[0], args.references // args.shards)
                seconds.setdefault(who, []).append(took)
                memory[who] = memory.get(who, Counter()) | held
                tables.add(tuple(digests))
                print(f"round {number + 1}: {who} {took:.1f} s", file=sys.stderr)
    assert len(tables) == 1, "the tables differ"
    print(f"{args.candidates:,} x {args.references:,}, {args.files:,} files x {args.shards:,} shards; same bytes")
    here = statistics.median(seconds["in process"])
    for who, taken in seconds.items():
        median = statistics.median(taken)
        held_by = ", ".join(f"{kind} {size:,.0f}" for kind, size in sorted(memory[who].items()))
        print(f"{who:<18} {median:6.1f} s ({median - here:+.1f})   MiB: {held_by}")


if __name__ == "__main__":
    main()
