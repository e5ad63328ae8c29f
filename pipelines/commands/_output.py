"""What commands share and no configuration declares: ``--json``, ``--version``, the object for programs, columns."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.running.output import aloud


def add_command(commands: Any, name: str, text: str, **settings: Any) -> argparse.ArgumentParser:
    """A command of a command, with --json.

    Args:
        commands: the action that ``add_subparsers`` returned.
        name: name of the new command.
        text: what the command does, without capital letter and full stop.
        **settings: further arguments of the command's parser, such as ``allow_abbrev``.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", **settings
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    return parser


def add_version(parser: argparse._ActionsContainer, text: str = "which version (default: the current one)") -> None:
    """Add ``--version``, a version of a table."""
    parser.add_argument("--version", type=int, metavar="N", help=text)


def print_json(args: argparse.Namespace, record: Any) -> None:
    """Print the result for programs, if that was asked for."""
    if args.json:
        with aloud():
            print(json.dumps(record))


def in_columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table as wide as it has to be, whose columns but the first end together."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (f"  {cell:>{max(10, width)}}" for cell, width in zip(others, widths[1:], strict=True))
        yield f"{first:<{widths[0]}}{''.join(cells)}".rstrip()
