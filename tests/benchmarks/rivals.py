"""All methods against hubs on the same footing: the package's demo, real CLIP embeddings, synthetic hubs.

    python tests/benchmarks/rivals.py [--quick] [--only demo|real|hubs] [--output FOLDER]

Every method chooses its setting on one half of the queries and is measured on the other (see
``nnn_core.evaluation.rivals``). One table goes to standard output, the rows as JSON to the output folder.
``NNN_TEST_DATA`` names the folder with real embeddings (memorylens_clip); without it they are left out.
Real embeddings are few, so figures are means over random splits of bank and queries, and the
intervals those of the splits. Seconds are the processor's and never count what another method learned.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
from clouds import make_cloud
from demo_vectors import demo_vectors

from nnn_core.evaluation.rivals import Trial
from nnn_core.vectors import FloatMatrix, unit_vectors
from pipelines.commands import _demo_data as demo

Rows = list[dict[str, Any]]
SHOWN = ("recall@1", "recall@5", "recall@10")


def demo_trial() -> Trial:
    """The demo's images, its bank of captions and its test queries, by the encoder that comes with the package."""
    with tempfile.TemporaryDirectory() as folder:
        sides = demo_vectors(folder)
        (ids, images), (_, bank), (names, queries) = (
            sides[each] for each in ("candidates", "references", "validation")
        )
        answers = demo.relevant_positions(demo.places(folder)["validation"], names, ids)
        relevant = [[ids[row] for row in sorted(rows)] for rows in answers]
    return Trial(queries, relevant, images, ids, bank)


def real_trials(direction: str, splits: int) -> Iterator[Trial]:
    """Random halves of memorylens_clip: one is the bank, none of whose pairs is a candidate; the other asks.

    The bank's other side is DB-Norm's bank of candidates. Equal captions answer, and are answered by, the same.
    """
    folder = Path(os.environ["NNN_TEST_DATA"]) / "memorylens_clip"
    images, texts = (unit_vectors(np.load(folder / f"{name}embeddings.npy"))[0] for name in ("", "caption_"))
    captions = np.unique(texts, axis=0, return_inverse=True)[1].ravel()
    sides = (texts, images) if direction == "text-to-image" else (images, texts)
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(images))
        bank, asked = order[: len(order) // 2], order[len(order) // 2 :]
        ids = [f"{row:04}" for row in asked]
        same = captions[asked][:, None] == captions[asked]
        relevant = [[ids[at] for at in np.flatnonzero(row)] for row in same]
        yield Trial(sides[0][asked], relevant, sides[1][asked], ids, sides[0][bank], sides[1][bank])


def hub_trial(strength: float, rows: int = 10_000, references: int = 5000, queries: int = 2000) -> Trial:
    """Images of a cloud, some pulled towards the texts' mean, and texts that share an image's topic.

    Args:
        strength: of the pull; each image's share of it is exponential, so that a few are hubs.
        rows: candidates.
        references: texts of other images of the same cloud.
        queries: texts of the first candidates.
    """
    rng, dim = np.random.default_rng(11), 256
    images = make_cloud(rows + references, dim, 1, "candidates").astype(np.float64)
    centre = make_cloud(4096, dim, 2, "references").mean(axis=0, dtype=np.float64)
    noise = rng.standard_normal(images.shape) * (np.arange(dim) + 4.0) ** -0.6
    texts = centre + 0.45 * (images - images.mean(axis=0)) + 0.6 * _unit(noise)
    pulled = images + strength * rng.exponential(size=(len(images), 1)) * _unit(centre[None])
    candidates, asked = unit_vectors(pulled[:rows])[0], unit_vectors(texts)[0]
    ids = [f"{row:06}" for row in range(rows)]
    return Trial(asked[:queries], [[ids[row]] for row in range(queries)], candidates, ids, asked[rows:])


def _unit(vectors: FloatMatrix) -> FloatMatrix:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def over_splits(trials: Iterator[Trial]) -> Rows:
    """Means over trials, with the 2.5th and 97.5th percentiles of their spread."""
    runs = [trial.compare() for trial in trials]
    rows = []
    for each in zip(*runs, strict=True):
        row = dict(each[0])
        settings = [json.dumps(run["setting"]) for run in each]
        row["setting"] = json.loads(max(sorted(set(settings)), key=settings.count))
        for group in ("figures", "gains", "leads"):
            values = {name: [run[group][name]["value"] for run in each] for name in row[group]}
            row[group] = {name: _spread(found) for name, found in values.items()}
        row["seconds"] = {name: float(np.mean([run["seconds"][name] for run in each])) for name in row["seconds"]}
        rows.append(row)
    return rows


def _spread(values: list[float]) -> dict[str, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return {"value": float(np.mean(values)), "low": float(low), "high": float(high)}


def show(title: str, rows: Rows) -> None:
    reference = next(row for row in rows if row["method"] == "nnn")["seconds"]
    print(f"\n{title}")
    print(
        f"{'method':<27}{'chosen (of)':<31}"
        + "".join(f"{name:<20}" for name in SHOWN)
        + f"{'gain in recall@1':<20}{'lead over NNN':<20}{'learn s':>9}{'of NNN':>8}"
        + f"{'search s':>9}{'both, of NNN':>13}{'Mpairs':>8}"
    )
    for row in rows:
        setting = " ".join([*(f"{name}={value:g}" for name, value in row["setting"].items()), f"({row['settings']})"])
        figures = "".join(f"{_percent(row['figures'][name]):<20}" for name in SHOWN)
        seconds = row["seconds"]
        print(
            f"{row['title']:<27}{setting:<31}{figures}"
            f"{_percent(row['gains']['recall@1']):<20}{_percent(row['leads']['recall@1']):<20}"
            f"{seconds['fit']:>9.3f}{seconds['fit'] / reference['fit']:>8.2f}"
            f"{seconds['search']:>9.3f}{seconds['total'] / reference['total']:>13.2f}{row['pairs'] / 1e6:>8.1f}",
            flush=True,
        )


def _percent(interval: dict[str, float]) -> str:
    return f"{100 * interval['value']:.1f} [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"


def trials(quick: bool, only: str | None) -> Iterator[tuple[str, Rows]]:
    """Title and rows of each data set."""
    if only in (None, "demo"):
        trial = demo_trial()
        yield f"demo: {describe(trial)}", trial.compare()
    if only in (None, "real") and os.environ.get("NNN_TEST_DATA"):
        splits = 5 if quick else 100
        for direction in ("text-to-image", "image-to-text"):
            rows = over_splits(real_trials(direction, splits))
            shown = describe(next(real_trials(direction, 1)))
            yield f"memorylens_clip, {direction}: {shown}; means and spread of {splits} random splits", rows
    if only in (None, "hubs"):
        for strength in (0.0, 0.02, 0.05):
            trial = hub_trial(strength, *(2000, 1000, 500) if quick else ())
            yield f"synthetic hubs of strength {strength}: {describe(trial)}", trial.compare()


def describe(trial: Trial) -> str:
    return f"{len(trial.ids):,} candidates, bank of {len(trial.bank):,}, {len(trial.queries):,} queries"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--quick", action="store_true", help="few splits and small clouds, in a minute")
    parser.add_argument("--only", choices=("demo", "real", "hubs"), help="one kind of data")
    args = parser.parse_args()
    found = {}
    for title, rows in trials(args.quick, args.only):
        show(title, rows)
        found[title] = rows
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "rivals.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
