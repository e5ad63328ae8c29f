"""``nnn table diff`` and ``explain``: what versions say of candidates."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from nnn_core.errors import ConfigError
from nnn_core.table.lifecycle.difference import Difference
from nnn_core.table.lifecycle.explanation import Explanation, Sources, Standing
from pipelines.commands._options import add_options, build
from pipelines.commands._output import add_version, print_json
from pipelines.options import ReferenceColumnOptions


def add_diff_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``nnn table diff``."""
    parser.add_argument("old", type=int, metavar="A", help="old version")
    parser.add_argument("new", type=int, metavar="B", help="new version")
    parser.add_argument(
        "--output",
        metavar="URI",
        help="write a Parquet file of id, bias and op (add, change, remove), to update an index in place",
    )
    parser.add_argument(
        "--min-change",
        type=float,
        default=0.0,
        metavar="X",
        help=(
            "leave out changes smaller than X. They add up, so compare with the version that was last applied "
            "in full (default: %(default)s)"
        ),
    )


def compare_versions(args: argparse.Namespace) -> None:
    """Print what two versions differ in."""
    found = Difference.of(args.table, args.old, args.new, args.output, args.min_change)
    print("\n".join(_describe(found)))
    if args.output:
        print(f"written to {args.output}")
    print_json(args, {"table": args.table, "output": args.output, **asdict(found)})


def _describe(found: Difference) -> list[str]:
    lines = [f"from version {found.old} to version {found.new}"]
    lines += [f"  {name}: {old} -> {new}" for name, (old, new) in found.settings.items()]
    lines += [f"{getattr(found, name):>14,} {name}" for name in ("added", "removed", "changed", "unchanged")]
    if found.small:
        lines.append(f"{found.small:>14,} of the changes are smaller than --min-change, and were left out of the file")
    lines.append(f"{found.shared_files:>14,} files are in both versions, and were not read")
    if found.changes:
        changes = found.changes
        lines.append(f"change of the bias: mean {changes.mean:+.6f}, mean absolute {changes.mean_absolute:.6f}")
        shares = {"min": changes.lowest, **changes.quantiles, "max": changes.highest}
        lines.append("  " + "  ".join(f"{share} {value:+.6f}" for share, value in shares.items()))
    return lines


def add_explain_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``nnn table explain``."""
    parser.add_argument("id", metavar="ID", help="of the candidate")
    add_version(parser)
    sources = parser.add_argument_group(
        "its top queries",
        "To see the top queries, give the flags of the refresh. Its vectors are read, and no model runs.",
    )
    sources.add_argument("--work", metavar="URI", help="folder of artefacts, that of the refresh")
    sources.add_argument("--candidates", metavar="GLOB", help="shards that the candidate is in")
    sources.add_argument("--references", metavar="GLOB", help="shards of the bank")
    sources.add_argument("--top", type=int, default=10, metavar="N", help="how many to show (default: %(default)s)")
    add_options(sources, ReferenceColumnOptions)


def explain_candidate(args: argparse.Namespace) -> None:
    """Print what is known of one candidate.

    Raises:
        ConfigError: some of --work, --candidates and --references were given, and others not.
    """
    found = Explanation.of(args.table, args.id, args.version, _sources_from(args))
    print("\n".join(_describe_candidate(found)))
    print_json(args, {"table": args.table, **asdict(found)})


def _sources_from(args: argparse.Namespace) -> Sources | None:
    given = [flag for flag in ("work", "candidates", "references") if getattr(args, flag)]
    if not given:
        return None
    if len(given) < 3 or args.top < 1:
        raise ConfigError(
            "for a candidate's top queries, give --work, --candidates and --references together, and --top of "
            "at least 1. Leave all of them out to see only what the table has."
        )
    sides = build(ReferenceColumnOptions, args)
    columns = (sides.candidate_columns, sides.reference_columns)
    return Sources(args.work, args.candidates, args.references, *columns, args.top)


def _describe_candidate(found: Explanation) -> list[str]:
    now = found.now
    lines = [
        f"{found.id!r} in version {now.version}: bias {now.bias:.6f}, k = {now.k}, alpha = {now.alpha:g}",
        f"hub rank     {found.above:,} of {found.rows:,} candidates have a higher bias",
        "means        " + "  ".join(f"k={k} {mean:.4f}" for k, mean in zip(found.grid, now.means, strict=True)),
        *(f"history      {_describe_standing(standing)}" for standing in found.history),
    ]
    if found.neighbours is None:
        return lines
    lines.append(
        f"top queries  {len(found.neighbours)} of the bank; the mean of the top {now.k} is {found.recomputed:.6f}"
    )
    lines += [
        f"{near.score:>10.4f}  {near.id}" + (f"  {near.text!r}" if near.text is not None else "")
        for near in found.neighbours
    ]
    return lines


def _describe_standing(standing: Standing) -> str:
    if standing.problem:
        return f"version {standing.version}: {standing.problem}"
    if standing.bias is None:
        return f"version {standing.version}: not in it"
    return f"version {standing.version}: bias {standing.bias:.6f} (k = {standing.k}, alpha = {standing.alpha:g})"


#: The flags that a command adds, and what it does.
COMMANDS = {
    "diff": (add_diff_arguments, compare_versions),
    "explain": (add_explain_arguments, explain_candidate),
}
