"""``nnn table verify``, ``expire`` and ``register``: what an operator runs on a schedule."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict

from nnn_core.errors import ConfigError, CorruptArtifactError
from nnn_core.table.lifecycle.check import check_table
from nnn_core.table.lifecycle.expiry import Expiry, expire
from nnn_core.table.lifecycle.iceberg import register_iceberg
from nnn_core.table.lifecycle.registration import register
from pipelines.commands._output import add_version, print_json

_AGE = re.compile(r"(\d+(?:\.\d+)?)([mhdw])\Z")
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def verify_version(args: argparse.Namespace) -> None:
    """Print a line for each file and the verdict.

    Raises:
        CorruptArtifactError: some file is not as it was published.
    """
    check = check_table(args.table, args.version)
    for file in check.files:
        print(f"{file.state:<8} {file.path}")
    whole = len(check.files) - len(check.bad)
    print(f"version {check.version} is {check.verdict}: {whole} of {len(check.files)} files are whole")
    print_json(args, {"table": args.table, "verdict": check.verdict, **asdict(check)})
    if check.bad:
        problems = "".join(f"\n  {file.problem}" for file in check.bad)
        raise CorruptArtifactError(
            f"{len(check.bad)} of {len(check.files)} files of version {check.version} of {args.table!r} are "
            f"damaged:{problems}"
        )


def add_expire_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``nnn table expire``."""
    parser.add_argument(
        "--keep", type=int, required=True, metavar="N", help="keep the newest N versions, whatever their age"
    )
    parser.add_argument(
        "--older-than",
        type=parse_age,
        default="7d",
        metavar="AGE",
        help=(
            "also keep versions that were replaced less than this ago, and newer files without a version. Must "
            "exceed the longest job: 36h, 30d or 4w (default: %(default)s)"
        ),
    )
    parser.add_argument(
        "--yes", action="store_true", help="remove files; without this flag, only show what would be removed"
    )


def parse_age(text: str) -> float:
    """Seconds of an age such as ``36h``.

    Raises:
        argparse.ArgumentTypeError: not a number and a unit.
    """
    match = _AGE.match(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an age. Write a number and m, h, d or w, such as 30d")
    return float(match.group(1)) * _SECONDS[match.group(2)]


def expire_versions(args: argparse.Namespace) -> None:
    """Print what goes and what stays, and remove it if that was asked for."""
    act = expire if args.yes else Expiry.plan
    done = act(args.table, args.keep, args.older_than)
    for version in done.versions:
        print(f"version {version}")
    for path in (*done.files, *done.pins):
        print(path)
    print(_sum_up(done, args.yes))
    print_json(args, {"table": args.table, "removed": args.yes, **asdict(done)})


def _sum_up(done: Expiry, removed: bool) -> str:
    what = f"{len(done.versions)} versions and {len(done.files)} data files, {done.bytes / 2**20:,.1f} MiB"
    kept = f"version{'s' * (len(done.kept) > 1)} {', '.join(map(str, done.kept))} stay{'s' * (len(done.kept) == 1)}"
    if not (done.versions or done.files or done.pins):
        return f"nothing to remove: {kept}"
    if removed:
        return f"removed {what}; {kept}"
    return f"would remove {what}; {kept}; nothing was removed. Add --yes to remove"


def add_register_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``nnn table register``."""
    add_version(parser)
    parser.add_argument("--format", choices=("delta", "iceberg"), default="delta", help="(default: %(default)s)")
    parser.add_argument(
        "--catalog", metavar="NAME", help="with iceberg: the catalog, as pyiceberg's configuration has it"
    )
    parser.add_argument("--name", metavar="NAMESPACE.TABLE", help="with iceberg: the table in the catalog")


def register_version(args: argparse.Namespace) -> None:
    """Print what readers of the Delta or Iceberg table see from now on.

    Raises:
        ConfigError: a flag that the format needs is missing, or one that it does not know was given.
    """
    if bool(args.catalog) != (args.format == "iceberg") or bool(args.name) != (args.format == "iceberg"):
        raise ConfigError(
            "--format iceberg needs --catalog and --name, and no other format uses them. Give both or neither."
        )
    if args.format == "iceberg":
        shown = register_iceberg(args.table, args.catalog, args.name, args.version)
        print(f"version {shown.version} is snapshot {shown.snapshot} of {args.name} (Iceberg): {shown.files} files")
        print_json(args, {"table": args.table, "catalog": args.catalog, "name": args.name, **asdict(shown)})
        return
    done = register(args.table, args.version)
    print(
        f"version {done.version} is version {done.delta_version} of the Delta table {args.table}: {done.files} files, "
        f"{done.added} of them new to it"
    )
    print_json(args, {"table": args.table, **asdict(done)})


#: The flags that a command adds, and what it does.
COMMANDS = {
    "verify": (add_version, verify_version),
    "expire": (add_expire_arguments, expire_versions),
    "register": (add_register_arguments, register_version),
}
