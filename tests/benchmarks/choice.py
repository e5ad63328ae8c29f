"""How much of the gain ``--tune`` keeps, how often it harms, and how often it publishes alpha 0: before and now.

    python tests/benchmarks/choice.py [--draws 100] [--only demo|real|synthetic] [--json FILE]

From a pool of queries that rank all candidates at every k and alpha, random draws of 50, 100, 300 and 1,000 are given
to the rule, ``nnn_core.evaluation.choice``, and to the one before it: of half of the queries the smallest alpha within
one standard error of the best recall@1, published if the other half gains for certain. What a published point is worth
is its mean gain in recall@1 over the whole pool and all banks, which no rule knows. ``kept`` is the share of what the
best point gains, ``harm`` the share of draws that publish a point that loses more than 0.05 points there,
``alpha 0`` the share that publish no correction. ``fixed`` is the default point, k 16 and alpha 0.5, ever published.

``NNN_TEST_DATA`` names the folder with real embeddings (memorylens_clip); without it they are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))
from rivals import demo_trial, hub_trial, real_trials

from nnn_core.embedded.shards import VectorBlock
from nnn_core.evaluation._counting import Goals, count_ahead
from nnn_core.evaluation.agreement import agreement_of, moments_of
from nnn_core.evaluation.choice import _choose
from nnn_core.evaluation.intervals import _resampled_means
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.ranks import Targets
from nnn_core.evaluation.rivals import Trial
from nnn_core.evaluation.summary import Request
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.scoring.topk import grid_of
from nnn_core.vectors import unit_vectors

SIZES, STRENGTHS, THREADS = (50, 100, 300, 1000), (0.005, 0.01, 0.02), 2
DEFAULT = Point(16, 0.5)

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """What a rule may see: ranks (points, queries), the candidates that answer the queries, and the agreement."""

    points: tuple[Point, ...]
    first: Counts
    answers: list[str]
    agreement: float | None


@dataclass(frozen=True)
class Pool:
    """All queries of a trial, ranked.

    Attributes:
        trial: candidates, bank and queries.
        points: values of k and alpha, no correction first.
        first: (points, queries) rank of the first relevant candidate.
    """

    trial: Trial
    points: tuple[Point, ...]
    first: Counts

    @classmethod
    def of(cls, trial: Trial) -> Pool:
        grid = grid_of(min(128, len(trial.bank)))
        points, ids = Request(None, grid).points, pa.array(trial.ids, pa.string())
        search = ExactSearch(ReferenceIndex.of(trial.bank))
        means = score_block(VectorBlock(ids, ids, trial.candidates), search, max(grid), THREADS).means(grid)
        relevant = [sorted(set(names)) for names in trial.relevant]
        targets = Targets.find(trial.queries, relevant, trial.candidates, trial.ids, means)
        goals = Goals.of(targets, relevant)
        where = (trial.candidates, trial.ids, means)
        ranks = 1 + count_ahead(trial.queries, goals, *where, grid, points, THREADS)
        starts = np.flatnonzero(np.diff(goals.query, prepend=-1))
        return cls(trial, points, np.minimum.reduceat(ranks, starts, axis=1))

    @property
    def gains(self) -> npt.NDArray[np.float64]:
        """(points,) mean gain in recall@1."""
        found = (self.first == 1).mean(axis=1)
        return found - found[0]

    def draw(self, count: int, rng: np.random.Generator) -> Draw:
        """Some of the queries."""
        rows = rng.choice(len(self.trial.queries), count, replace=False)
        relevant = [sorted(set(self.trial.relevant[row])) for row in rows]
        mean = self.trial.bank.mean(axis=0, dtype=np.float64)
        moments = moments_of(self.trial.candidates, self.trial.ids, mean, self.trial.queries[rows], relevant)
        return Draw(self.points, self.first[:, rows], [names[0] for names in relevant], agreement_of(moments))


def publish_before(draw: Draw, rng: np.random.Generator) -> int:
    """Position of the point that the rule before this one publishes."""
    points, values = draw.points, (draw.first == 1).astype(np.float64)
    chooses = rng.random(values.shape[1]) < 0.5
    if chooses.all() or not chooses.any():
        return 0
    ours = values[:, chooses]
    means = ours.mean(axis=1)
    best = int(np.lexsort(([point.k for point in points], [point.alpha for point in points], -means))[0])
    errors = (ours[best] - ours).std(axis=1) / np.sqrt(ours.shape[1])
    near = np.flatnonzero(means[best] - means <= errors).tolist()
    at: int = min(near, key=lambda each: (points[each].alpha, -means[each], points[each].k))
    gain = (values[at] - values[0])[~chooses]
    return at if len(gain) >= 6 and np.quantile(_resampled_means(gain[None]), 0.025) > 0 else 0


def publish_now(draw: Draw, _: np.random.Generator) -> int:
    """Position of the point that ``_choose`` publishes."""
    objective = ("recall@1", (draw.first == 1).astype(np.float64))
    choice, _unseen = _choose(draw.points, draw.first, draw.answers, objective, draw.agreement)
    return draw.points.index(choice.point)


RULES: dict[str, Callable[[Draw, np.random.Generator], int]] = {"before": publish_before, "now": publish_now}


@dataclass(frozen=True)
class Row:
    """What came of all draws of one size from one set.

    Attributes:
        title: of the set.
        queries: of a draw.
        gain: of the best point, as a share of queries.
        fixed: of the default point.
        agreement: least of all draws.
        mean: mean gain of what each rule publishes.
        harm: share of draws that lose more than 0.05 points.
        zero: share of draws without correction.
    """

    title: str
    queries: int
    gain: float
    fixed: float
    agreement: float
    mean: dict[str, float]
    harm: dict[str, float]
    zero: dict[str, float]


def run(title: str, trials: Sequence[Trial], draws: int, sizes: Sequence[int] = SIZES) -> Iterator[Row]:
    """One row for each size that the pools hold."""
    pools = [Pool.of(trial) for trial in trials]
    points = pools[0].points
    gains = np.mean([pool.gains for pool in pools], axis=0)
    for size in sizes:
        if size > min(len(pool.trial.queries) for pool in pools):
            continue
        published: dict[str, list[int]] = {name: [] for name in RULES}
        agreements = []
        for number in range(draws):
            rng = np.random.default_rng([size, number])
            draw = pools[number % len(pools)].draw(size, rng)
            agreements.append(draw.agreement if draw.agreement is not None else 0.0)
            for name, publish in RULES.items():
                published[name].append(publish(draw, rng))
        worth = {name: gains[found] for name, found in published.items()}
        yield Row(
            title,
            size,
            float(gains.max()),
            float(gains[points.index(DEFAULT)]),
            min(agreements),
            {name: float(each.mean()) for name, each in worth.items()},
            {name: float((each < -0.0005).mean()) for name, each in worth.items()},
            {name: float(np.mean([at == 0 for at in found])) for name, found in published.items()},
        )


def banks_of(trial: Trial, number: int = 4) -> list[Trial]:
    """The same with random halves of the bank."""
    halves = [np.random.default_rng([3, seed]).permutation(len(trial.bank))[::2] for seed in range(number)]
    return [replace(trial, bank=trial.bank[rows]) for rows in halves]


def null_trial(rows: int, references: int, queries: int, dim: int = 64) -> Trial:
    """Evenly spread candidates, and queries and bank about equally many such points: there are no hubs to correct."""
    rng = np.random.default_rng(5)
    images = unit_vectors(rng.standard_normal((rows + references, dim)))[0]
    texts = unit_vectors(images + 2.2 * unit_vectors(rng.standard_normal(images.shape))[0].astype(np.float64))[0]
    ids = [f"{row:06}" for row in range(rows)]
    return Trial(texts[:queries], [[ids[row]] for row in range(queries)], images[:rows], ids, texts[rows:])


def foreign_trial(rows: int, references: int, queries: int) -> Trial:
    """Candidates and queries with weak hubs, and a bank that has nothing to do with them."""
    trial = hub_trial(0.0, rows, references, queries)
    bank = np.random.default_rng(6).standard_normal((references, trial.queries.shape[1]))
    return replace(trial, bank=unit_vectors(bank)[0])


def data_sets(only: str | None, sizes: tuple[int, int, int]) -> Iterator[tuple[str, bool, list[Trial]]]:
    """Title, whether there is a gain, and trials of each."""
    if only in (None, "real") and os.environ.get("NNN_TEST_DATA"):
        for direction in ("text-to-image", "image-to-text"):
            yield f"memorylens_clip, {direction}", True, list(real_trials(direction, 40))
    if only in (None, "demo"):
        yield "demo", True, banks_of(demo_trial())
    if only in (None, "synthetic"):
        for strength in STRENGTHS:
            yield f"hubs of strength {strength}", True, banks_of(hub_trial(strength, *sizes))
        yield "no hubs", False, banks_of(null_trial(*sizes))
        yield "foreign bank", False, banks_of(foreign_trial(*sizes))


def show(row: Row, gaining: bool) -> None:
    cells = []
    for name in RULES:
        kept = f"{row.mean[name] / row.gain:>6.0%}" if gaining else f"{'':>6}"
        cells.append(f"{kept}{100 * row.mean[name]:>+7.2f}{row.harm[name]:>6.0%}{row.zero[name]:>9.0%}")
    best = f"{100 * row.gain:>+7.2f}{100 * row.fixed:>+7.2f}"
    print(f"{row.title:<32}{row.queries:>6}{best}{row.agreement:>8.2f}  |" + "  |".join(cells), flush=True)


def main(argv: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--only", choices=("demo", "real", "synthetic"), help="one kind of data")
    parser.add_argument("--sizes", type=int, nargs=3, default=(3000, 2000, 3000), help="of synthetic data: candidates, "
                        "references, queries")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write the rows there")
    args = parser.parse_args(argv)
    print(f"{'':<61}" + "".join(f"|  {name:<26}  " for name in RULES))
    heads = "  |".join(f"{'kept':>6}{'gain':>7}{'harm':>6}{'alpha 0':>9}" for _ in RULES)
    print(f"{'':<32}{'draw':>6}{'best':>7}{'fixed':>7}{'agree':>8}  |" + heads)
    rows, gaining = [], []
    for title, gains, trials in data_sets(args.only, tuple(args.sizes)):
        for row in run(title, trials, args.draws):
            show(row, gains)
            rows.append(row)
            gaining.append(gains)
    print(
        "\nsets with a gain: mean share of the best point's gain that is kept, share of all their gain; harm, all sets"
    )
    for size in SIZES:
        drawn = [(row, gains) for row, gains in zip(rows, gaining, strict=True) if row.queries == size]
        found = [row for row, gains in drawn if gains]
        for name in RULES if found else ():
            kept = np.mean([row.mean[name] / row.gain for row in found])
            total = sum(row.mean[name] for row in found) / sum(row.gain for row in found)
            print(f"{size:>6} {name:<8}{kept:>6.0%}{total:>6.0%}{np.mean([row.harm[name] for row, _ in drawn]):>8.1%}")
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return rows


if __name__ == "__main__":
    main()
