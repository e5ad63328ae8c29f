"""``nnn table``: versions of a bias table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nnn_core.errors import CorruptArtifactError
from nnn_core.manifest import Manifest, list_versions, manifest_uri, read_manifest
from nnn_core.table import DAMAGED, WHOLE, TableCheck, check_table, reweight


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``nnn table``."""
    parser = argparse.ArgumentParser(
        prog="nnn table", description="Look at a bias table, check it, or change k and alpha."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add(commands, "list", "the committed versions")
    show = _add(commands, "show", "what a version is")
    show.add_argument("--version", type=int, metavar="N", help="which version (default: the current one)")
    verify = _add(commands, "verify", "compare every file of a version with what was published (exit code 9: damaged)")
    verify.add_argument("--version", type=int, metavar="N", help="which version (default: the current one)")
    change = _add(commands, "reweight", "publish a version with another k or alpha, without scoring again")
    change.add_argument("--k", type=int, help="one of the grid of the table (default: unchanged)")
    change.add_argument("--alpha", type=float, help="weight of the mean in the bias (default: unchanged)")
    change.add_argument("--version", type=int, metavar="N", help="version to start from (default: the current one)")
    return parser


def _add(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.add_argument("--table", required=True, metavar="URI", help="folder of the bias table")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Parse flags, act, print."""
    args = build_parser().parse_args(argv)
    if args.command == "verify":
        _verify(args)
        return
    manifests = _act(args)
    for manifest in manifests:
        print(describe(manifest))
    if args.json:
        records = [{"manifest": manifest_uri(args.table, m.version), "rows": m.rows, **asdict(m)} for m in manifests]
        print(json.dumps({"versions": records} if args.command == "list" else records[0]))


def _act(args: argparse.Namespace) -> list[Manifest]:
    if args.command == "list":
        read_manifest(args.table)  # raises when there is no table
        return [read_manifest(args.table, version) for version in list_versions(args.table)]
    if args.command == "reweight":
        return [reweight(args.table, args.k, args.alpha, args.version)]
    return [read_manifest(args.table, args.version)]


def _verify(args: argparse.Namespace) -> None:
    """Print a line for each file and the verdict.

    Raises:
        CorruptArtifactError: some file is not as it was published.
    """
    check = check_table(args.table, args.version)
    for file in check.files:
        print(f"{file.state:<8} {file.path}")
    whole = len(check.files) - len(check.bad)
    print(f"version {check.version} is {_verdict(check)}: {whole} of {len(check.files)} files are whole")
    if args.json:
        print(json.dumps({"table": args.table, "verdict": _verdict(check), **asdict(check)}))
    if check.bad:
        problems = "".join(f"\n  {file.problem}" for file in check.bad)
        raise CorruptArtifactError(
            f"{len(check.bad)} of {len(check.files)} files of version {check.version} of {args.table!r} are not what "
            f"was published:{problems}"
        )


def _verdict(check: TableCheck) -> str:
    return DAMAGED if check.bad else WHOLE


def describe(manifest: Manifest) -> str:
    """One line a version."""
    s = manifest.settings
    return (
        f"version {manifest.version}: {manifest.rows:,} {s.candidate_modality} candidates, bank of "
        f"{manifest.references.rows:,} {s.reference_modality} queries, k = {s.k} of {', '.join(map(str, s.grid))}, "
        f"alpha = {s.alpha:g}, mean bias {manifest.bias_mean:.4f}"
    )
