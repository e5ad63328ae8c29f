"""One id in a table of ten million: how long it takes, and how much of the table it reads. And 200 hits of a query.

    python tests/benchmarks/lookup.py [--rows 10000000] [--folder DIR]

The table is written once (with the means of eight values of k) and kept in --folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import numpy as np
import pyarrow as pa

from nnn_core import storage
from nnn_core.consumers.rerank import Reranker
from nnn_core.embedded.corpus import ROWS_PER_PART
from nnn_core.embedded.side import Side
from nnn_core.table._lookup import find_in
from nnn_core.table.manifest import Manifest, SearchReport, commit_version, list_versions, read_manifest
from nnn_core.table.parts import BiasSettings, TablePart
from nnn_core.table.reading import load_bias_table

GRID = (1, 2, 4, 8, 16, 32, 64, 128)
SETTINGS = BiasSettings(128, 0.75, GRID, "image", "text", False, {"kind": "precomputed"}, "b" * 64)
LOOKUPS = 200
HITS = 200


class Counted:
    """A stream that counts the bytes read from it."""

    total = 0

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        Counted.total += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def id_of(number: int) -> str:
    """Ids as of photographs in a bucket: a common beginning, then what hardly compresses."""
    return f"photos/{number:09d}-{number * 2654435761 % 2**32:08x}.jpg"


def publish(uri: str, rows: int) -> None:
    rng, files = np.random.default_rng(0), []
    for number, first in enumerate(range(0, rows, ROWS_PER_PART)):
        count = min(ROWS_PER_PART, rows - first)
        top = np.sort(rng.normal(0.28, 0.02, (count, len(GRID))).astype(np.float32), axis=1)[:, ::-1]
        means = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(top).ravel()), len(GRID))
        table = pa.table({"id": [id_of(first + row) for row in range(count)], "mean_k": means})
        files.append(TablePart.write(uri, 1, number, table, SETTINGS, {}))
    side = Side(rows, 0, "c" * 64, ())
    commit_version(uri, Manifest(1, SETTINGS, 512, side, side, SearchReport(("exact",)), tuple(files)))


@contextlib.contextmanager
def counting() -> Iterator[None]:
    real = storage.open_input

    @contextlib.contextmanager
    def opened(uri: str, sparse: bool = False) -> Iterator[Counted]:
        with real(uri, sparse) as stream:
            yield Counted(stream)

    storage.open_input = opened  # type: ignore[assignment]
    try:
        yield
    finally:
        storage.open_input = real


def measure(uri: str, rows: int) -> dict[str, float]:
    manifest, rng, seconds, read = read_manifest(uri), random.Random(0), [], []
    find_in(uri, manifest, [id_of(0)])  # imports
    with counting():
        for number in range(LOOKUPS):
            wanted = id_of(rng.randrange(rows)) + ("" if number % 10 else "-none")
            Counted.total, start = 0, time.perf_counter()
            manifest = read_manifest(uri)
            (row,) = find_in(uri, manifest, [wanted])
            seconds.append(time.perf_counter() - start)
            read.append(Counted.total)
            assert (row is not None) == bool(number % 10)
    size = sum(part.bytes for part in manifest.files)
    return {
        "rows": rows,
        "table_bytes": size,
        "lookup_ms_median": 1000 * statistics.median(seconds),
        "lookup_ms_p99": 1000 * sorted(seconds)[int(0.99 * LOOKUPS)],
        "bytes_read_median": statistics.median(read),
        "bytes_read_max": max(read),
        "share_read_max_percent": 100 * max(read) / size,
    }


def measure_reranker(uri: str, rows: int, folder: Path) -> dict[str, float]:
    """200 hits of a query, never the same ones, with biases that are mapped into memory."""
    if not folder.exists():
        start = time.perf_counter()
        table = load_bias_table(uri)
        loaded = time.perf_counter() - start
        Reranker.of(table.ids, table.bias).save(str(folder))
        print(
            f"read in {loaded:.1f} s, built and saved in {time.perf_counter() - start - loaded:.1f} s", file=sys.stderr
        )
        del table
    before, start = resident(), time.perf_counter()
    reranker = Reranker.open(str(folder))
    opened = time.perf_counter() - start
    rng, found, ranked = random.Random(0), [], []
    reranker.rerank([id_of(0)], [0.5])  # imports and compiles
    for _ in range(1000):
        ids = [id_of(rng.randrange(rows)) for _ in range(HITS)]
        scores = [rng.random() for _ in ids]
        start = time.perf_counter()
        rows_found = reranker.index.find(ids)
        biases = reranker.bias[rows_found]
        found.append(time.perf_counter() - start)
        assert (rows_found >= 0).all()
        assert len(biases) == HITS
        start = time.perf_counter()
        reranker.rerank(ids, scores, 10)
        ranked.append(time.perf_counter() - start)
    return {
        "hits": HITS,
        "open_ms": 1000 * opened,
        "disk_bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "resident_growth_bytes": resident() - before,
        **{f"lookup_ms_{name}": 1000 * value for name, value in spread(found).items()},
        **{f"rerank_ms_{name}": 1000 * value for name, value in spread(ranked).items()},
    }


def spread(seconds: list[float]) -> dict[str, float]:
    return {"least": min(seconds), "median": statistics.median(seconds), "p99": sorted(seconds)[-len(seconds) // 100]}


def resident() -> int:
    """Bytes of this process in memory, those of mapped files included."""
    return 1024 * int(next(line for line in Path("/proc/self/status").open() if line.startswith("VmRSS")).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", default=str(Path(tempfile.gettempdir()) / "nnn-lookup"))
    args = parser.parse_args()
    uri = f"{args.folder}/{args.rows}"
    if not list_versions(uri):
        publish(uri, args.rows)
    print(json.dumps(measure(uri, args.rows), indent=1))
    print(json.dumps(measure_reranker(uri, args.rows, Path(args.folder) / f"{args.rows}-reranker"), indent=1))


if __name__ == "__main__":
    main()
