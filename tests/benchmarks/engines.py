"""What the choices of an export are worth, in overlap with the exact top 10: the figures of deploy/ENGINES.md.

    python tests/benchmarks/engines.py [--rows 10000] [--dim 512]

Synthetic embeddings (``clouds.py``), a bank of fourteen days, k = 16 and alpha = 0.75. Lines of LanceDB need the
package (``make test-engines`` installs it).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from benchmarks.clouds import make_cloud
from corpora import brute_force_means

from nnn_core.consumers.engines._faiss_file import build_index
from nnn_core.consumers.engines.recipe import BiasRange, Recipe

K, ALPHA, DAYS, DEPTH = 16, 0.75, 14, 10

Matrix = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class World:
    """Candidates, a bank of one day more than a window has, and queries."""

    candidates: Matrix
    bank: Matrix
    queries: Matrix

    @classmethod
    def make(cls, rows: int, dim: int, day: int, queries: int) -> World:
        bank = make_cloud(day * (DAYS + 1), dim, 2, "references")
        return cls(make_cloud(rows, dim, 1, "candidates"), bank, make_cloud(queries, dim, 3, "references"))

    def bias(self, first_day: int) -> npt.NDArray[np.float32]:
        day = len(self.bank) // (DAYS + 1)
        window = self.bank[first_day * day : (first_day + DAYS) * day]
        return (ALPHA * brute_force_means(self.candidates, window, (K,))[:, 0]).astype(np.float32)

    def top(self, bias: npt.NDArray[np.floating] | float = 0.0) -> Places:
        scores = self.queries.astype(np.float64) @ self.candidates.astype(np.float64).T - bias
        return np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]


def overlap(one: Places, other: Places) -> float:
    return float(np.mean([len({*a} & {*b}) / DEPTH for a, b in zip(one.tolist(), other.tolist(), strict=True)]))


def lines(world: World) -> Iterator[tuple[str, str]]:
    """(what, figure)."""
    bias = world.bias(0)
    exact, plain = world.top(bias), world.top()
    yield "plain search in place of the debiased one", f"{overlap(exact, plain):.2f}"
    yield from weights(world, bias)
    yield from window(world, bias)
    yield from rescoring(world, bias)
    yield from sub_vectors(world, bias)
    yield from lancedb_lines(world, bias)


def recipe_of(bias: npt.NDArray[np.float32], dim: int, engine: str, metric: str, **options: object) -> Recipe:
    biases = BiasRange(float(bias.min()), float(bias.mean()), float(bias.max()), ALPHA)
    return Recipe.make(engine, metric, dim, biases, **options)  # type: ignore[arg-type]


def weights(world: World, bias: npt.NDArray[np.float32]) -> Iterator[tuple[str, str]]:
    found = []
    for metric in ("ip", "cosine", "l2"):
        recipe = recipe_of(bias, world.candidates.shape[1], "faiss", metric)
        index = build_index("Flat", recipe, recipe.stored(world.candidates, bias))
        for alpha in (0.0, ALPHA / 2, ALPHA, 2 * ALPHA):
            _, rows = index.search(recipe.asked(world.queries, alpha), DEPTH)
            found.append(overlap(world.top(alpha / ALPHA * bias.astype(np.float64)), rows))
    yield "`[q, w]` on one index, w = 0, 1/2, 1, 2, all metrics: the least", f"{min(found):.3f}"


def window(world: World, bias: npt.NDArray[np.float32]) -> Iterator[tuple[str, str]]:
    later = world.bias(1)
    exact, change = world.top(later), np.abs(later - bias)
    yield f"the window slides by a day of {DAYS}: biases that move", f"{(change > 0).mean():.1%}"
    yield "nothing is updated", f"{overlap(exact, world.top(bias)):.3f}"
    for least in (0.0005, 0.001, 0.002, 0.005):
        held = np.where(change >= least, later, bias)
        moved = f"{(change >= least).mean():.1%} of the rows"
        yield f"`--min-change {least:g}`", f"{overlap(exact, world.top(held)):.3f} ({moved})"


def rescoring(world: World, bias: npt.NDArray[np.float32]) -> Iterator[tuple[str, str]]:
    """As Elasticsearch documents it: the first score, 1 + x, is added times ``query_weight``."""
    scores = world.queries.astype(np.float64) @ world.candidates.astype(np.float64).T
    window = np.argsort(-scores, axis=1)[:, :1000]
    for weight, what in ((1, "1, the default"), (0, "0")):
        first = np.take_along_axis(scores, window, axis=1)
        final = weight * (1.0 + first) + first - bias[window]
        rows = np.take_along_axis(window, np.argsort(-final, axis=1)[:, :DEPTH], axis=1)
        yield f"rescoring 1,000 hits with `query_weight` {what} (by formula)", f"{overlap(world.top(bias), rows):.2f}"


def padded(vectors: Matrix, dimensions: int) -> Matrix:
    return np.pad(vectors, ((0, 0), (0, dimensions - vectors.shape[1])))


def sub_vectors(world: World, bias: npt.NDArray[np.float32]) -> Iterator[tuple[str, str]]:
    """FAISS's product quantiser on the debiased index, beside the same quantiser on plain vectors."""
    dim = world.candidates.shape[1]
    plain = faiss.index_factory(dim, "PQ64", faiss.METRIC_INNER_PRODUCT)
    plain.train(world.candidates)
    plain.add(world.candidates)
    _, rows = plain.search(world.queries, DEPTH)
    recipe = recipe_of(bias, dim, "faiss", "ip", pad_to=64)
    index = build_index("PQ64", recipe, recipe.stored(world.candidates, bias))
    _, ours = index.search(recipe.asked(world.queries), DEPTH)
    yield "FAISS `PQ64`, plain vectors", f"{overlap(world.top(), rows):.2f}"
    yield (
        f"FAISS `PQ64`, with the bias, {dim + 1} dimensions padded to {recipe.dimensions}",
        (f"{overlap(world.top(bias), ours):.2f}"),
    )


def lancedb_lines(world: World, bias: npt.NDArray[np.float32]) -> Iterator[tuple[str, str]]:
    try:
        import lancedb
    except ImportError:
        return
    dim, exact = world.candidates.shape[1], world.top(bias)

    def search(stored: Matrix, asked: Matrix, kind: str) -> Places:
        with tempfile.TemporaryDirectory() as folder:
            flat = pa.array(np.ascontiguousarray(stored).ravel())
            rows = pa.table(
                {"n": range(len(stored)), "vector": pa.FixedSizeListArray.from_arrays(flat, stored.shape[1])}
            )
            table = lancedb.connect(folder).create_table("items", rows)
            table.create_index(metric="dot", index_type=kind)
            found = (table.search(row).distance_type("dot").limit(DEPTH).to_arrow() for row in asked)
            return np.array([each["n"].to_pylist() for each in found])

    for kind in ("IVF_PQ", "IVF_SQ", "IVF_HNSW_SQ"):
        name = f"LanceDB `{kind}`{', its default' if kind == 'IVF_PQ' else ''}"
        found = search(world.candidates, world.queries, kind)
        yield f"{name}, plain vectors", f"{overlap(world.top(), found):.2f}"
        for pad_to in (1, 8) if kind == "IVF_PQ" else (8,):
            recipe = recipe_of(bias, dim, "lancedb", "ip", pad_to=pad_to)
            found = search(recipe.stored(world.candidates, bias), recipe.asked(world.queries), kind)
            what = f"padded to {recipe.dimensions}" if recipe.zeros else f"{recipe.dimensions} dimensions as they are"
            yield f"{name}, with the bias, {what}", f"{overlap(exact, found):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--day", type=int, default=400, help="queries of a day (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=200)
    args = parser.parse_args()
    print("| what | overlap |\n|---|---|")
    for what, figure in lines(World.make(args.rows, args.dim, args.day, args.queries)):
        print(f"| {what} | {figure} |", flush=True)


if __name__ == "__main__":
    main()
