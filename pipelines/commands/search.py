"""``nnn search``: what queries find among a version's candidates, before and after, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnn_core.consumers.searching import search_version
from nnn_core.encoders import load_once
from nnn_core.encoders.encoding import encode_rows
from nnn_core.encoders.prompts import Prompts
from nnn_core.errors import ConfigError
from nnn_core.evaluation.rankings import DEPTH
from nnn_core.inputs.readers import Rows
from nnn_core.table.reading import BiasTable, load_bias_table
from nnn_core.vectors import FloatMatrix, unit_vectors
from pipelines.commands._options import encoder_of_table
from pipelines.commands._output import add_version, print_json
from pipelines.commands._parser import Parser

_Hits = Sequence[tuple[float, str]]


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, search, print."""
    parser = Parser(
        prog="nnn search",
        description="Search the candidates of a table for a few queries, exactly, and show what the bias changes. It "
        "reads all vectors, so it is meant for trying, not for serving.",
    )
    parser.add_argument("--table", required=True, metavar="URI", help="folder of the bias table")
    parser.add_argument("--work", required=True, metavar="URI", help="folder of artefacts, that of the refresh")
    parser.add_argument("--encoder", required=True, metavar="SPEC", help="the table's model, as for nnn refresh")
    parser.add_argument(
        "--query", required=True, metavar="TEXT", action="append", help="text to search for; repeatable"
    )
    parser.add_argument(
        "--top", type=int, default=DEPTH, metavar="N", help=f"hits to show, at most {DEPTH} (default: %(default)s)"
    )
    add_version(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    if not 1 <= args.top <= DEPTH:
        raise ConfigError(f"--top {args.top} must be between 1 and {DEPTH}.")
    table = load_bias_table(args.table, args.version)
    found = search_version(table, args.work, _encode(args, table))
    results = []
    for text, before, after in zip(args.query, found.plain.rows, found.debiased.rows, strict=True):
        print("\n".join(_side_by_side(text, before[: args.top], after[: args.top], table)) + "\n")
        results.append({"query": text, "before": _hits(before, args.top), "after": _hits(after, args.top)})
    result = {"table": args.table, "version": table.manifest.version, "results": results}
    print_json(args, result)
    return result


def _encode(args: argparse.Namespace, table: BiasTable) -> FloatMatrix:
    """The queries' unit vectors, with the prompt that the bank's captions had.

    Raises:
        ConfigError: the table's queries are images.
        InputError: SPEC is not the table's encoder.
    """
    if table.manifest.settings.reference_modality != "text":
        raise ConfigError(f"--table {args.table!r} answers queries by image, and nnn search takes texts only.")
    source = encoder_of_table(args.encoder, args.table, table.manifest.version, args.work)
    assert source is not None  # --encoder is required
    prompts = Prompts.recorded(table.manifest.settings.encoder)
    texts = Rows(args.query, args.query, args.query)
    encoded = encode_rows([texts], "text", load_once(source), prompts.reference, where="--query")
    return unit_vectors(np.concatenate([np.asarray(batch.items) for batch in encoded]))[0]


def _side_by_side(text: str, before: _Hits, after: _Hits, table: BiasTable) -> list[str]:
    """A title and a line for each rank. A hit that moved says where it was."""
    rank = {name: place for place, (_, name) in enumerate(before, 1)}
    bias = dict(zip([name for _, name in after], table.bias_of([name for _, name in after]), strict=True))
    width = max(len("before"), *(len(name) for _, name in (*before, *after)))
    lines = [repr(text), f"      {'before':<{width}}  score     {'after':<{width}}  score    bias  was at"]
    for place, ((score, name), (left, other)) in enumerate(zip(before, after, strict=True), 1):
        was = "" if rank.get(other) == place else str(rank.get(other, f"below {len(before)}"))
        now = f"{other:<{width}}  {left + bias[other]:.3f}  {bias[other]:+.3f}  {was}"
        lines.append(f"{place:>4}  {name:<{width}}  {score:.3f}     {now}")
    return [line.rstrip() for line in lines]


def _hits(hits: _Hits, top: int) -> list[dict[str, Any]]:
    return [{"id": name, "score": score} for score, name in hits[:top]]
