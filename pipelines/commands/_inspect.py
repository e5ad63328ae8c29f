"""``nnn inspect``: what a glob of input holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from nnn_core.inputs.inspection import Inspection, ShardReport
from nnn_core.report.numbers import size
from pipelines.commands._options import add_options, build
from pipelines.commands._output import print_json
from pipelines.commands._parser import Parser
from pipelines.options import ColumnOptions


def main(argv: Sequence[str] | None = None) -> None:
    """Parse flags, look, print."""
    parser = Parser(
        prog="nnn inspect",
        description="Show what input files hold: formats, rows, columns, example ids, and what is missing. It reads "
        "only footers and the first rows of a few files.",
    )
    parser.add_argument("glob", metavar="GLOB", help="shards, as for --candidates and --references of nnn refresh")
    parser.add_argument(
        "--modality", choices=("image", "text"), help="which side of the samples to look at (default: what is there)"
    )
    add_options(parser, ColumnOptions)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    inspection = Inspection.of(args.glob, args.modality, build(ColumnOptions, args).candidate_columns)
    print("\n".join(_describe(inspection)))
    print_json(args, asdict(inspection))


def _describe(inspection: Inspection) -> Iterator[str]:
    """The lines that a person reads."""
    formats = ", ".join(f"{count:,} {name}" for name, count in inspection.formats.items())
    yield inspection.pattern
    left_out = [f"{count:,} files, {reason}" for reason, count in inspection.left_out.items()]
    yield from _lines(
        {"files": formats, "left out": left_out, "size": size(inspection.bytes), "rows": _rows(inspection.rows)}
    )
    for report in inspection.shards:
        yield f"\n{_printable(_heading(report))}"
        yield from _lines(_facts(report))
    sides = {"candidates": inspection.as_candidates, "references": inspection.as_references}
    if any(sides.values()):
        yield ""
    yield from (f"as {side}   nnn refresh {flags} ..." for side, flags in sides.items() if flags)


def _heading(report: ShardReport) -> str:
    """The file, or a group of single images, of which one folder has many."""
    if not report.group:
        return report.uri
    return f"{report.uri}: group of {report.rows:,} files, {' to '.join(report.group)}"


def _facts(report: ShardReport) -> dict[str, str | Sequence[str]]:
    norms = report.norms and "{:.4g} least, {:.4g} median, {:.4g} largest".format(*report.norms)
    rejects = [f"{count:,} x {reason}" for reason, count in sorted(report.rejects.items())]
    left_out = [f"{count:,} x {what}, no rows" for what, count in sorted(report.left_out.items())]
    return {
        "format": f"{report.format}, {report.holds}",
        "size": size(report.bytes),
        "rows": _rows(report.rows),
        "metadata": report.companion or "",
        "columns": report.columns,
        "ids": ", ".join(report.ids),
        "pair ids": ", ".join(report.pair_ids) if any(report.pair_ids) and report.pair_ids != report.ids else "",
        "dimension": str(report.dimension) if report.dimension is not None else "",
        "norms": norms or "",
        "examples": report.examples,
        "rejects": [f"{reject} (of the first {report.looked_at:,} rows)" for reject in rejects],
        "left out": left_out,
        "missing": report.missing,
    }


def _lines(facts: dict[str, str | Sequence[str]]) -> Iterator[str]:
    """``name  value``, aligned; further values of a name below the first. What is empty is left out."""
    for name, value in facts.items():
        values = [value] if isinstance(value, str) else list(value)
        for number, text in enumerate(filter(None, values)):
            yield f"  {name if number == 0 else '':<11}{_printable(text)}"


def _printable(text: str) -> str:
    """Ids and captions are anybody's: nothing in them may steer a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _rows(rows: int | None) -> str:
    return "unknown without reading all of it" if rows is None else f"{rows:,}"
