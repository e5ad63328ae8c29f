"""One id in a table of ten million: how long a lookup takes, and how much of the table it reads.

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
from nnn_core.embedded.corpus import ROWS_PER_PART
from nnn_core.embedded.side import Side
from nnn_core.table._lookup import find_in
from nnn_core.table.manifest import Manifest, SearchReport, commit_version, list_versions, read_manifest
from nnn_core.table.parts import BiasSettings, write_part

GRID = (1, 2, 4, 8, 16, 32, 64, 128)
SETTINGS = BiasSettings(128, 0.75, GRID, "image", "text", False, {"kind": "precomputed"}, "b" * 64)
LOOKUPS = 200


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
        files.append(write_part(uri, 1, number, table, SETTINGS, {}))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", default=str(Path(tempfile.gettempdir()) / "nnn-lookup"))
    args = parser.parse_args()
    uri = f"{args.folder}/{args.rows}"
    if not list_versions(uri):
        publish(uri, args.rows)
    print(json.dumps(measure(uri, args.rows), indent=1))


if __name__ == "__main__":
    main()
