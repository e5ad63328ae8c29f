"""deploy/SCALING.md: the planner's model at 10^8 and 10^9 candidates.

``python -m nnn_core.planning.scaling > deploy/SCALING.md`` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from nnn_core.embedded.shards import ROWS_PER_SHARD
from nnn_core.planning.costs import DEFAULT_RATES, Rates, Work, estimate
from nnn_core.scoring.topk import grid_of

_K_MAX = 128
_GROUP_ROWS = 1 << 16
_DAYS = 14
_GROWTH = 0.02


def first_refresh(candidates: int, references: int, dim: int) -> Work:
    """Everything from images and captions."""
    return _work(candidates, references, dim, (candidates, references), candidates * references)


def nightly_refresh(candidates: int, references: int, dim: int) -> Work:
    """2 % more candidates, and one day in for one day out of a bank of 14."""
    new, day = round(candidates * _GROWTH), references // _DAYS
    return _work(candidates, references, dim, (new, day), new * references + (candidates - new) * day)


def _work(candidates: int, references: int, dim: int, encoded: tuple[int, int], pairs: int) -> Work:
    groups = -(-references // _GROUP_ROWS)
    return Work(
        images=encoded[0],
        texts=encoded[1],
        vectors=0,
        pairs=pairs,
        partials=-(-pairs // (ROWS_PER_SHARD * _GROUP_ROWS)),
        candidates=candidates,
        references=references,
        dim=dim,
        k_max=_K_MAX,
        grid=len(grid_of(_K_MAX, _K_MAX)),
        groups=groups,
        group_rows=_GROUP_ROWS,
    )


def page(rates: Rates = DEFAULT_RATES) -> str:
    """The page as Markdown."""
    return "\n".join(_lines(rates)) + "\n"


def _lines(rates: Rates) -> Iterator[str]:
    yield "# How the job scales"
    yield ""
    yield (
        "The model of `nnn plan` (`nnn_core/planning/costs.py`) at sizes that were not run here. It counts "
        "floating-point operations, bytes and model calls, and divides by the rates below; start-up, waiting and "
        "uneven shards are left out, so real runs take longer. Written by `python -m nnn_core.planning.scaling`."
    )
    yield ""
    yield (
        f"Exact search, k = {_K_MAX}, reference shards of {_GROUP_ROWS:,} rows. A first refresh embeds images and "
        f"captions and scores all pairs; a nightly one has {_GROWTH:.0%} new candidates and slides a bank of {_DAYS} "
        "days by one."
    )
    yield ""
    yield "| worker | GFLOP/s | images/s | texts/s | $/h | memory | processes |"
    yield "|---|---|---|---|---|---|---|"
    for name, each in rates.workers.items():
        yield (
            f"| {name} | {each.gflops:,.0f} | {each.images_per_second:,.0f} | {each.texts_per_second:,.0f} | "
            f"{each.dollars_per_hour:.2f} | {each.memory_gib:.0f} GiB | {each.processes} |"
        )
    for name, make in (("First refresh", first_refresh), ("Nightly refresh", nightly_refresh)):
        yield ""
        yield f"## {name}"
        yield ""
        yield "| candidates | bank | dim | operations | --work | shuffled | a process | worker | machine hours | cost |"
        yield "|---|---|---|---|---|---|---|---|---|---|"
        for candidates in (10**8, 10**9):
            for references in (10**6, 10**7):
                for dim in (512, 768):
                    yield from _rows(make(candidates, references, dim), rates)
    yield ""
    yield "What follows from it:"
    yield ""
    yield "- With a bank of 10^6 embedding costs more than scoring, with 10^7 less. A GPU pays for both; on CPUs so"
    yield "  does `--search approximate` for scoring, whose cost grows with about the cube root of the bank."
    yield "- Kept scores are the largest part of --work: candidates x reference shards x k. Larger reference shards"
    yield "  (`--reference-shard-rows`) mean fewer of them, at the price of coarser reuse; so does a smaller `--k-max`."
    yield "- Every refresh merges the kept scores of the whole table, whatever changed: with a bank of 10^7 it is most"
    yield "  of a nightly refresh on GPUs, which do not help (a process is taken to merge 10^7 scores a second)."
    yield "  There too larger reference shards and a smaller `--k-max` are what saves."
    yield "- What is shuffled does not depend on the bank: 60 bytes a candidate."
    yield "- Very many tiny files cost what the pipeline does for each pair of a file of candidates and a reference"
    yield "  shard: 3.3 ms of a processor on the local runner, 2.3 ms of them the scoring, writing and merging that a"
    yield "  bare loop takes too. Its memory is 340 MiB, and 8 KiB for each file of candidates: 420 MiB for 10,000"
    yield "  files, whose descriptions that runner keeps, and copies from step to step. A pair takes 20 bytes of it:"
    yield "  447 MiB for 10,000 files and 500,000 pairs (`python tests/benchmarks/large_graph.py`)."


def _rows(work: Work, rates: Rates) -> Iterator[str]:
    stored = (work.embedded_bytes + work.partial_bytes) / 1e12
    head = (
        f"| {work.candidates:.0e} | {work.references:.0e} | {work.dim} | {work.flop:.1e} | {stored:,.1f} TB | "
        f"{work.shuffled_bytes / 1e9:,.0f} GB | {work.peak_bytes / 2**30:.1f} GiB |"
    )
    for cost in estimate(work, rates):
        note = "" if cost.fits else " (does not fit)"
        yield f"{head} {cost.worker.split(' ')[0]}{note} | {cost.hours.total:,.0f} | ${cost.dollars:,.0f} |".replace(
            "e+0", "e"
        )


if __name__ == "__main__":
    print(page(), end="")
