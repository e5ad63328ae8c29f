"""``nnn export``: the files of a vector engine, with the biases inside, and how much of the ranking they keep."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from nnn_core import storage
from nnn_core.consumers.export import check_output
from nnn_core.consumers.held import manifest_uri
from nnn_core.embedded.side import lengths_note
from nnn_core.encoders import EncoderSource
from nnn_core.table.manifest import Manifest, read_manifest
from pipelines.commands._options import Output, build, encoder_of_table, make_parser
from pipelines.commands._output import print_json
from pipelines.commands._parsing import parse_flags
from pipelines.export import GROUPS, ExportConfig, define_export, recipe_of
from pipelines.options import COLUMNS
from pipelines.running.runner import run


def _export(config: ExportConfig, manifest: Manifest, encoder: EncoderSource | None, options: Any) -> dict[str, Any]:
    """Run the job and read its manifest.

    Raises:
        NNNError: whatever went wrong.
    """
    storage.check_exclusive(config.work)
    recipe = recipe_of(config, manifest)
    expected = {"recipe": recipe and recipe.to_record(), "encoder": manifest.settings.encoder}
    check_output(config.output, expected)
    run(options, lambda root: define_export(root, config, manifest, recipe, encoder))
    record: dict[str, Any] = json.loads(storage.read_bytes(manifest_uri(config.output)))
    return {"manifest": manifest_uri(config.output), **record}


def _print_export(result: dict[str, Any]) -> None:
    """The result for a person."""
    table, recipe, overlap = result["table"], result["recipe"], result["overlap"]
    size = sum(each["bytes"] for each in result["files"])
    print(f"export       {result['manifest']}")
    print(f"             {result['rows']:,} of {table['rows']:,} candidates of version {table['version']}")
    print(f"files        {len(result['files'])}, {size:,} bytes; the vectors are {result['embeddings']}")
    if recipe:
        print(f"engine       {recipe['engine']}, {recipe['setting']}: {recipe['imports']}")
        inside = f" with b = bias - {recipe['bias_shift']:.8g}" if recipe["form"] != "attribute" else ""
        print(f"stored       {recipe['stored_vector']}{inside}")
        print(f"query        {recipe['query_vector']}")
        print(f"score        {recipe['score_read_back']}")
        print(f"settings     {recipe['index_settings']}")
        if "query" in recipe:
            print(f"ask          {recipe['query_to']}, where <q> is the query's vector:\n{recipe['query']}")
    asked = f"{result['queries']['rows']} {result['queries']['source']}"
    if overlap:
        print(
            f"overlap      {overlap['mean']:.4f} of the exact top {overlap['depth']} on average, "
            f"{overlap['lowest']:.2f} at worst ({asked}; the bias changes {overlap['changed']:.1%} of it)"
        )
    if tuned := result.get("tuned"):
        tried = ", ".join(f"{share:.4f} at {value}" for value, share in tuned["overlaps"])
        if tuned["parameter"]:
            print(f"{tuned['parameter']:<12} {tuned['value']}, stored in the index; overlap {tried}")
        print(f"plain        the same index of plain vectors keeps {tuned['plain']:.4f} of the exact plain top 10")
    if depths := result.get("depths"):
        shares = ", ".join(f"{share:.4f} at {k:,}" for k, share in depths["overlap"])
        print(f"re-rank      a plain top {depths['needed']:,} keeps {depths['target']:g} of the exact top 10 ({asked})")
        print(f"             overlap {shares}; all of every query at {depths['complete']:,}")
        if "hubs" in result:
            print(f"hubs         {result['hubs']:,} candidates, for the gate")
    if update := result.get("update"):
        print(
            f"update       since version {update['since']}: {update['added']:,} added, {update['moved']:,} "
            f"moved, {update['removed']:,} removed, {update['kept']:,} unchanged, {update['tolerated']:,} left "
            f"out because they moved by less than {update['min_change']:g}. The overlap is that of the updated "
            "index"
        )
        print("".join(f"{name:<13}{recipe[name]}\n" for name in ("sets", "removes") if recipe.get(name)), end="")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, run, print."""
    parser = make_parser(
        "export",
        "Write the candidates, with the biases inside, as files that a vector engine imports. Also write the "
        "recipe for its queries, and measure how much of the exact ranking is kept.",
        (ExportConfig, Output),
        {**dict.fromkeys(GROUPS), COLUMNS: "Names of columns or JSON fields; --query-... for the queries."},
    )
    args, options = parse_flags(parser, argv)
    manifest = read_manifest(args.table, args.version)
    config = build(ExportConfig, args, version=manifest.version)
    result = _export(config, manifest, encoder_of_table(args.encoder, args.table, config.version, config.work), options)
    if note := lengths_note(result["off_length"], result["rows"], "--embeddings"):
        logging.getLogger("nnn").warning(note)
    _print_export(result)
    print_json(args, result)
    return result
