"""``nnn report``: the page and the text of a run whose program did not wait for it, as on a cluster."""

from __future__ import annotations

from collections.abc import Sequence

from nnn_core import storage
from nnn_core.errors import StorageError
from nnn_core.report import render, render_text
from nnn_core.report.archive import read_report
from pipelines.commands._parser import Parser


def main(argv: Sequence[str] | None = None) -> None:
    """Parse flags, read, write, print."""
    parser = Parser(
        prog="nnn report",
        description="Show a report that a run left as JSON below WORK/runs or WORK/reports, and write its page.",
    )
    parser.add_argument("report", metavar="REPORT", help="URI of the .json, or of the page next to it")
    parser.add_argument("--output", metavar="URI", help="write the HTML page under this new name")
    args = parser.parse_args(argv)
    report = read_report(args.report)
    print(render_text(report), end="")
    if args.output:
        if not storage.create(args.output, render(report).encode()):
            raise StorageError(f"--output {args.output!r} exists already and was left as it is. Name a new file.")
        print(f"\nreport       {args.output}")
