"""``nnn table``: versions of a bias table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nnn_core.encoders.fingerprints import shown_parts
from nnn_core.table.lifecycle.rollback import rollback
from nnn_core.table.manifest import Manifest, list_versions, manifest_uri, read_manifest
from nnn_core.table.reading import reweight
from pipelines.commands._options import add_command, add_version
from pipelines.commands._table_rows import (
    add_diff_arguments,
    add_explain_arguments,
    compare_versions,
    explain_candidate,
)
from pipelines.commands._table_upkeep import (
    add_expire_arguments,
    add_register_arguments,
    expire_versions,
    register_version,
    verify_version,
)

_ACTIONS = {
    "diff": compare_versions,
    "explain": explain_candidate,
    "verify": verify_version,
    "expire": expire_versions,
    "register": register_version,
}


def _add(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser = add_command(commands, name, text)
    parser.add_argument("--table", required=True, metavar="URI", help="folder of the bias table")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Parse flags, act, print."""
    parser = argparse.ArgumentParser(
        prog="nnn table", description="Look at the versions of a bias table, check them, and manage them."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add(commands, "list", "the committed versions")
    show = _add(commands, "show", "what a version is")
    add_version(show)
    verify = _add(commands, "verify", "compare every file of a version with what was published (exit code 9: damaged)")
    add_version(verify)
    change = _add(commands, "reweight", "publish a version with another k or alpha, without scoring again")
    change.add_argument("--k", type=int, help="one of the grid of the table (default: unchanged)")
    change.add_argument("--alpha", type=float, help="weight of the mean in the bias (default: unchanged)")
    add_version(change, "version to start from (default: the current one)")
    back = _add(commands, "rollback", "make an old version the current one again, without copying its files")
    back.add_argument("version", type=int, metavar="N", help="the version to go back to")
    add_diff_arguments(_add(commands, "diff", "candidates added, removed and changed between two versions"))
    add_explain_arguments(_add(commands, "explain", "the bias of one candidate: its means, rank, history and queries"))
    add_expire_arguments(_add(commands, "expire", "remove old versions, and files that no version names"))
    register = _add(commands, "register", "make a version readable as a Delta or Iceberg table, without a copy")
    add_register_arguments(register)
    args = parser.parse_args(argv)
    if args.command in _ACTIONS:
        _ACTIONS[args.command](args)
        return
    manifests = _act(args)
    for manifest in manifests:
        print(_describe(manifest))
    if args.json:
        records = [_record(args.table, manifest) for manifest in manifests]
        print(json.dumps({"versions": records} if args.command == "list" else records[0]))


def _act(args: argparse.Namespace) -> list[Manifest]:
    if args.command == "list":
        read_manifest(args.table)  # raises when there is no table
        return [read_manifest(args.table, version) for version in list_versions(args.table)]
    if args.command == "rollback":
        return [rollback(args.table, args.version)]
    if args.command == "reweight":
        return [reweight(args.table, args.k, args.alpha, args.version)]
    return [read_manifest(args.table, args.version)]


def _record(table: str, manifest: Manifest) -> dict[str, Any]:
    """A version for programs; the vectors of its encoder's probes are in the manifest alone."""
    content = asdict(manifest)
    content["settings"]["encoder"] = shown_parts(manifest.settings.encoder)
    return {"manifest": manifest_uri(table, manifest.version), "rows": manifest.rows, **content}


def _describe(manifest: Manifest) -> str:
    """One line a version."""
    s = manifest.settings
    return (
        f"version {manifest.version}: {manifest.rows:,} {s.candidate_modality} candidates, bank of "
        f"{manifest.references.rows:,} {s.reference_modality} queries, k = {s.k} of {', '.join(map(str, s.grid))}, "
        f"alpha = {s.alpha:g}, mean bias {manifest.bias_mean:.4f}"
    )
