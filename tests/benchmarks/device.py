"""Throughput of the search on an accelerator, as a fraction of a plain bfloat16 product of the same shapes.

python tests/benchmarks/device.py --references 1000000 --dim 768 --k 128
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from clouds import make_cloud

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search._device import DeviceSearch
from nnn_core.scoring.search._selection import Tile
from nnn_core.scoring.search.exact import ExactSearch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--candidates", type=int, default=16_384)
    parser.add_argument("--references", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--k", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    index = ReferenceIndex.of(make_cloud(args.references, args.dim, 2, "references"))
    candidates = make_cloud(args.candidates, args.dim, 1, "candidates")
    search = DeviceSearch.of(index, args.device)
    tiles = [
        Tile(
            candidates[at : at + search.tile_rows], np.zeros((len(candidates[at : at + search.tile_rows]), 0), np.int64)
        )
        for at in range(0, args.candidates, search.tile_rows)
    ]
    on_device = torch.tensor(candidates, device=args.device).bfloat16()

    def multiply() -> None:
        for at in range(0, args.candidates, search.tile_rows):
            for first in range(0, args.references, 1 << 16):
                on_device[at : at + search.tile_rows] @ search.rounded[first : first + (1 << 16)].T

    def find() -> None:
        for tile in tiles:
            search.top(tile, args.k)

    def seconds(program: Callable[[], None]) -> float:
        start = time.perf_counter()
        program()
        if args.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds(multiply), seconds(find)
    rounds = [(seconds(multiply), seconds(find)) for _ in range(args.rounds)]
    few = Tile(tiles[0].vectors[:64], tiles[0].own[:64])
    same = np.array_equal(search.top(few, args.k), ExactSearch(index).top(few, args.k))
    found = statistics.median(find for _, find in rounds)
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name() if args.device == "cuda" else args.device,
                "references": args.references,
                "dim": args.dim,
                "k": args.k,
                "candidates_per_second": round(args.candidates / found),
                "fraction_of_bf16_product": round(statistics.median(gemm / find for gemm, find in rounds), 3),
                "same_bits_as_exact": same,
            }
        )
    )


if __name__ == "__main__":
    main()
