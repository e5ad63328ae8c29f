"""``nnn work``: the folder of artefacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from nnn_core.table.lifecycle.cleaning import clean
from pipelines.commands._output import add_command, print_json
from pipelines.commands._parser import Parser
from pipelines.commands._table_upkeep import parse_age


def main(argv: Sequence[str] | None = None) -> None:
    """Parse flags, act, print."""
    parser = Parser(prog="nnn work", description="Look after the folder of artefacts.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    text = "remove artefacts that no version of its tables needs (nnn table expire says which versions there are)"
    gc = add_command(commands, "gc", text)
    gc.add_argument("--work", required=True, metavar="URI", help="folder of artefacts")
    gc.add_argument(
        "--table",
        action="append",
        required=True,
        metavar="URI",
        help="folder of a bias table; to be repeated for every table whose refreshes have this --work",
    )
    gc.add_argument(
        "--older-than",
        type=parse_age,
        default="7d",
        metavar="AGE",
        help="what was written less than this ago stays: longer than the longest job (default: %(default)s)",
    )
    gc.add_argument("--yes", action="store_true", help="remove; without it, only say what would be removed")
    args = parser.parse_args(argv)
    done = clean(args.table, args.work, args.older_than, args.yes)
    for path in done.files:
        print(path)
    what = f"{len(done.files):,} files, {done.bytes / 2**20:,.1f} MiB; {done.kept:,} files are needed"
    print(f"removed {what}" if args.yes else f"would remove {what}; nothing was removed, say --yes to remove")
    if done.unknown:
        versions = ", ".join(f"{version} of {table}" for table, version in done.unknown)
        print(
            f"versions {versions} have no record here. What only they need may be removed; a refresh computes it again"
        )
    print_json(args, {"work": args.work, "removed": args.yes, **asdict(done)})
