"""What judging costs, relative to scoring the same queries as a bank.

    python tests/benchmarks/judging.py [--rows N] [--queries N] [--rounds N]

Judging counts the candidates that are ahead of each query's answer, at 12 values of alpha for each k of a grid and
without correction: up to 128, which is the default, and up to 8,192. Scoring finds the 128 highest scores of each
candidate in a bank of these queries, by the search that a worker would choose and by the exact one. All run in turns
in this very process, each with one thread; the figures are medians over the rounds, of seconds and of ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import threadpoolctl

sys.path.insert(0, str(Path(__file__).parent))
from clouds import make_cloud
from scoring import DIM, as_block, sgemm, take_turns

from nnn_core.evaluation._counting import Goals, count_ahead
from nnn_core.evaluation.ranks import Targets
from nnn_core.evaluation.summary import Request
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.scoring.search.searches import exact_search
from nnn_core.vectors import FloatMatrix

GRID = tuple(2**power for power in range(14))


def means_of(candidates: FloatMatrix, bank: FloatMatrix) -> FloatMatrix:
    """Means over each k of the grid, near enough for a measurement of time."""
    blocks = []
    for first in range(0, len(candidates), 1024):
        scores = -np.sort(-(candidates[first : first + 1024] @ bank.T), axis=1)
        sums = np.cumsum(scores, axis=1, dtype=np.float64)
        blocks.append(np.stack([sums[:, k - 1] / k for k in GRID], axis=1))
    return np.concatenate(blocks).astype(np.float32)


def answers(queries: FloatMatrix, candidates: FloatMatrix, ids: Sequence[str]) -> list[list[str]]:
    """An answer to each query, at ranks from 1 to a third of all that are spread evenly on a logarithmic scale."""
    order = np.argsort(-(queries @ candidates.T), axis=1)
    ranks = np.exp(np.random.default_rng(0).uniform(0, np.log(len(ids) / 3), len(queries))).astype(np.int64)
    return [[ids[order[query, rank - 1]]] for query, rank in enumerate(ranks)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=16_384, help="candidates")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    candidates = make_cloud(args.rows, DIM, 1, "candidates")
    queries = make_cloud(args.queries, DIM, 3, "references")
    block = as_block(candidates)
    ids = block.ids.to_pylist()
    means = means_of(candidates, make_cloud(max(GRID), DIM, 2, "references"))
    relevant = answers(queries, candidates, ids)
    goals = Goals.of(Targets.find(queries, relevant, candidates, ids, means), relevant)
    index = ReferenceIndex.of(queries)
    chosen = exact_search(index, "auto")

    def judge(grid: tuple[int, ...]) -> Callable[[], object]:
        points = Request(None, grid).points
        return lambda: count_ahead(queries, goals, candidates, ids, means, GRID, points)

    programs = {
        "sgemm": sgemm(candidates, queries, 1),
        "exact": lambda: score_block(block, ExactSearch(index), 128),
        f"auto ({chosen.name})": lambda: score_block(block, chosen, 128),
        "judging, k to 128": judge(GRID[:8]),
        "judging, k to 8192": judge(GRID),
    }
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        seconds = take_turns(programs, args.rounds)
    print(
        f"{args.rows:,} candidates, {args.queries:,} queries, one thread; seconds, and how often they hold the others'"
    )
    print(f"{'':<20}{'s':>8}" + "".join(f"{name:>20}" for name in seconds))
    for name, values in seconds.items():
        ratios = [statistics.median(a / b for a, b in zip(values, other, strict=True)) for other in seconds.values()]
        print(f"{name:<20}{statistics.median(values):8.3f}" + "".join(f"{ratio:20.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
