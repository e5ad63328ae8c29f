"""``nnn work``: the folder of artefacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from nnn_core.table.lifecycle.cleaning import _Cleaning, clean
from pipelines.commands._output import add_command, print_json
from pipelines.commands._parser import Parser
from pipelines.commands._table_upkeep import parse_age


def main(argv: Sequence[str] | None = None) -> None:
    """Parse flags, act, print."""
    parser = Parser(prog="nnn work", description="Manage the folder of artefacts.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    text = "remove artefacts that no version of its tables needs. First remove old versions with nnn table expire"
    gc = add_command(commands, "gc", text)
    gc.add_argument("--work", required=True, metavar="URI", help="folder of artefacts")
    gc.add_argument(
        "--table",
        action="append",
        required=True,
        metavar="URI",
        help="folder of a bias table; repeat the flag for every table that uses this --work",
    )
    gc.add_argument(
        "--older-than",
        type=parse_age,
        default="7d",
        metavar="AGE",
        help="keep files that are younger than this. Must exceed the longest job (default: %(default)s)",
    )
    gc.add_argument(
        "--yes", action="store_true", help="remove files; without this flag, only show what would be removed"
    )
    args = parser.parse_args(argv)
    done = clean(args.table, args.work, args.older_than, args.yes)
    for path in done.files:
        print(path)
    print(_sum_up(done, args.yes))
    if done.unknown:
        versions = ", ".join(f"{version} of {table}" for table, version in done.unknown)
        print(
            f"versions {versions} have no record here. Artefacts that only they need may be removed; a refresh "
            "computes them again"
        )
    print_json(args, {"work": args.work, "removed": args.yes, **asdict(done)})


def _sum_up(done: _Cleaning, removed: bool) -> str:
    young = f", {done.young:,} more are younger than --older-than" if done.young else ""
    kept = f"{done.kept:,} files are needed{young}"
    if not done.files:
        return f"nothing to remove: {kept}"
    what = f"{len(done.files):,} files, {done.bytes / 2**20:,.1f} MiB; {kept}"
    return f"removed {what}" if removed else f"would remove {what}. Nothing was removed: add --yes to remove them"
