"""``nnn export``: the files of a vector engine, with the biases inside, and how much of the ranking they keep."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from nnn_core import storage
from nnn_core.consumers.engines.faiss_file import MOST_INDEX_BYTES
from nnn_core.consumers.engines.overlap import SAMPLE_ROWS
from nnn_core.consumers.engines.recipe import CENTRES, FORMS, QUANTISATIONS
from nnn_core.consumers.engines.registry import METRICS, engine_names
from nnn_core.consumers.export import check_output, manifest_uri
from nnn_core.consumers.rerank import check_target
from nnn_core.encoders import EncoderSource
from nnn_core.evaluation.metrics import Z_ALARM
from nnn_core.table.manifest import read_manifest
from pipelines.commands.encoder_flags import encoder_of_table
from pipelines.commands.flags import add_column_arguments, add_override_arguments, columns_from, override_columns
from pipelines.commands.parsing import parse_flags
from pipelines.export import ExportConfig, define_export, recipe_of, recorded
from pipelines.running.logs import add_log_arguments
from pipelines.running.runner import run


def export(config: ExportConfig, encoder: EncoderSource | None, options: Any) -> dict[str, Any]:
    """Run the job and read its manifest.

    Raises:
        NNNError: whatever went wrong.
    """
    storage.check_exclusive(config.work)
    manifest = read_manifest(config.table, config.version)
    recipe = recipe_of(config, manifest)
    expected = {"recipe": recorded(recipe), "encoder": manifest.settings.encoder}
    check_output(config.output, expected)
    run(options, lambda root: define_export(root, config, manifest, recipe, encoder))
    record: dict[str, Any] = json.loads(storage.read_bytes(manifest_uri(config.output)))
    return {"manifest": manifest_uri(config.output), **record}


def print_export(result: dict[str, Any]) -> None:
    """The result for a person."""
    table, recipe, overlap = result["table"], result["recipe"], result["overlap"]
    size = sum(each["bytes"] for each in result["files"])
    print(f"export       {result['manifest']}")
    print(f"             {result['rows']:,} of {table['rows']:,} candidates of version {table['version']}")
    print(f"files        {len(result['files'])}, {size:,} bytes; the vectors are {result['embeddings']}")
    if recipe:
        print(f"engine       {recipe['engine']}, {recipe['setting']}: {recipe['imports']}")
        print(f"stored       {recipe['stored_vector']} with b = bias - {recipe['bias_shift']:.8g}")
        print(f"query        {recipe['query_vector']}")
        print(f"score        {recipe['score_read_back']}")
        print(f"settings     {recipe['index_settings']}")
    asked = f"{result['queries']['rows']} {result['queries']['source']}"
    if overlap:
        print(
            f"overlap      {overlap['mean']:.4f} of the exact top {overlap['depth']} on average, "
            f"{overlap['lowest']:.2f} at worst ({asked}; the bias changes {overlap['changed']:.1%} of it)"
        )
    if depths := result.get("depths"):
        shares = ", ".join(f"{share:.4f} at {k:,}" for k, share in depths["overlap"])
        print(f"re-rank      a plain top {depths['needed']:,} keeps {depths['target']:g} of the exact top 10 ({asked})")
        print(f"             overlap {shares}; all of every query at {depths['complete']:,}")
        print(f"hubs         {result['hubs']:,} candidates, for the gate")


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``nnn export``."""
    parser = argparse.ArgumentParser(
        prog="nnn export",
        description="Write the candidates of an index, with their biases inside, as the files that a vector engine "
        "imports, with the recipe for its queries, and measure how much of the exact ranking they keep.",
        epilog="Any Apache Beam option may follow.",
        allow_abbrev=False,
    )
    parser.add_argument("--table", required=True, metavar="URI", help="folder of the bias table")
    parser.add_argument("--version", type=int, metavar="N", help="which version (default: the current one)")
    parser.add_argument("--embeddings", required=True, metavar="GLOB", help="shards of the candidates of the index")
    parser.add_argument("--engine", required=True, choices=engine_names(), help="for which engine; rerank for none")
    parser.add_argument("--output", required=True, metavar="URI", help="new folder of the files and of export.json")
    parser.add_argument("--work", required=True, metavar="URI", help="folder of artefacts, that of the refresh")
    parser.add_argument("--encoder", metavar="SPEC", help="as for nnn refresh; not needed for vectors")
    _add_form_arguments(parser.add_argument_group("the exported form"))
    measured = parser.add_argument_group("measured overlap")
    measured.add_argument("--queries", metavar="GLOB", help="shards of queries (default: some of the candidates)")
    measured.add_argument("--sample", type=int, default=SAMPLE_ROWS, metavar="N", help="(default: %(default)s)")
    measured.add_argument("--seed", type=int, default=0, metavar="N", help="of the sample (default: %(default)s)")
    measured.add_argument(
        "--target-overlap",
        type=float,
        default=0.99,
        metavar="SHARE",
        help="with --engine rerank: how much of the exact top 10 is to be kept (default: %(default)s)",
    )
    measured.add_argument(
        "--hub-deviations",
        type=float,
        default=Z_ALARM,
        metavar="X",
        help="with --engine rerank: a candidate is a hub when its bias lies more than X robust standard deviations "
        "above the median (default: %(default)s)",
    )
    columns = parser.add_argument_group("columns", "Names of columns or JSON fields; --query-... for the queries.")
    add_column_arguments(columns)
    add_override_arguments(columns, "query")
    parser.add_argument("--max-reject-rate", type=float, default=0.0, metavar="RATE", help="share that may be unusable")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    add_log_arguments(parser)
    return parser


def _add_form_arguments(group: argparse._ActionsContainer) -> None:
    group.add_argument("--metric", choices=tuple(METRICS), default="ip", help="of the index (default: %(default)s)")
    group.add_argument("--form", choices=FORMS, default="auto", help="augmentation (default: that of the metric)")
    group.add_argument(
        "--centre",
        choices=CENTRES,
        default="mean",
        help="what is taken off every bias, which changes no ranking; nonnegative makes every score at least 0 "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--quantisation", choices=QUANTISATIONS, default="none", help="what the engine will do (default: %(default)s)"
    )
    group.add_argument("--index", metavar="FACTORY", help="FAISS's factory string (default: Flat; SQ8 for int8)")
    group.add_argument(
        "--max-index-bytes",
        type=int,
        default=MOST_INDEX_BYTES,
        metavar="N",
        help="bytes of vectors that a FAISS index is built of in memory (default: %(default)s)",
    )
    group.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="that build a FAISS index; with more than one an HNSW graph differs from run to run "
        "(default: %(default)s)",
    )


def _config_from(args: argparse.Namespace) -> ExportConfig:
    columns = columns_from(args)
    check_target(args.target_overlap)
    names = {field.name for field in dataclasses.fields(ExportConfig)} & set(vars(args)) - {"version"}
    return ExportConfig(
        **{name: getattr(args, name) for name in names},
        version=read_manifest(args.table, args.version).version,
        columns=columns,
        query_columns=dataclasses.replace(override_columns(args, "query", columns), require_id=False),
    )


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, run, print."""
    args, options = parse_flags(build_parser(), argv)
    config = _config_from(args)
    result = export(config, encoder_of_table(args.encoder, args.table, config.version), options)
    print_export(result)
    if args.json:
        print(json.dumps(result))
    return result


if __name__ == "__main__":
    from pipelines.commands.cli import run_command

    sys.exit(run_command(main, sys.argv[1:]))
