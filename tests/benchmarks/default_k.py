"""What the k of ``--k auto`` gains beside other k, by the size of the bank: the data behind ``parts._k_for``.

    python tests/benchmarks/default_k.py [--bank 100000] [--only real|hubs]

Gain in recall@1, in points, at alpha 0.5; the k of ``_k_for`` is in brackets. Real embeddings (memorylens_clip below
``NNN_TEST_DATA``; without it they are left out) are means over 100 splits, and their banks are small. Larger banks are
of synthetic clouds, with hubs of three strengths.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))
from rivals import hub_trial, real_trials

from nnn_core.embedded.shards import VectorBlock
from nnn_core.evaluation.rivals import Trial
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.scoring.topk import grid_of
from nnn_core.table.parts import _k_for

ALPHA, GRID, SPLITS, STRENGTHS = 0.5, grid_of(256), 100, (0.0, 0.02, 0.05)


def gains(trial: Trial, references: int) -> npt.NDArray[np.float64]:
    """(grid,) gain in recall@1 of a bank of the trial's first references, nan for k beyond them."""
    ids = pa.array(trial.ids)
    search = ExactSearch(ReferenceIndex.of(trial.bank[:references]))
    top = score_block(VectorBlock(ids, ids, trial.candidates), search, GRID[-1], 2)
    scores = trial.queries @ trial.candidates.T
    position = {name: row for row, name in enumerate(trial.ids)}
    relevant = np.zeros(scores.shape, bool)
    for row, names in enumerate(trial.relevant):
        relevant[row, [position[name] for name in names]] = True

    def recall(bias: npt.NDArray[np.floating]) -> float:
        first = (scores - bias).argmax(axis=1)
        return float(relevant[np.arange(len(first)), first].mean())

    base = recall(np.zeros(len(trial.ids)))
    columns = zip(GRID, top.means(GRID).T, strict=True)
    return np.array([recall(ALPHA * mean) - base if k <= references else np.nan for k, mean in columns])


def show(title: str, trials: Sequence[Trial], sizes: Sequence[int]) -> None:
    print(f"\n{title}\n{'bank':>9}" + "".join(f"{f'k={k}':>9}" for k in GRID))
    for size in sizes:
        found = 100 * np.mean([gains(trial, size) for trial in trials], axis=0)
        named = [(k, f"{gain:+.1f}") for k, gain in zip(GRID, found, strict=True) if k <= size]
        cells = (f"[{gain}]" if k == _k_for(size) else f"{gain} " for k, gain in named)
        print(f"{size:>9,}" + "".join(f"{cell:>9}" for cell in cells), flush=True)


def data_sets(bank: int, only: str | None) -> Iterator[tuple[str, list[Trial], list[int]]]:
    """Title, trials and sizes of banks."""
    if only in (None, "real") and os.environ.get("NNN_TEST_DATA"):
        for direction in ("text-to-image", "image-to-text"):
            yield f"memorylens_clip, {direction}", list(real_trials(direction, SPLITS)), [20, 50, 100, 145]
    if only in (None, "hubs"):
        sizes = [size for size in (10**3, 10**4, 10**5, 10**6) if size < bank] + [bank]
        for strength in STRENGTHS:
            yield f"synthetic hubs of strength {strength}", [hub_trial(strength, 4000, bank, 1500)], sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bank", type=int, default=100_000, help="of synthetic data, the largest")
    parser.add_argument("--only", choices=("real", "hubs"), help="one kind of data")
    args = parser.parse_args()
    for each in data_sets(args.bank, args.only):
        show(*each)


if __name__ == "__main__":
    main()
