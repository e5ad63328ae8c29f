"""``nnn table diff`` and ``explain``: what versions say of candidates."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from nnn_core.lifecycle import difference
from nnn_core.lifecycle.difference import Difference


def add_diff_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``nnn table diff``."""
    parser.add_argument("old", type=int, metavar="A", help="the version to start from")
    parser.add_argument("new", type=int, metavar="B", help="the version to get to")
    parser.add_argument(
        "--output",
        metavar="URI",
        help="write a Parquet file of id, bias and op (add, change, remove), for consumers that update in place",
    )


def compare_versions(args: argparse.Namespace) -> None:
    """Print what two versions differ in."""
    found = difference.compare_versions(args.table, args.old, args.new, args.output)
    print("\n".join(_describe(found)))
    if args.output:
        print(f"written to {args.output}")
    if args.json:
        print(json.dumps({"table": args.table, "output": args.output, **asdict(found)}))


def _describe(found: Difference) -> list[str]:
    lines = [f"from version {found.old} to version {found.new}"]
    lines += [f"  {name}: {old} -> {new}" for name, (old, new) in found.settings.items()]
    lines += [f"{getattr(found, name):>14,} {name}" for name in ("added", "removed", "changed", "unchanged")]
    lines.append(f"{found.shared_files:>14,} files in common, which were not read")
    if found.changes:
        changes = found.changes
        lines.append(f"change of the bias: mean {changes.mean:+.6f}, mean absolute {changes.mean_absolute:.6f}")
        shares = {"min": changes.lowest, **changes.quantiles, "max": changes.highest}
        lines.append("  " + "  ".join(f"{share} {value:+.6f}" for share, value in shares.items()))
    return lines
