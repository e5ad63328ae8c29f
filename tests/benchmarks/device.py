"""Throughput of the search on an accelerator, as a fraction of a plain bfloat16 product of the same shapes.

python tests/benchmarks/device.py --references 1000000 --dim 768 --k 16,128
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
    parser.add_argument("--k", default="128", help="such as 16,128 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    index = ReferenceIndex.of(make_cloud(args.references, args.dim, 2, "references"))
    candidates = make_cloud(args.candidates, args.dim, 1, "candidates")
    search = DeviceSearch.of(index, args.device)
    tiles = [
        Tile(vectors, np.zeros((len(vectors), 0), np.int64))
        for vectors in np.split(candidates, range(search.tile_rows, args.candidates, search.tile_rows))
    ]
    left = torch.from_numpy(candidates).to(args.device).bfloat16()
    right = search.vectors.bfloat16()

    def multiply() -> None:
        for at in range(0, args.candidates, search.tile_rows):
            for first in range(0, args.references, 1 << 16):
                left[at : at + search.tile_rows] @ right[first : first + (1 << 16)].T

    def seconds(program: Callable[[], None]) -> float:
        start = time.perf_counter()
        program()
        if args.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for k in map(int, args.k.split(",")):

        def find(k: int = k) -> None:
            for tile in tiles:
                search.top(tile, k)

        seconds(multiply), seconds(find)
        rounds = [(seconds(multiply), seconds(find)) for _ in range(args.rounds)]
        few = Tile(tiles[0].vectors[:64], tiles[0].own[:64])
        figures = {
            "device": torch.cuda.get_device_name() if args.device == "cuda" else args.device,
            "references": args.references,
            "dim": args.dim,
            "k": k,
            "candidates_per_second": round(args.candidates / statistics.median(find for _, find in rounds)),
            "fraction_of_bf16_product": round(statistics.median(product / find for product, find in rounds), 3),
            "same_bits_as_exact": np.array_equal(search.top(few, k), ExactSearch(index).top(few, k)),
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
