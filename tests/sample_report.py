"""A made-up report with every section, of the size and spread that the demo's corpus gives.

``python tests/sample_report.py OUT.html`` writes it as a page to look at.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections import Counter
from pathlib import Path

from nnn_core.demo import _scenes as scenes
from nnn_core.demo import corpus
from nnn_core.evaluation.choice import Choice
from nnn_core.evaluation.intervals import Interval
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.rankings import Occurrence
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.report import Report, render, render_text
from nnn_core.report._sections import (
    BiasShift,
    Change,
    Fairness,
    Figure,
    Gate,
    Hub,
    HubChanges,
    Hubness,
    ListedHub,
    OwnPairs,
    Quality,
    Rival,
    Rivals,
    Run,
    Shown,
    Source,
    Stage,
    Tuning,
)
from nnn_core.report._thumbnails import thumbnail
from nnn_core.report.answers import Answer, Answers

GRID = (1, 2, 4, 8, 16, 32, 64, 128)
ALPHAS = tuple(step / 8 for step in range(13))
CHOSEN = Point(32, 0.625)
BEST = Point(64, 0.75)
QUERIES = 512
CANDIDATES = 3000


def sample_report(*, images: bool = True) -> Report:
    """Every section; of image candidates, or of texts."""
    rng = random.Random("report")
    ids = [corpus._candidate_id(number) for number in range(60)]
    shown = {row_id: _candidate(number, images) for number, row_id in enumerate(ids)}
    return Report(
        title="Bias table of the demo's corpus",
        run=_run(),
        quality=(_quality(),),
        tuning=_tuning(),
        hubness=_hubness(),
        hubs=tuple(_hub(row_id, place, rng) for place, row_id in enumerate(ids[:12])),
        changes=tuple(_change(number, ids, rng) for number in range(6)),
        shown=shown,
        listed_hubs=_listed_hubs(ids),
        biases=_biases(),
        rivals=_rivals(),
        fairness=(_fairness(),),
        own_pairs=OwnPairs(5875, 6000, gain=Interval(0.096, 0.071, 0.122), fair=Interval(0.049, 0.024, 0.075)),
        rejects=_rejects(),
        gates=_gates(),
        stages=_stages(),
    )


def sample_answers(*, images: bool = True) -> Answers:
    """Two queries whose first candidates are others, or stand elsewhere, with the bias."""
    ids = [corpus._candidate_id(number) for number in range(14)]
    after = [*ids[9:4:-1], *ids[10:14], ids[0]]
    bias = {name: 0.2 - 0.01 * place for place, name in enumerate(after)}
    hits = tuple((0.5 - 0.01 * place, name) for place, name in enumerate(ids[:10]))
    later = tuple((0.3 - 0.01 * place, name) for place, name in enumerate(after))
    queries = ("two red circles", "a dotted blue star beside a very large striped hexagon on a dark ground")
    shown = {name: _candidate(number, images) for number, name in enumerate(ids)}
    return Answers("s3://search/bias", 42, CHOSEN, [Answer(text, hits, later, bias) for text in queries], shown)


def _candidate(number: int, image: bool) -> Shown:
    picture = scenes.scene("candidates", 0, number)
    words = scenes.captions(picture, ["full"], random.Random(number))[0]
    return Shown(corpus._candidate_id(number), words, thumbnail(scenes.jpeg(picture)) if image else None)


def _query(number: int, rng: random.Random) -> Shown:
    words = scenes.captions(scenes.scene("candidates", 1, number), [rng.choice(("partial", "full"))], rng)[0]
    return Shown(f"query-{number:06}", words)


def _run() -> Run:
    return Run(
        command="nnn refresh",
        table="s3://search/bias",
        version=42,
        previous=41,
        k=CHOSEN.k,
        alpha=CHOSEN.alpha,
        candidates=Source("image", CANDIDATES, 3, 4, "9f2c77ab03d1e65f8a", "s3://corpus/images/{00000..00003}.tar"),
        bank=Source("text", 6000, 12, 3, "51ae09cc7b2f4d10aa", "s3://logs/queries/*.parquet"),
        searches=("exact", "prefiltered"),
        fingerprints=(
            ("encoder", "open_clip:local-dir:nnn_core/demo/encoder"),
            ("weights", "sha256:5c1d52d0a3b0c1cfb5a6f5ad6c28d87e8d0c2a7c13f6d47e2f5b3a0c9b7a1e55"),
            ("preprocessing", "resize 64, centre crop, mean 0.48 0.46 0.41"),
            ("bank", "sha256:0b7e6f4fcb0a9be7aa3d5a6e92ac9d4d3e1b0d35b6cb1d3a7c0f7c6e2f8d9a10"),
        ),
        queries=Source("text", 1000, 0, 1),
        seconds=74.3,
    )


def _figure(name: str, before: float, gain: float, error: float, **more: object) -> Figure:
    wide = 2.1 * error
    return Figure(
        name,
        Interval(before, before - wide, before + wide),
        Interval(before + gain, before + gain - wide, before + gain + wide),
        Interval(gain, gain - 1.96 * error, gain + 1.96 * error),
        **more,  # type: ignore[arg-type]
    )


def _quality() -> Quality:
    figures = (
        _figure("recall@1", 0.168, 0.021, 0.0078),
        _figure("recall@5", 0.452, 0.018, 0.0094),
        _figure("recall@10", 0.621, 0.024, 0.0089),
        _figure("MRR", 0.3093, 0.0183, 0.0061, unit="number"),
        _figure("nDCG@10", 0.3644, 0.0201, 0.0064, unit="number"),
        _figure("median rank", 6.0, -1.0, 0.35, unit="rank", better="lower"),
    )
    return Quality("text to image", QUERIES, figures)


def gain_of(k: int, alpha: float) -> float:
    """A surface like real ones: a flat top, and a fall for small k and large alpha."""
    octave = math.log2(k)
    peak = 0.25 + 0.085 * octave
    return (0.03 + 0.006 * min(octave, 6) - 0.01 * max(0.0, octave - 6)) * (alpha - alpha**2 / (2 * peak))


def _tuning() -> Tuning:
    gains = tuple((Point(k, alpha), gain_of(k, alpha)) for k in GRID for alpha in ALPHAS)
    choice = Choice(CHOSEN, BEST, "recall@1", Interval(0.021, 0.0057, 0.0363), CHOSEN, 0.062, 0.018, 0.842, 880)
    return Tuning(choice, 488, gains)


def _occurrence(sigma: float, mean: float, seed: int) -> Occurrence:
    rng = random.Random(seed)
    times = Counter(int(rng.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)) for _ in range(CANDIDATES))
    counts = tuple(sorted({0: 0, **times}.items()))
    return Occurrence(counts, 1.95 * sigma, 0.33 * sigma + 0.2, 0.25 * sigma + 0.1, times[0] / CANDIDATES)


def _hubness() -> Hubness:
    return Hubness(QUERIES, 10, _occurrence(1.2, 3.2, 1), _occurrence(0.8, 2.8, 2))


def _hub(row_id: str, place: int, rng: random.Random) -> Hub:
    before = int(118 / (1 + 0.18 * place))
    examples = tuple(_query(100 + place * 10 + number, rng) for number in range(6))
    return Hub(row_id, before, int(before * rng.uniform(0.2, 0.5)), 0.21 - 0.003 * place, before - 4, examples)


def _change(number: int, ids: list[str], rng: random.Random) -> Change:
    before = rng.sample(ids, 10)
    kept = rng.sample(before, 5)
    after = [*kept, *rng.sample([row_id for row_id in ids if row_id not in before], 5)]
    rng.shuffle(after)
    relevant = (after[1 + number % 3], "img-999999")
    return Change(_query(number, rng), tuple(before), tuple(after), relevant, 14 + 9 * number, 2 + number % 3)


def _bell(mean: float, spread: float, edges: tuple[float, ...]) -> tuple[int, ...]:
    middles = [(left + right) / 2 for left, right in itertools.pairwise(edges)]
    return tuple(round(340 * math.exp(-(((middle - mean) / spread) ** 2) / 2)) for middle in middles)


def _listed_hubs(ids: list[str]) -> HubChanges:
    names = tuple(f"query-{number:06}" for number in (7, 41, 260))
    worst = (ListedHub(name, 9.5 - place, 64 - 5 * place, names, place < 2) for place, name in enumerate(ids[:8]))
    return HubChanges(12, 11, 2, 1, tuple(worst))


def _biases() -> BiasShift:
    edges = tuple(round(0.05 + 0.005 * step, 4) for step in range(37))
    figures = (
        ("population stability index", 0.0312),
        ("shift of the median", 0.0061),
        ("shift of the 99th percentile", 0.0043),
        ("share of changed rows", 0.0517),
        ("top-10 overlap of canary queries", 0.9731),
    )
    return BiasShift(edges, _bell(0.133, 0.023, edges), _bell(0.127, 0.022, edges), figures)


def _rivals() -> Rivals:
    def rival(name: str, settings: str, gain: float, cost: tuple[float, float], additive: bool) -> Rival:
        value = Interval(0.168 + gain, 0.168 + gain - 0.032, 0.168 + gain + 0.033)
        error = 0.0153 if gain else 0.0
        return Rival(name, settings, value, Interval(gain, gain - error, gain + error), *cost, additive)

    methods = (
        rival("no correction", "", 0.0, (0.0, 0.0), True),
        rival("NNN", "k = 32, alpha = 0.625", 0.021, (3.2, 0.9), True),
        rival("CSLS", "k = 16", 0.014, (3.3, 0.4), True),
        rival("Distribution Normalization", "lambda = 0.5", 0.006, (0.1, 0.2), True),
        rival("Inverted Softmax", "beta = 30", 0.018, (5.9, 41.0), True),
        rival("QB-Norm", "beta = 20, k = 1", 0.016, (6.4, 45.0), False),
        rival("DB-Norm", "beta 20 and 25", 0.019, (12.8, 312.0), False),
    )
    return Rivals("recall@1", QUERIES, methods)


def _fairness() -> Fairness:
    figures = (
        _figure("bias@5", 0.355, -0.19, 0.044, unit="number", better="zero"),
        _figure("bias@6", 0.348, -0.276, 0.041, unit="number", better="zero"),
        _figure("bias@10", 0.301, -0.2, 0.05, unit="number", better="zero"),
        _figure("MaxSkew@10", 0.266, -0.087, 0.03, unit="number", better="zero"),
        _figure("NDKL", 0.151, -0.02, 0.018, unit="number", better="lower"),
        _figure("average precision", 0.801, 0.004, 0.009),
    )
    return Fairness("gender", ("masculine", "feminine"), 23, figures)


def _rejects() -> tuple[tuple[str, RejectSummary], ...]:
    broken = (("broken image", 2, "'img-002711' in 00003.tar: truncated after 812 bytes"),)
    odd = (("odd vector", 1, "'img-000019' in 00000.tar: not finite"),)
    empty = (("empty caption", 12, "'ref-000871' in 00001.parquet"),)
    return (
        ("candidates", RejectSummary(3003, 3, broken + odd, "s3://search/bias-work/rejects/3f0c.jsonl")),
        ("bank", RejectSummary(6012, 12, empty, "s3://search/bias-work/rejects/a81d.jsonl")),
    )


def _gates() -> tuple[Gate, ...]:
    return (
        Gate("coverage", "pass", "3,000 of 3,000", "every candidate once"),
        Gate("finite biases", "pass", "0.051 to 0.229", "finite, within -1.5 to 1.5"),
        Gate("bank size", "pass", "6,000", "at least 1,000"),
        Gate("bank fingerprint", "pass", "as version 41", "unchanged"),
        Gate("rejects", "pass", "0.17 %", "at most 1 %"),
        Gate("drift", "warn", "PSI 0.031", "below 0.2", "Watch it: three times the last refresh's."),
        Gate("changed rows", "pass", "5.2 %", "at most 20 %"),
        Gate("canary overlap", "pass", "0.973", "at least 0.9"),
        Gate("evaluation gain", "pass", "+2.1 points (+0.6 to +3.6)", "not below \u22120.5 points"),
        Gate("hub alarms", "skipped", "no previous version with hubs", "at most 5 new"),
    )


def _stages() -> tuple[Stage, ...]:
    return (
        Stage("EmbedReferences", 4.21, 3, 0, rows=3000, read=312_345, written=6_291_456, parts=(("model", 3.9),)),
        Stage("EmbedCandidates", 61.7, 3, 1, rows=900, read=81 << 20, written=1_887_436, parts=(("model", 58.0),)),
        Stage(
            "ScoreCandidates", 3.18, 11, 1, pairs=2_700_000, written=402_000, parts=(("load", 0.31), ("search", 2.5))
        ),
        Stage("MergePartials", 0.42, 1, 0),
        Stage("Evaluate", 2.9, 4, 0),
        Stage("CommitBiasTable", 0.05, 1, 0),
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(sample_report()), encoding="utf-8")
    sys.stdout.write(render_text(sample_report()))
