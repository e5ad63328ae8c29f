"""``nnn search``: what queries find among a version's candidates, before and after, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nnn_core import storage
from nnn_core.consumers.searching import Vectors, search_version
from nnn_core.embedded.embedding import EmbeddingRequest, unit_rows
from nnn_core.encoders import load_once
from nnn_core.encoders.encoding import encode_rows
from nnn_core.encoders.prompts import Prompts
from nnn_core.errors import ConfigError, InputError
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.rankings import DEPTH, Rankings
from nnn_core.inputs.listing import describe_shard, list_shards, list_uris
from nnn_core.inputs.readers import Rows
from nnn_core.report import Shown
from nnn_core.report.answers import Answer, Answers
from nnn_core.report.shown import show_rows
from nnn_core.table.reading import BiasTable, load_bias_table
from nnn_core.vectors import FloatMatrix
from pipelines.commands._options import add_options, build, encoder_of_table
from pipelines.commands._output import add_version, print_json
from pipelines.commands._parser import Parser
from pipelines.commands._preflight import check_fields_of
from pipelines.options import ColumnOptions

_Hits = Sequence[tuple[float, str]]


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, search, print."""
    args = _parser().parse_args(argv)
    if not 1 <= args.top <= DEPTH:
        raise ConfigError(f"--top {args.top} must be between 1 and {DEPTH}.")
    columns = build(ColumnOptions, args)
    if args.embeddings and args.report:
        check_fields_of(args.embeddings, "--embeddings", columns.candidate_columns, ColumnOptions.listed(args.show))
    if args.embeddings:
        list_uris(args.embeddings, "--embeddings")  # before a model is looked at
    table = load_bias_table(args.table, args.version)
    vectors = Vectors(args.work, args.embeddings, columns.candidate_columns)
    answers = _answers(args, table, search_version(table, vectors, _encode(args, table)))
    for each in answers:
        print("\n".join(_side_by_side(each)) + "\n")
    if args.report:
        _write_page(args, table, vectors, answers)
    results = [
        {"query": each.query, "before": _hits(each.before), "after": _hits(each.after, each.bias)} for each in answers
    ]
    result = {"table": args.table, "version": table.manifest.version, "results": results}
    print_json(args, result)
    return result


def _parser() -> Parser:
    parser = Parser(
        prog="nnn search",
        description="Search the candidates of a table for a few queries, and show what the bias changes. It reads all "
        "vectors, so use it for trials, not for serving.",
    )
    parser.add_argument("--table", required=True, metavar="URI", help="folder of the bias table")
    parser.add_argument("--encoder", required=True, metavar="SPEC", help="the table's model, as for nnn refresh")
    parser.add_argument(
        "--query", required=True, metavar="TEXT", action="append", help="text to search for; repeatable"
    )
    parser.add_argument("--work", metavar="URI", help="folder of artefacts, that of the refresh: it has the vectors")
    parser.add_argument(
        "--embeddings",
        metavar="GLOB",
        help="files of the candidates: vectors, if there is no --work; images, captions and columns for --report",
    )
    parser.add_argument(
        "--top", type=int, default=DEPTH, metavar="N", help=f"hits to show, at most {DEPTH} (default: %(default)s)"
    )
    parser.add_argument("--report", metavar="URI", help="also write a page with both rankings and their pictures")
    parser.add_argument(
        "--show", metavar="NAMES", help="columns of --embeddings to show in the page, such as title,url"
    )
    add_version(parser)
    add_options(parser, ColumnOptions)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    return parser


def _encode(args: argparse.Namespace, table: BiasTable) -> FloatMatrix:
    """The queries' unit vectors, with the prompt that the bank's captions had.

    Raises:
        ConfigError: the table's queries are images.
        InputError: SPEC is not the table's encoder, or gives a query no direction.
    """
    if table.manifest.settings.reference_modality != "text":
        raise ConfigError(f"--table {args.table!r} is for image queries, and nnn search takes only texts.")
    source = encoder_of_table(args.encoder, args.table, table.manifest.version, args.work)
    assert source is not None  # --encoder is required
    prompts = Prompts.recorded(table.manifest.settings.encoder)
    texts = Rows(args.query, args.query, args.query)
    encoded = encode_rows([texts], "text", load_once(source), prompts.reference, where="--query")
    pieces = []
    for rows, unit in map(unit_rows, encoded):
        if rows.rejects:
            lost = rows.rejects[0]
            raise InputError(f"--query {lost.id!r} cannot be searched for ({lost.reason}). Correct the encoder.")
        pieces.append(unit)
    return np.concatenate(pieces)


def _answers(args: argparse.Namespace, table: BiasTable, found: Rankings) -> list[Answer]:
    """The first hits of each query, with the biases of those that are found with it."""
    answers = []
    for text, before, after in zip(args.query, found.plain.rows, found.debiased.rows, strict=True):
        names = [name for _, name in after]
        bias = dict(zip(names, table.bias_of(names).tolist(), strict=True))
        answers.append(Answer(text, before[: args.top], after[: args.top], bias))
    return answers


def _write_page(args: argparse.Namespace, table: BiasTable, vectors: Vectors, answers: Sequence[Answer]) -> None:
    """Raises:
    StorageError: another file lies under the name of the page, or it cannot be written.
    """
    settings = table.manifest.settings
    page = Answers(args.table, table.manifest.version, Point(settings.k, settings.alpha), answers)
    page.shown.update((one.id, one) for one in _show(args, table, vectors, page.named))
    storage.create_output(args.report, page.render().encode(), "--report")
    print(f"report       {args.report}")


def _show(args: argparse.Namespace, table: BiasTable, vectors: Vectors, wanted: frozenset[str]) -> Iterator[Shown]:
    """What the hits look like, as far as --embeddings says; files after the last hit are not read."""
    request = EmbeddingRequest(table.manifest.settings.candidate_modality, vectors.columns, None, "")
    fields = ColumnOptions.listed(args.show)
    for name in list_shards(args.embeddings, "--embeddings") if args.embeddings else ():
        if not wanted:
            return
        for one in show_rows(describe_shard(name), request, wanted, fields):
            wanted -= {one.id}
            yield one


def _side_by_side(answer: Answer) -> list[str]:
    """A title and a line for each rank. A hit that moved says where it was; ``less`` is score less bias, the order."""
    before, after, rank = answer.before, answer.after, answer.places
    width = max(len("before"), *(len(name) for _, name in (*before, *after)))
    lines = [
        repr(answer.query),
        f"      {'before':<{width}}  score     {'after':<{width}}  score    bias    less  was at",
    ]
    for (score, name), (place, other, plain, bias, less) in zip(before, answer.lines(), strict=True):
        was = "" if rank.get(other) == place else str(rank.get(other, f"beyond {len(before)}"))
        after_it = f"{other:<{width}}  {plain:.3f}  {bias:+.3f}  {less:+.3f}  {was}"
        lines.append(f"{place:>4}  {name:<{width}}  {score:.3f}     {after_it}")
    return [line.rstrip() for line in lines]


def _hits(hits: _Hits, bias: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Hits for programs; ``score`` is what they are ordered by, so with biases it is less the bias."""
    own = [{"bias": bias[name]} if bias else {} for _, name in hits]
    return [{"id": name, "score": score, **more} for (score, name), more in zip(hits, own, strict=True)]
