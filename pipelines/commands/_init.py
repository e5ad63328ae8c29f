"""``nnn init``: a file for ``nnn refresh --config``, written from what the inputs hold."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nnn_core import storage
from nnn_core.errors import ConfigError, InputError
from nnn_core.inputs.inspection import Inspection
from nnn_core.inputs.readers import Columns
from nnn_core.yaml_files import _quoted
from pipelines.commands._output import print_json
from pipelines.commands._parser import Parser
from pipelines.commands._refresh_flags import build_parser

#: What people set next, in the order of the file, with an example of a value.
_NEXT: Mapping[str, str] = {
    "validation": "s3://logs/held-out/*.parquet",
    "tune": "true",
    "exclude_own_pairs": "true",
    "k": "16",
    "alpha": "0.5",
    "max_reject_rate": "0.001",
    "gates": "gates.yaml",
}

#: What is a path of this machine where it has no protocol.
_PLACES = ("candidates", "references", "table", "work")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, inspect, write, print.

    Raises:
        InputError: the files of a side cannot be read as they are; says how to find out more.
    """
    parser = Parser(
        prog="nnn init",
        description="Look at the inputs, and write a commented file for nnn refresh --config.",
    )
    parser.add_argument("--candidates", required=True, metavar="GLOB", help="shards of the items of the index")
    parser.add_argument("--references", required=True, metavar="GLOB", help="shards of the bank of reference queries")
    parser.add_argument("--table", required=True, metavar="URI", help="folder of the bias table")
    parser.add_argument("--work", required=True, metavar="URI", help="folder of artefacts, which later runs reuse")
    parser.add_argument("--encoder", metavar="SPEC", help="model, as for nnn refresh; not needed for vectors")
    parser.add_argument("--output", default="refresh.yaml", metavar="URI", help="file to write (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    candidates, references = (Inspection.of(glob, None, Columns()) for glob in (args.candidates, args.references))
    values = {**_flags(candidates, candidates.as_candidates), **_flags(references, references.as_references)}
    if args.encoder is None and not all(_has_vectors(side) for side in (candidates, references)):
        raise ConfigError(
            "--encoder is needed, because one side has no vectors. Write it as for nnn refresh (nnn refresh --help)."
        )
    values |= {name: given for name in ("encoder", "table", "work") if (given := getattr(args, name))}
    # A schedule starts elsewhere than in this folder.
    values |= {name: storage.normal(values[name]) for name in _PLACES if storage.is_local(values[name])}
    if not storage.create(args.output, "\n".join(_lines(values)).encode() + b"\n"):
        raise ConfigError(f"--output {args.output!r} exists already. Remove it, or name another file.")
    print(f"written to   {args.output}")
    print(f"check it     nnn refresh --config {shlex.quote(args.output)} --dry-run")
    print(f"run it       nnn refresh --config {shlex.quote(args.output)}")
    print_json(args, {"output": args.output, "values": values})
    return values


def _has_vectors(side: Inspection) -> bool:
    return all(report.holds == "vectors" for report in side.shards)


def _flags(side: Inspection, flags: str) -> dict[str, str]:
    """The flags that read a side, as keys and values.

    Raises:
        InputError: there are none.
    """
    if not flags:
        raise InputError(
            f"{side.pattern!r} needs more flags. nnn inspect {shlex.quote(side.pattern)} shows what it holds. "
            "Then run nnn refresh with flags such as --id-column and --caption-column."
        )
    parts = shlex.split(flags)
    return {flag.removeprefix("--").replace("-", "_"): value for flag, value in zip(*[iter(parts)] * 2, strict=True)}


def _lines(values: Mapping[str, str]) -> Iterator[str]:
    """The file: what is set, then what may be set, each below what it is."""
    declared = build_parser().declared
    yield "# nnn refresh --config FILE. Keys are the flags with underscores; nnn refresh --help-all lists all."
    for name, value in {**values, **{name: None for name in _NEXT if name not in values}}.items():
        yield ""
        yield from textwrap.wrap(declared[name].help or name, 110, initial_indent="# ", subsequent_indent="# ")
        yield f"{name}: {_quoted(value)}" if value is not None else f"# {name}: {_NEXT[name]}"
