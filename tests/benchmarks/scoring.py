"""How fast candidates are scored, relative to the plain matrix product of the same shapes.

    python tests/benchmarks/scoring.py [--quick] [--output FOLDER] [--vectors CANDIDATES.npy REFERENCES.npy]

Every row compares things that ran in turns in this very process, A B C A B C ..., and gives the
median of their ratios: machines differ and drift, ratios hardly do. The table goes to standard
output, the rows as JSON and as a plot to the output folder. ``--vectors`` measures the exact searches
on embeddings of yours instead, repeated and perturbed to a bank of 100,000.

Variables that some machines set for old builds make numpy run slower kernels than the processor has,
and every ratio to its product better than it is. The benchmark starts itself again without them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import threadpoolctl

sys.path.insert(0, str(Path(__file__).parent))
from clouds import make_cloud

from nnn_core.embedded.shards import VectorBlock
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search import exact as exact_module
from nnn_core.scoring.search._approximate import ApproximateSearch
from nnn_core.scoring.search._clusters import Clusters
from nnn_core.scoring.search._lanes import int8_instructions
from nnn_core.scoring.search._prefilter import PrefilterSearch
from nnn_core.scoring.search.calibration import _choose_settings
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.scoring.search.searches import _FASTER, Search, _FasterSearch, _has_device
from nnn_core.scoring.topk import BiasError, TopK, grid_of
from nnn_core.vectors import FloatMatrix, unit_vectors

DIM = 512
TOLERANCE = 1e-3

#: What makes numerical libraries run other kernels than the processor's best.
SLOWING = (
    "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "MKL_ENABLE_INSTRUCTIONS",
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "FAISS_OPT_LEVEL",
)  # fmt: skip

#: Part of a perturbed vector that is noise.
NOISE = 0.3


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        name: what was measured.
        path: gemm, exact, prefilter, auto, device, approximate, peer or faiss.
        bank: reference queries.
        k: scores kept.
        threads: threads.
        microseconds: per candidate, median.
        ratio_to_sgemm: median of the ratios to the plain float32 product in the same round.
        error_mean: mean absolute error of a candidate's mean; None where not measured.
        rank_correlation: Spearman's between the means; None where not measured.
        note: settings or a comparison.
    """

    name: str
    path: str
    bank: int
    k: int
    threads: int
    microseconds: float
    ratio_to_sgemm: float
    error_mean: float | None = None
    rank_correlation: float | None = None
    note: str = ""


def as_block(vectors: FloatMatrix) -> VectorBlock:
    ids = pa.array([str(number) for number in range(len(vectors))])
    return VectorBlock(ids, ids, vectors)


def take_turns(programs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each program in each round, after one that does not count."""
    for program in programs.values():
        program()
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            program()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def rows_of(
    seconds: dict[str, list[float]], rows: dict[str, int], bank: int, k: int, threads: int, paths: dict[str, str]
) -> list[Row]:
    each = {name: [second / rows[name] for second in values] for name, values in seconds.items()}
    return [
        Row(
            name,
            paths[name],
            bank,
            k,
            threads,
            round(1e6 * statistics.median(values), 1),
            round(statistics.median(a / b for a, b in zip(values, each["sgemm"], strict=True)), 4),
        )
        for name, values in each.items()
    ]


def cloud_candidates(bank: int, threads: int) -> FloatMatrix:
    """As many as score in a few seconds."""
    return make_cloud(threads * max(1024, min(4096, 100_000_000 // bank) // 1024 * 1024), DIM, 1, "candidates")


def perturbed(vectors: FloatMatrix, rows: int, seed: int) -> FloatMatrix:
    """``rows`` unit vectors: those given, again and again, each with noise that lies as the given ones do."""
    unit = unit_vectors(vectors)[0].astype(np.float64)
    rng = np.random.default_rng(seed)
    centred = unit - unit.mean(axis=0)
    noise = rng.standard_normal((rows, len(unit))) @ centred / np.sqrt(len(unit))
    return unit_vectors(unit[np.arange(rows) % len(unit)] + NOISE * noise)[0]


def sgemm(candidates: FloatMatrix, references: FloatMatrix, threads: int) -> Callable[[], None]:
    """The plain product, a thousand candidates at a time, into memory that is there already."""
    out = np.empty((1024, len(references)), np.float32)

    def run() -> None:
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            for first in range(0, len(candidates), 1024):
                block = candidates[first : first + 1024]
                np.matmul(block, references.T, out=out[: len(block)])

    return run


def peer(candidates: FloatMatrix, references: FloatMatrix, k: int, threads: int) -> Callable[[], float] | None:
    """The authors' package with its fastest retriever and batch size, if it is installed."""
    try:
        import torch
        from nnn import NNNRetriever
    except ImportError:
        return None
    retriever, tensors = NNNRetriever(candidates.shape[1]), (torch.from_numpy(candidates), torch.from_numpy(references))

    def run(rows: int, batch: int) -> float:
        torch.set_num_threads(threads)
        start = time.perf_counter()
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            retriever.compute_alignment_means(tensors[0][:rows], tensors[1], k, batch)
        return time.perf_counter() - start

    run(256, 128)
    best = min((32, 64, 128, 256), key=lambda batch: run(512, batch))
    return lambda: run(len(candidates), best)


def faiss_knn(candidates: FloatMatrix, references: FloatMatrix, k: int, threads: int) -> Callable[[], None]:
    import faiss

    def run() -> None:
        faiss.omp_set_num_threads(threads)
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            faiss.knn(candidates, references, k, metric=faiss.METRIC_INNER_PRODUCT)

    return run


def bench_exact(
    candidates: FloatMatrix, references: FloatMatrix, rounds: int, threads: int, ks: tuple[int, ...]
) -> list[Row]:
    """The exact searches against the product, FAISS and the authors' package."""
    bank = len(references)
    block, index = as_block(candidates), ReferenceIndex.of(references)
    searches: dict[str, Search] = {
        "exact": ExactSearch(index),
        "prefilter": PrefilterSearch.of(index),
        "auto": _FasterSearch(index),
    }
    _FASTER.clear()  # what it found with another number of threads
    if _has_device():
        from nnn_core.scoring.search._device import DeviceSearch

        searches["device"] = DeviceSearch.of(index)
    found: list[Row] = []
    for k in ks:
        programs: dict[str, Callable[[], Any]] = {"sgemm": sgemm(candidates, references, threads)}
        for name, search in searches.items():
            for _ in range(3 if name == "auto" else 0):  # enough for it to decide
                score_block(block, search, k, threads)
            programs[name] = lambda search=search, k=k: score_block(block, search, k, threads)
        programs["faiss.knn"] = faiss_knn(candidates, references, k, threads)
        package = peer(candidates, references, k, threads)
        if package is not None:
            programs["nnn-retrieval"] = package
        paths = {"sgemm": "gemm", "faiss.knn": "faiss", "nnn-retrieval": "peer"}
        rows = rows_of(
            take_turns(programs, rounds),
            dict.fromkeys(programs, len(candidates)),
            bank,
            k,
            threads,
            {name: paths.get(name, name) for name in programs},
        )
        for row in rows:
            if row.name in searches:
                top = score_block(as_block(candidates[:256]), searches[row.name], k, threads)
                error = BiasError.between(brute_force(candidates[:256], references, grid_of(k)), top.means(grid_of(k)))
                against = next((other.microseconds for other in rows if other.path == "peer"), None)
                note = f"{row.microseconds / against:.2f} of nnn-retrieval; " if against else ""
                if row.name == "auto":
                    best = min(each.ratio_to_sgemm for each in rows if each.name in ("exact", "prefilter"))
                    note += f"takes {searches[row.name].name}, {row.ratio_to_sgemm / best:.2f} of the best"
                if row.name == "exact":
                    note += f"exact scores {share_of_exact_scores(block, searches[row.name], k):.1%} of it"
                row = replace(row, error_mean=error.mean, rank_correlation=error.rank_correlation, note=note)
            found.append(row)
            show(row)
    return found


def share_of_exact_scores(block: VectorBlock, search: Search, k: int) -> float:
    """How much of a search on one thread goes into computing the selected scores exactly."""
    inside = 0.0
    original = exact_module.score_selected

    def timed(*args: Any) -> FloatMatrix:
        nonlocal inside
        start = time.perf_counter()
        scores = original(*args)
        inside += time.perf_counter() - start
        return scores

    exact_module.score_selected = timed
    try:
        start = time.perf_counter()
        score_block(block, search, k)
        return inside / (time.perf_counter() - start)
    finally:
        exact_module.score_selected = original


def brute_force(candidates: FloatMatrix, references: FloatMatrix, grid: tuple[int, ...]) -> FloatMatrix:
    """Means by float64, with nothing of the product in it but the definition."""
    best = np.zeros((len(candidates), 0))
    for first in range(0, len(references), 50_000):
        scores = candidates.astype(np.float64) @ references[first : first + 50_000].astype(np.float64).T
        best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, : grid[-1]]
    return np.stack([best[:, :k].mean(axis=1) for k in grid], axis=1).astype(np.float32)


def bench_approximate(bank: int, references: FloatMatrix, rounds: int, k: int) -> list[Row]:
    """The approximate search, calibrated to the tolerance, on one thread."""
    candidates = make_cloud(16_384, DIM, 1, "candidates")
    few, sample, check = as_block(candidates[:1024]), as_block(candidates[-1024:]), as_block(candidates[-2048:-1024])
    index = ReferenceIndex.of(references)
    exact = ExactSearch(index)
    start = time.perf_counter()
    with threadpoolctl.threadpool_limits(1):
        clusters = Clusters.train(index.vectors)
    trained = time.perf_counter() - start
    settings = _choose_settings(sample, exact, clusters, (k,), TOLERANCE)
    calibrated = time.perf_counter() - start - trained
    search: Search = exact if settings is None else ApproximateSearch.of(index, clusters, settings)
    whole = as_block(candidates)
    programs: dict[str, Callable[[], TopK | None]] = {
        "sgemm": sgemm(few.vectors, references, 1),
        "exact": lambda: score_block(few, exact, k),
        "approximate": lambda: score_block(whole, search, k),
    }
    sizes = {"sgemm": 1024, "exact": 1024, "approximate": len(candidates)}
    paths = {"sgemm": "gemm", "exact": "exact", "approximate": "approximate"}
    seconds = take_turns(programs, rounds)
    rows = rows_of(seconds, sizes, bank, k, 1, paths)
    truth, means = (score_block(check, each, k).means((k,)) for each in (exact, search))
    error = BiasError.between(truth, means)
    faster = statistics.median(
        (a / 1024) / (b / len(candidates)) for a, b in zip(seconds["exact"], seconds["approximate"], strict=True)
    )
    shown = (
        "exact, since nothing cheaper keeps to the tolerance"
        if settings is None
        else f"lists {settings.share:.1%}, {settings.dims} dims, spare {settings.spare}"
    )
    note = f"{faster:.1f}x as fast as exact; {shown}; clustered in {trained:.0f} s, calibrated in {calibrated:.0f} s"
    row = replace(rows[2], error_mean=error.mean, rank_correlation=error.rank_correlation, note=note)
    show(row)
    return [row]


def exponent(rows: list[Row]) -> float:
    """Slope of log(time per candidate) over log(bank), by least squares."""
    banks, times = (
        [np.log(value) for value in values]
        for values in zip(*((row.bank, row.microseconds) for row in rows), strict=True)
    )
    return float(np.polyfit(banks, times, 1)[0])


def show(row: Row) -> None:
    error = "" if row.error_mean is None else f"  error {row.error_mean:.1e}  rank {row.rank_correlation:.5f}"
    print(
        f"{row.name:<14} bank {row.bank:>9,}  k {row.k:>3}  threads {row.threads}  "
        f"{row.microseconds:>9.1f} us  {row.ratio_to_sgemm:>7.3f} sgemm{error}  {row.note}",
        flush=True,
    )


def describe_machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    int8 = int8_instructions() or "no instructions"
    blas = next(
        pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas" and "numpy" in pool["filepath"]
    )
    kernels = f"{blas['internal_api']} {blas['version']} with its {blas['architecture']} kernels"
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {int8} for int8; numpy {np.__version__}, {kernels}"


def start_without(names: tuple[str, ...]) -> None:
    """Start this program again, in this process, if one of these environment variables is set."""
    found = [name for name in names if name in os.environ]
    if found:
        print(f"starting again without {', '.join(found)}", flush=True)
        left = {name: value for name, value in os.environ.items() if name not in names}
        os.execve(sys.executable, [sys.executable, *sys.argv], left)


def plot(rows: list[Row], path: Path) -> None:
    """Time per candidate over the size of the bank, exact and approximate (SVG); needs the bench extra."""
    try:
        import altair as alt
    except ImportError:
        print("altair is not installed (pip install '.[bench]'), so there is no plot", file=sys.stderr)
        return
    chosen = [
        asdict(row) for row in rows if row.threads == 1 and row.k == 128 and row.path not in ("faiss", "device", "auto")
    ]
    axes = {"x": alt.X("bank:Q", title="reference queries in the bank").scale(type="log")}
    chart = (
        alt.Chart(alt.Data(values=chosen), title="Scoring one candidate (512 dimensions, k = 128, one thread)")
        .mark_line(point=True)
        .encode(
            y=alt.Y("microseconds:Q", title="microseconds per candidate").scale(type="log"),
            color=alt.Color("path:N", title=None),
            **axes,
        )
        .properties(width=480, height=320)
    )
    chart.save(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--quick", action="store_true", help="small banks and few rounds, in a minute")
    parser.add_argument("--only", choices=("exact", "approximate"), help="one half")
    parser.add_argument("--vectors", type=Path, nargs=2, metavar=("CANDIDATES.npy", "REFERENCES.npy"), help="real ones")
    args = parser.parse_args()
    start_without(SLOWING)
    print(describe_machine())
    if args.vectors:
        candidates, references = (np.load(path) for path in args.vectors)
        for threads in (1, 2):
            bench_exact(perturbed(candidates, 2048, 1), perturbed(references, 100_000, 2), 5, threads, (16, 128))
        return
    rounds = 3 if args.quick else 5
    rows: list[Row] = []
    exact_banks = (20_000,) if args.quick else (20_000, 100_000, 500_000)
    approximate_banks = (10_000, 100_000) if args.quick else (10_000, 100_000, 1_000_000)
    for bank in exact_banks if args.only != "approximate" else ():
        references = make_cloud(bank, DIM, 2, "references")
        for threads in sorted({1, min(2, len(os.sched_getaffinity(0)))}):
            rows += bench_exact(cloud_candidates(bank, threads), references, rounds, threads, (16, 128))
    approximate = []
    for bank in approximate_banks if args.only != "exact" else ():
        approximate += bench_approximate(bank, make_cloud(bank, DIM, 2, "references"), rounds, 128)
    if len(approximate) > 1:
        print(f"time per candidate grows with the bank to the power {exponent(approximate):.2f}")
    rows += approximate
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "scoring.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    plot(rows, args.output / "scoring.svg")


if __name__ == "__main__":
    main()
