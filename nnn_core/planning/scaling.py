"""The tables of deploy/SCALING.md: the planner's model at 10^8 and 10^9 candidates.

``python -m nnn_core.planning.scaling deploy/SCALING.md`` renews them.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from nnn_core.embedded.shards import ROWS_PER_SHARD
from nnn_core.planning.costs import DEFAULT_RATES, Rates, Work
from nnn_core.scoring.bank import Grouping
from nnn_core.scoring.partials import kept_scores
from nnn_core.scoring.topk import grid_of

_K_MAX = 128
_DAYS = 14
_GROWTH = 0.02


def _renew(page: str) -> str:
    """The page with all between its first and last table written anew; the text around them is kept."""
    first, last = page.index("\n|") + 1, page.index("\n", page.rindex("\n|") + 1)
    return page[:first] + "\n".join(_tables(DEFAULT_RATES)) + page[last:]


def _tables(rates: Rates) -> Iterator[str]:
    yield "| worker | GFLOP/s | images/s | texts/s | $/h | memory | processes |"
    yield "|---|---|---|---|---|---|---|"
    for name, each in rates.workers.items():
        yield (
            f"| {name} | {each.gflops:,.0f} | {each.images_per_second:,.0f} | {each.texts_per_second:,.0f} | "
            f"{each.dollars_per_hour:.2f} | {each.memory_gib:.0f} GiB | {each.processes} |"
        )
    for name in ("First refresh", "Nightly refresh"):
        yield f"\n## {name}\n"
        yield "| candidates | bank | dim | operations | --work | shuffled | a process | worker | machine hours | cost |"
        yield "|---|---|---|---|---|---|---|---|---|---|"
        for candidates, references, dim in itertools.product((10**8, 10**9), (10**6, 10**7), (512, 768)):
            first = name == "First refresh"
            new, day = (candidates, references) if first else (round(candidates * _GROWTH), references // _DAYS)
            yield from _rows(_work(candidates, references, dim, new, day), rates)


def _work(candidates: int, references: int, dim: int, new: int, day: int) -> Work:
    """Of a refresh with so many new candidates, and so many new references."""
    pairs = new * references + (candidates - new) * day
    daily = references // _DAYS
    grouping = Grouping.of(references, None)
    groups = _DAYS * -(-daily // grouping.most_of(dim))
    held = references // groups
    return Work(
        images=new,
        texts=day,
        vectors=0,
        pairs=pairs,
        partials=-(-pairs // (ROWS_PER_SHARD * held)),
        merging=candidates,
        candidates=candidates,
        references=references,
        dim=dim,
        kept=kept_scores(_K_MAX, held, references),
        k_max=_K_MAX,
        grid=len(grid_of(_K_MAX, _K_MAX)),
        groups=groups,
        group_rows=held,
        shard_rows=ROWS_PER_SHARD,
        file_rows=ROWS_PER_SHARD,
    )


def _rows(work: Work, rates: Rates) -> Iterator[str]:
    stored = (work.embedded_bytes + work.partial_bytes + work.merged_bytes) / 1e12
    head = (
        f"| {work.candidates:.0e} | {work.references:.0e} | {work.dim} | {work.flop:.1e} | {stored:,.1f} TB | "
        f"{work.shuffled_bytes / 1e9:,.0f} GB | {work.peak_bytes / 2**30:.1f} GiB |"
    ).replace("e+0", "e")
    for cost in rates.estimate(work):
        note = "" if cost.fits else " (does not fit)"
        yield f"{head} {cost.worker.split(' ')[0]}{note} | {cost.hours.total:,.0f} | ${cost.dollars:,.0f} |"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(_renew(path.read_text()))
