"""``nnn table hubs``: the candidates that are near too many queries."""

from __future__ import annotations

import argparse
from typing import Any

from nnn_core.consumers.hubs import Hubs
from nnn_core.table.hubs import DEVIATIONS, MOST_HUBS
from pipelines.commands._output import add_version, print_json

#: Hubs that are printed, and ids in the JSON for a program: the files have them all.
_SHOWN, _LISTED = 20, 1000


def add_hubs_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``nnn table hubs``."""
    add_version(parser)
    parser.add_argument(
        "--deviations",
        type=float,
        default=DEVIATIONS,
        metavar="X",
        help="a candidate is a hub if its mean is this many robust standard deviations above the median (default: "
        "%(default)s)",
    )
    parser.add_argument("--since", type=int, metavar="N", help="compare with the hubs of version N")
    parser.add_argument("--output", metavar="URI", help="write them to a Parquet file")
    parser.add_argument(
        "--quarantine",
        metavar="URI",
        help="write the ids of hubs to a text file, one a line, to leave them out of an index",
    )


def list_hubs(args: argparse.Namespace) -> None:
    """Print the worst hubs, and write the whole list if that was asked for."""
    found = Hubs.find(args.table, args.version, args.deviations)
    compared = args.since is not None
    new, gone = found.changes(Hubs.find(args.table, args.since, args.deviations)) if compared else ([], [])
    if args.output:
        found.write(args.output)
    if args.quarantine:
        found.quarantine(args.quarantine)
    number, fresh = len(found.ids), set(new)
    print(f"version {found.version}: {number:,} of {found.candidates:,} candidates are hubs (k = {found.k})")
    for row in found.rows.slice(0, _SHOWN).to_pylist():
        print(f"{row['deviations']:>10.1f}  {_describe(row)}{'  new' if row['id'] in fresh else ''}")
    if number > _SHOWN:
        print(f"{'':>10}  and {number - _SHOWN:,} more")
    if found.is_full:
        print(f"{'':>10}  a list has at most {MOST_HUBS:,} hubs; a refresh without them may show more")
    if compared:
        print(f"since version {args.since}: {len(new):,} new, {len(gone):,} gone")
    counts = {"version": found.version, "k": found.k, "candidates": found.candidates, "hubs": number}
    lists = {"ids": found.ids[:_LISTED], "new": new[:_LISTED], "gone": gone[:_LISTED]}
    print_json(args, {"table": args.table, **counts, **lists})


def _describe(row: dict[str, Any]) -> str:
    words = f"mean {row['mean']:.4f}  {row['id']!r}"
    if row["n_10"] is not None:
        words += f"  in {row['n_10']:,} top-10 lists"
    return words + (f"  near {', '.join(map(repr, row['references'][:3]))}" if row["references"] else "")


COMMANDS = {"hubs": (add_hubs_arguments, list_hubs)}
