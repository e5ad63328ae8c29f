"""What the pipeline itself costs where there are very many tiny shards.

    python tests/benchmarks/large_graph.py --candidates 2500,10000 --banks 5
    python tests/benchmarks/large_graph.py --candidates 10000 --banks 50      # 500,000 tasks

Candidates are Parquet files of a few ready-made vectors, the bank is one small file for each of its shards, so that
next to nothing is left to compute. A task is one shard of candidates against one shard of the bank, with the file that
it leaves. A refresh runs over them on the local runner, in a process of its own whose memory is looked at twice a
second; then a bare loop calls the same functions without Beam on the first ``--bare`` files, in this process.

Printed for each size: seconds in all, milliseconds for each task by the clock and by the processors (with the start of
the program and all that the loop does not do: sums, table, report), those of the bare loop, the highest resident memory
in MiB, and what it was at each tenth of the time. ``TMPDIR`` says on which disk; each task writes one file to it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nnn_core.embedded.corpus import Corpus, embedded_shards
from nnn_core.embedded.embedding import EmbeddingRequest, embed_shard
from nnn_core.embedded.shards import EmbeddedInput, read_ids, read_shard
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.readers import Columns
from nnn_core.scoring.bank import Bank, ReferenceIndex
from nnn_core.scoring.merged import _merge_partials
from nnn_core.scoring.partials import Partial
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.searches import exact_search
from nnn_core.scoring.topk import grid_of
from nnn_core.table.parts import RowSlice

#: Vectors of each file of the bank. A group may hold no more, so that each file is a shard of the bank.
BANK_ROWS = 32
DIM, K = 16, 8
SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Sizes:
    """How many files of how many rows."""

    candidates: int
    bank: int
    rows: int

    @property
    def tasks(self) -> int:
        return self.candidates * self.bank


def write_files(folder: Path, side: str, files: int, rows: int, seed: int) -> str:
    """Parquet files of ids and vectors; returns their glob."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(files):
        vectors = rng.standard_normal((rows, DIM), dtype=np.float32)
        ids = [f"{side}-{number:06d}-{row}" for row in range(rows)]
        table = pa.table({"id": ids, "vector": pa.FixedSizeListArray.from_arrays(vectors.ravel(), DIM)})
        pq.write_table(table, folder / f"{number:06d}.parquet")
    return str(folder / "*.parquet")


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock, and of processors, which other programs do not lengthen."""

    clock: float
    processors: float

    @classmethod
    def now(cls, who: int) -> Spent:
        usage = resource.getrusage(who)
        return cls(time.perf_counter(), usage.ru_utime + usage.ru_stime)

    def since(self, start: Spent, tasks: int) -> Spent:
        """Milliseconds a task."""
        return Spent(1000 * (self.clock - start.clock) / tasks, 1000 * (self.processors - start.processors) / tasks)


def time_refresh(folder: Path, globs: Sequence[str], tasks: int, flags: Sequence[str]) -> tuple[Spent, list[float]]:
    """What a whole refresh takes, and its resident memory in MiB at every ``SAMPLE_SECONDS``."""
    command = [sys.executable, "-m", "pipelines.refresh", "--k", str(K), "--threads", "1"]
    command += ["--candidates", globs[0], "--references", globs[1], "--reference-shard-rows", str(BANK_ROWS)]
    command += ["--table", str(folder / "table"), "--work", str(folder / "work"), *flags]
    start, memory = Spent.now(resource.RUSAGE_CHILDREN), []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            memory.append(resident(process.pid))
            time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"the refresh failed with exit code {process.returncode}")
    return Spent.now(resource.RUSAGE_CHILDREN).since(start, tasks), [sample for sample in memory if sample]


def resident(pid: int) -> float:
    """MiB that the process holds; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def time_bare(folder: Path, globs: Sequence[str], files: int) -> Spent:
    """What a loop over the same functions takes, for the first ``files`` files of candidates."""
    work = str(folder / "bare")
    requests = [EmbeddingRequest(side, Columns(), None, work) for side in ("image", "text")]
    references = [embed(name, requests[1]) for name in list_shards(globs[1], "--references")]
    bank = Bank.gather(references, BANK_ROWS, None, 0, work, False)
    searches = [exact_search(ReferenceIndex.load(shard, False)) for shard in bank.shards]
    warm = read_shard(bank.shards[0].parts[0])
    score_block(warm, searches[0], K, 1)  # loads compiled code
    names = list_shards(globs[0], "--candidates")[:files]
    start = Spent.now(resource.RUSAGE_SELF)
    candidates = [embed(name, requests[0]) for name in names]
    corpus = Corpus.gather(candidates, 0, work)
    for shard in embedded_shards(candidates):
        block, partials = read_shard(shard), []
        for reference, search in zip(bank.shards, searches, strict=True):
            partial = Partial.of(shard, reference, K, False, work)
            partial.write(score_block(block, search, K, 1), search.name)
            partials.append(partial)
        top, *_ = _merge_partials(partials, K, lambda number, rows: np.zeros((len(rows), K), np.float32))
        RowSlice.cut(read_ids(shard), top.means(grid_of(K, K)), shard.source, corpus.boundaries)
    return Spent.now(resource.RUSAGE_SELF).since(start, len(names) * len(bank.shards))


def embed(name: Any, request: EmbeddingRequest) -> EmbeddedInput:
    """One file of vectors."""
    return embed_shard(request.plan(describe_shard(name)), request, None)


def measure(sizes: Sizes, files: int, flags: Sequence[str]) -> dict[str, Any]:
    """Run both; the record of one size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        globs = [
            write_files(folder / "candidates", "c", sizes.candidates, sizes.rows, 1),
            write_files(folder / "references", "r", sizes.bank, BANK_ROWS, 2),
        ]
        whole, memory = time_refresh(folder, globs, sizes.tasks, flags)
        bare = time_bare(folder, globs, min(files, sizes.candidates))
    tenths = [round(memory[len(memory) * tenth // 10]) for tenth in range(10)]
    return {
        "candidate_shards": sizes.candidates,
        "bank_shards": sizes.bank,
        "tasks": sizes.tasks,
        "seconds": round(whole.clock * sizes.tasks / 1000, 1),
        "ms_a_task": round(whole.clock, 2),
        "cpu_ms_a_task": round(whole.processors, 2),
        "bare_cpu_ms_a_task": round(bare.processors, 2),
        "overhead_cpu_ms_a_task": round(whole.processors - bare.processors, 2),
        "peak_mib": round(max(memory)),
        "mib_at_tenths": [*tenths, round(memory[-1])],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", default="2500,10000", help="files, comma-separated (default: %(default)s)")
    parser.add_argument("--banks", default="5", help="files, comma-separated (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=4, help="vectors of a file of candidates (default: %(default)s)")
    parser.add_argument("--bare", type=int, default=200, help="files of the bare loop (default: %(default)s)")
    args, flags = parser.parse_known_args()
    for bank in map(int, args.banks.split(",")):
        for candidates in map(int, args.candidates.split(",")):
            print(json.dumps(measure(Sizes(candidates, bank, args.rows), args.bare, flags)), flush=True)


if __name__ == "__main__":
    main()
