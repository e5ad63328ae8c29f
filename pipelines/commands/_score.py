"""``nnn score``: biases of items that are not in the table yet, as the next refresh would publish them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from nnn_core import storage
from nnn_core.artifacts import from_parquet
from nnn_core.table.manifest import read_manifest
from pipelines.commands._options import Output, build, encoder_of_table, make_parser, threads_of
from pipelines.commands._output import print_json
from pipelines.commands._parsing import parse_flags
from pipelines.commands._preflight import check_files
from pipelines.options import COLUMNS
from pipelines.running.known_runners import runs_locally
from pipelines.running.runner import run
from pipelines.score import ScoreConfig, define_score


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, run, print."""
    parser = make_parser(
        "score",
        "Compute the biases of new items, with the same values as a refresh against the same bank. Writes a "
        "Parquet file of id and bias, and does not change the table.",
        (ScoreConfig, Output),
        {COLUMNS: "Names of columns or JSON fields."},
    )
    args, options = parse_flags(parser, argv)
    manifest = read_manifest(args.table, args.version)
    threads = threads_of(args, runs_locally(options))
    config = build(ScoreConfig, args, version=manifest.version, threads=threads)
    storage.check_exclusive(config.work)
    storage.check_exclusive(config.output)
    check_files(config, ("candidates",), runs_locally(options))
    encoder = encoder_of_table(args.encoder, args.table, config.version, config.work)
    run(options, lambda root: define_score(root, config, manifest, encoder))
    result = {"table": config.table, "version": manifest.version, "output": config.output, **_describe(config.output)}
    print(f"scored       {result['rows']:,} candidates with the bank of version {manifest.version}")
    span = f"{result['bias_min']:.6f} to {result['bias_max']:.6f}"
    print(f"bias         {span} (the table's mean is {manifest.bias_mean:.6f})")
    print(f"written to   {config.output}")
    print_json(args, result)
    return result


def _describe(output: str) -> dict[str, Any]:
    bias: pa.ChunkedArray = from_parquet(storage.read_bytes(output), ["bias"]).column("bias")
    values = bias.to_numpy()
    return {"rows": len(values), "bias_min": float(values.min()), "bias_max": float(values.max())}
