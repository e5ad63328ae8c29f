"""``nnn table``: versions of a bias table."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from pipelines.commands._output import add_command
from pipelines.commands._parser import Parser

_ROWS, _HUBS, _UPKEEP, _VERSIONS = (
    f"pipelines.commands._table_{name}" for name in ("rows", "hubs", "upkeep", "versions")
)

_COMMANDS = {
    "list": (_VERSIONS, "the committed versions"),
    "show": (_VERSIONS, "show one version"),
    "verify": (_UPKEEP, "check every file of a version (exit code 9: damaged)"),
    "reweight": (_VERSIONS, "publish a version with another k or alpha, without scoring again"),
    "rollback": (_VERSIONS, "make an old version the current one again, without copying its files"),
    "diff": (_ROWS, "show candidates added, removed and changed between two versions"),
    "explain": (_ROWS, "show one candidate's bias, means, rank, history and top queries"),
    "hubs": (_HUBS, "list candidates that are near too many queries, worst first"),
    "expire": (_UPKEEP, "remove old versions, and files that no version names"),
    "register": (_UPKEEP, "make a version readable as a Delta or Iceberg table, without copying"),
}


def main(argv: Sequence[str]) -> None:
    """Parse flags, act, print."""
    parser = Parser(prog="nnn table", description="List, check and manage the versions of a bias table.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (home, text) in _COMMANDS.items():
        command = add_command(commands, name, text)
        command.add_argument("--table", required=True, metavar="URI", help="folder of the bias table")
        if name in argv[:1]:  # what the others need takes longer to import than most commands run
            add_arguments, act = import_module(home).COMMANDS[name]
            add_arguments(command)
            command.set_defaults(act=act)
    args = parser.parse_args(argv)
    args.act(args)
