"""How well ``--tune`` chooses k and alpha: on the demo, real CLIP embeddings, hubs of three strengths, and no hubs.

    python tests/benchmarks/choice.py [--splits 100] [--only demo|real|synthetic] [--json FILE]

Every random split takes a bank, none of whose rows belongs to a candidate, and cuts the queries in thirds: two are
given to ``summary.summarise`` as ``nnn evaluate --tune`` gives it (which chooses by a half of them and reports on
the other), the last is a test that nobody saw. There the objective is taken at every point, and a choice is
good if the best point's lead over it is at most one standard error of the best point's own mean (as in the rule of one
standard error, Breiman et al. 1984), and by the stricter measure if it is at most one of that paired difference.
The best of many points is partly the luckiest: ``fixed`` says how often the one point that is best
over all splits passes the same criterion, which is what can be expected of a perfect choice. ``of the true best``
holds the published point and the candidate against that one point instead.
``NNN_TEST_DATA`` names the folder with real embeddings (memorylens_clip); without it they are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))
from rivals import demo_trial, hub_trial, real_trials

from nnn_core.embedded.shards import VectorBlock
from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.ranks import Counts, Goals, Targets, biases_at, count_ahead
from nnn_core.evaluation.rivals import Trial
from nnn_core.evaluation.summary import Request, _judge, summarise
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.scoring.topk import grid_means, grid_of
from nnn_core.vectors import FloatMatrix, unit_vectors

K_MAX, THREADS = 64, 2
STRENGTHS = (0.005, 0.01, 0.02)


@dataclass(frozen=True)
class Outcome:
    """One split.

    Attributes:
        chosen: index of the point that is published.
        candidate: of the point before the doubt about its gain.
        best: of the point that did best on the choosing half, before the preference for a smaller alpha.
        values: (points, queries) the objective of each test query.
    """

    chosen: int
    candidate: int
    best: int
    values: npt.NDArray[np.float64]

    def lead(self, point: int) -> float:
        """How far the best test point is ahead of another."""
        means = self.values.mean(axis=1)
        return float(means.max() - means[point])

    def is_good(self, point: int) -> bool:
        """Whether a point is within one standard error of the best test point's own mean."""
        best = self.values[self.values.mean(axis=1).argmax()]
        return bool(self.lead(point) <= best.std(ddof=1) / np.sqrt(len(best)))

    def is_near(self, point: int) -> bool:
        """Whether its paired lead is within one standard error, of best points that are equal to the nearest."""
        best = np.flatnonzero(self.values.mean(axis=1) == self.values.mean(axis=1).max())
        errors = (self.values[best] - self.values[point]).std(axis=1, ddof=1) / np.sqrt(self.values.shape[1])
        return bool(self.lead(point) <= errors.max())

    def is_near_point(self, point: int, best: int) -> bool:
        """Whether a point is at most one standard error behind another one."""
        differences = self.values[best] - self.values[point]
        return bool(differences.mean() <= differences.std(ddof=1) / np.sqrt(len(differences)))


@dataclass(frozen=True)
class Row:
    """What came of all splits of a data set; shares are of the splits, leads and gains in points of the objective.

    Attributes:
        title: of the data.
        splits: how many.
        sizes: queries that chose (on average), reported (on average), and tested.
        base: the objective without correction.
        gain: of the point that is best over all splits; no choice knows it.
        chosen_good: share of published points within one standard error of the best test point's own mean.
        candidate_good: the same before the doubt about the gain.
        fixed_good: the same of the point that is best over all splits.
        chosen: share of published points within one standard error of the paired lead of the best test point.
        candidate: the same before the doubt about the gain.
        best: the same before the preference for a smaller alpha.
        fixed: the same of the point that is best over all splits.
        near_true: share of published points within one standard error of the point that is best over all splits.
        candidate_near_true: the same before the doubt about the gain.
        regret: mean lead of the best test point over the published one.
        candidate_regret: over the candidate.
        best_regret: over the point that did best on the choosing half.
        fixed_regret: over the point that is best over all splits: what luck alone makes of the best.
        zero: share of splits with alpha 0.
        zero_right: how many of these had a candidate whose gain on the test does not exceed 0 for certain either.
        kept_gain: mean gain on the test where alpha was kept.
        harm: share of splits with a published point that certainly loses on the test.
    """

    title: str
    splits: int
    sizes: tuple[int, int, int]
    base: float
    gain: float
    chosen_good: float
    candidate_good: float
    fixed_good: float
    chosen: float
    candidate: float
    best: float
    fixed: float
    near_true: float
    candidate_near_true: float
    regret: float
    candidate_regret: float
    best_regret: float
    fixed_regret: float
    zero: float
    zero_right: str
    kept_gain: float
    harm: float


def count(queries: QuerySet, trial: Trial, means: FloatMatrix, request: Request) -> tuple[Targets, Counts]:
    """The relevant candidates, and how many are ahead of each at every point."""
    points, grid = request.points, request.grid
    targets = Targets.find(queries.vectors, queries.relevant, trial.candidates, trial.ids, means)
    goals = Goals.of(targets, queries.relevant, biases_at(targets.means, grid, points))
    biases = biases_at(means, grid, points)
    return targets, count_ahead(queries.vectors, goals, trial.candidates, trial.ids, biases, THREADS)


def query_set(trial: Trial, rows: npt.NDArray[np.int64]) -> QuerySet:
    relevant = tuple(tuple(sorted(set(trial.relevant[row]))) for row in rows.tolist())
    ids = tuple(trial.query_ids[row] for row in rows.tolist())
    return QuerySet(ids, trial.queries[rows], relevant, np.ones(sum(map(len, relevant))))


def try_split(trial: Trial, seed: int, request: Request) -> tuple[Outcome, tuple[int, int, int]]:
    """Choose and report on two thirds of the queries, and test on the last."""
    names = pa.array(trial.ids, pa.string())
    search = ExactSearch(ReferenceIndex.of(trial.bank))
    top = score_block(VectorBlock(names, names, trial.candidates), search, max(request.grid), THREADS)
    means = grid_means(top, request.grid)
    order = np.random.default_rng([7, seed]).permutation(len(trial.queries))
    validation, test = (query_set(trial, np.sort(part)) for part in np.split(order, [2 * len(order) // 3]))
    evaluation = summarise(validation, *count(validation, trial, means, request), request)
    values = _judge(test, *count(test, trial, means, request))[0].figures[request.objective]
    assert evaluation.choice is not None
    points = list(request.points)
    choice = evaluation.choice
    outcome = Outcome(*(points.index(each) for each in (choice.point, choice.candidate, choice.best)), values)
    return outcome, (evaluation.choosing, evaluation.queries, values.shape[1])


def sum_up(title: str, runs: Sequence[tuple[Outcome, tuple[int, int, int]]]) -> Row:
    outcomes = [outcome for outcome, _ in runs]
    sizes = np.mean([sizes for _, sizes in runs], axis=0).round().astype(int).tolist()
    means = np.mean([each.values.mean(axis=1) for each in outcomes], axis=0)
    fixed = int(means.argmax())
    zeros = [each for each in outcomes if each.chosen == 0]
    right = sum(gains_nothing(each, each.candidate) for each in zeros)
    kept = [(each.values[each.chosen] - each.values[0]).mean() for each in outcomes if each.chosen]
    return Row(
        title,
        len(runs),
        (sizes[0], sizes[1], sizes[2]),
        float(means[0]),
        float(means[fixed] - means[0]),
        _mean(each.is_good(each.chosen) for each in outcomes),
        _mean(each.is_good(each.candidate) for each in outcomes),
        _mean(each.is_good(fixed) for each in outcomes),
        _mean(each.is_near(each.chosen) for each in outcomes),
        _mean(each.is_near(each.candidate) for each in outcomes),
        _mean(each.is_near(each.best) for each in outcomes),
        _mean(each.is_near(fixed) for each in outcomes),
        _mean(each.is_near_point(each.chosen, fixed) for each in outcomes),
        _mean(each.is_near_point(each.candidate, fixed) for each in outcomes),
        _mean(each.lead(each.chosen) for each in outcomes),
        _mean(each.lead(each.candidate) for each in outcomes),
        _mean(each.lead(each.best) for each in outcomes),
        _mean(each.lead(fixed) for each in outcomes),
        len(zeros) / len(outcomes),
        f"{right} of {len(zeros)}",
        float(np.mean(kept)) if kept else 0.0,
        _mean(each.chosen > 0 and test_gain(each, each.chosen)[1] < 0 for each in outcomes),
    )


def test_gain(outcome: Outcome, point: int) -> tuple[float, float]:
    """95 % interval of a point's gain on the test."""
    interval = Interval.of_means((outcome.values[point] - outcome.values[0])[None])[0]
    return interval.low, interval.high


def gains_nothing(outcome: Outcome, point: int) -> bool:
    return point == 0 or test_gain(outcome, point)[0] <= 0


def _mean(values: Iterator[float] | Iterator[bool]) -> float:
    return float(np.mean(list(values)))


def splits_of(trial: Trial, splits: int) -> Iterator[Trial]:
    """Random halves of a bank none of whose rows belongs to a candidate; queries get new names, so other halves."""
    for seed in range(splits):
        bank = np.random.default_rng([3, seed]).permutation(len(trial.bank))[: (len(trial.bank) + 1) // 2]
        yield replace(trial, bank=trial.bank[bank], query_ids=[f"{seed}-{name}" for name in trial.query_ids])


def null_trial(rows: int, references: int, queries: int, dim: int = 64) -> Trial:
    """Evenly spread candidates, and queries and bank about equally many such points: there are no hubs to correct."""
    rng = np.random.default_rng(5)
    images = unit_vectors(rng.standard_normal((rows + references, dim)))[0]
    texts = unit_vectors(images + 2.2 * unit_vectors(rng.standard_normal(images.shape))[0].astype(np.float64))[0]
    ids = [f"{row:06}" for row in range(rows)]
    names, relevant = [f"q{row}" for row in range(queries)], [[ids[row]] for row in range(queries)]
    return Trial(texts[:queries], names, relevant, images[:rows], ids, texts[rows:])


def misled_trial(rows: int, references: int, queries: int) -> Trial:
    """Candidates and queries with weak hubs, and a bank that has nothing to do with them."""
    trial = hub_trial(0.0, rows, references, queries)
    bank = np.random.default_rng(6).standard_normal((references, trial.queries.shape[1]))
    return replace(trial, bank=unit_vectors(bank)[0])


def data_sets(splits: int, only: str | None, sizes: tuple[int, int, int]) -> Iterator[tuple[str, Iterator[Trial]]]:
    """Title and splits of each."""
    if only in (None, "synthetic"):
        for strength in STRENGTHS:
            yield f"hubs of strength {strength}", splits_of(hub_trial(strength, *sizes), splits)
        yield "no hubs", splits_of(null_trial(*sizes), splits)
        yield "unrelated bank", splits_of(misled_trial(*sizes), splits)
    if only in (None, "real") and os.environ.get("NNN_TEST_DATA"):
        for direction in ("text-to-image", "image-to-text"):
            yield f"memorylens_clip, {direction}", real_trials(direction, splits)
    if only in (None, "demo"):
        yield "demo", splits_of(demo_trial(), splits)


def run(title: str, trials: Iterator[Trial], objective: str = "recall@1") -> Row:
    """All splits of a data set."""
    runs = []
    for seed, trial in enumerate(trials):
        request = Request(None, grid_of(min(K_MAX, len(trial.bank))), objective=objective)
        runs.append(try_split(trial, seed, request))
    return sum_up(title, runs)


def show(row: Row, seconds: float) -> None:
    good = f"{row.chosen_good:>8.0%}{row.candidate_good:>10.0%}{row.fixed_good:>7.0%}"
    near = f"{row.chosen:>8.0%}{row.candidate:>10.0%}{row.best:>7.0%}{row.fixed:>7.0%}"
    near += f"  |{row.near_true:>8.0%}{row.candidate_near_true:>10.0%}"
    regret = "".join(
        f"{100 * each:>8.2f}" for each in (row.regret, row.candidate_regret, row.best_regret, row.fixed_regret)
    )
    print(
        f"{row.title:<32}{'/'.join(map(str, row.sizes)):>14}{row.base:>8.1%}{100 * row.gain:>+7.2f}"
        f"  |{good}  |{near}  |{regret}  |"
        f"{row.zero:>7.0%}{row.zero_right:>12}{100 * row.kept_gain:>+8.2f}{row.harm:>7.0%}{seconds:>8.0f}",
        flush=True,
    )


def main(argv: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--only", choices=("demo", "real", "synthetic"), help="one kind of data")
    parser.add_argument("--sizes", type=int, nargs=3, default=(600, 600, 600), help="of synthetic data: candidates, "
                        "references, queries")  # fmt: skip
    parser.add_argument("--objective", default="recall@1")
    parser.add_argument("--json", type=Path, help="write the rows there")
    args = parser.parse_args(argv)
    print(
        f"{args.splits} splits; {'':<21}{'choose/report':>14}{'base':>8}{'best':>7}  |"
        f"{'one SE of the best':>25}  |{'one SE of its paired lead':>32}  |{'of the true best':>18}  |"
        f"{'mean lead of the best':>32}  |{'alpha 0':>7}{'rightly':>12}{'kept':>8}{'harm':>7}{'s':>8}\n"
        f"{'':<32}{'/test':>14}{'':>8}{'gain':>7}  |{'chosen':>8}{'candidate':>10}{'fixed':>7}  |"
        f"{'chosen':>8}{'candidate':>10}{'best':>7}{'fixed':>7}  |"
        f"{'chosen':>8}{'candidate':>10}  |"
        f"{'chosen':>8}{'candid.':>8}{'best':>8}{'fixed':>8}  |{'':>7}{'':>12}{'gain':>8}"
    )
    rows = []
    for title, trials in data_sets(args.splits, args.only, tuple(args.sizes)):
        start = time.perf_counter()
        rows.append(run(title, trials, args.objective))
        show(rows[-1], time.perf_counter() - start)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return rows


if __name__ == "__main__":
    main()
