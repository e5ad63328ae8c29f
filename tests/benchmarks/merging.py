"""What merging reads on a night when one day's references come and one day's go, and how often it looks twice.

    python tests/benchmarks/merging.py [--candidates N] [--candidate-shards N] [--days N] [--references N]
        [--order drawn|sorted] [--vectors CANDIDATES.npy REFERENCES.npy]

A first refresh scores all, a second one after the first day was dropped and another one added. Printed is what the
second one read of kept scores, beside its plan and beside what the same partials would hold with 128 scores of each
candidate, as lists of float32; and the share of (candidate, reference) pairs that were scored again because a partial
did not hold all that counts. No night can cost less than the biases that changed, whose share is the last line: they
are merged and written again, whatever is kept. ``sorted`` is the hostile case: references stand in the order of
topics, so that a day holds most of what counts for some candidates. Vectors of your own are cut in the order of their
rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from clouds import make_cloud

from nnn_core import load_bias_table
from nnn_core.gates.catalogue import RULES
from nnn_core.vectors import FloatMatrix

K_MAX = 128


def by_topic(vectors: FloatMatrix, topics: int) -> FloatMatrix:
    """The same rows, in the order of which of so many rows drawn from them is nearest."""
    centres = vectors[np.random.default_rng(0).choice(len(vectors), topics, replace=False)]
    return vectors[np.argsort(np.argmax(vectors @ centres.T, axis=1), kind="stable")]


def write(folder: Path, vectors: FloatMatrix, files: int) -> list[Path]:
    """The rows in so many files."""
    folder.mkdir()
    paths = [folder / f"{number:04d}.npy" for number in range(files)]
    for path, part in zip(paths, np.array_split(vectors, files), strict=True):
        np.save(path, part)
    return paths


def refresh(folder: Path, references: int) -> dict[str, Any]:
    """A refresh of what the folder holds, each file of references a shard; its summary."""
    command = [sys.executable, "-m", "pipelines.refresh", "--json", "--quiet", "--with-plan", "--id-column", "@row"]
    sides = ["--candidates", f"{folder}/candidates/*.npy", "--references", f"{folder}/references/*.npy"]
    places = ["--work", f"{folder}/work", "--table", f"{folder}/table", "--reference-shard-rows", str(references)]
    # Captions of other images may be copies of each other, which is no matter here.
    accepted = [f"--accept={rule.name}" for rule in RULES]
    done = subprocess.run([*command, *sides, *places, *accepted], check=True, stdout=subprocess.PIPE, text=True)
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def whole_bytes(candidates: FloatMatrix, references: FloatMatrix) -> int:
    """Bytes of a partial of 128 scores of each candidate, as lists."""
    scores = -np.sort(-(candidates @ references.T), axis=1)[:, :K_MAX]
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(scores).reshape(-1)), scores.shape[1])
    sink = pa.BufferOutputStream()
    encoding = {"scores.list.element": "BYTE_STREAM_SPLIT"}
    pq.write_table(
        pa.table({"scores": lists}), sink, compression="zstd", use_dictionary=False, column_encoding=encoding
    )
    return int(sink.getvalue().size)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=512, help="in a shard")
    parser.add_argument("--candidate-shards", type=int, default=30)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--references", type=int, default=4096, help="in a day")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--order", choices=["drawn", "sorted"], default="drawn")
    parser.add_argument("--vectors", nargs=2, metavar="FILE")
    args = parser.parse_args()
    if args.vectors:
        candidates, references = (np.load(path).astype(np.float32) for path in args.vectors)
    else:
        candidates = make_cloud(args.candidates * args.candidate_shards, args.dim, 1, "candidates")
        references = make_cloud(args.references * (args.days + 1), args.dim, 2, "references")
    if args.order == "sorted":
        references = by_topic(references, args.days + 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "candidates", candidates, args.candidate_shards)
        days = write(folder / "references", references, args.days + 1)
        most = max(len(np.load(day, mmap_mode="r")) for day in days)
        waiting = days[-1].rename(folder / "last.npy")
        refresh(folder, most)
        before = load_bias_table(f"{folder}/table").bias
        days[0].unlink()
        waiting.rename(days[-1])
        summary = refresh(folder, most)
        changed = float(np.mean(load_bias_table(f"{folder}/table").bias != before))
    amounts, merged = summary["plan"]["amounts"], summary["stages"]["merge_partials"]
    shard = np.array_split(candidates, args.candidate_shards)[0]
    whole = whole_bytes(shard, np.array_split(references, args.days + 1)[1]) * args.candidate_shards * args.days
    pairs, scored, read = len(candidates) * summary["references"], amounts["score_candidates"], amounts["merging_bytes"]
    print(f"{len(candidates):,} candidates in {args.candidate_shards} shards, {args.days} days of {most:,} references")
    print(f"read by merging          {read['done'] / 1e6:,.1f} MB, planned {read['planned'] / 1e6:,.1f} MB")
    print(f"with {K_MAX} scores in each   {whole / 1e6:,.1f} MB: 1/{whole / read['done']:.1f}")
    print(f"pairs scored             {scored['done'] / pairs:.2%}, planned {scored['planned'] / pairs:.2%}")
    print(f"pairs looked at again    {merged.get('pairs', 0) / pairs:.4%}")
    print(f"biases that changed      {changed:.1%}, at k = {summary['k']}")


if __name__ == "__main__":
    main()
