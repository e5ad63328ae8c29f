"""``nnn demo``: the embedded corpus through the whole job, then recall and hubness before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from nnn_core import load_bias_table
from nnn_core.consumers.faiss_index import debiased_index, plain_index, search_debiased
from nnn_core.encoders import EncoderSource
from nnn_core.evaluation.metrics import summarise_ranking
from nnn_core.report import render_verdict
from nnn_core.report.archive import read_report
from pipelines.commands._demo_data import demo_encoder, embedded_vectors, places, relevant_positions, write_corpus
from pipelines.commands._options import Output, add_options, build, declared, make_parser, threads_of
from pipelines.commands._output import print_json
from pipelines.commands._parsing import parse_flags
from pipelines.commands._refresh import refresh
from pipelines.commands._summary import without_text
from pipelines.config import RefreshConfig
from pipelines.options import OUTPUT, Option
from pipelines.running.known_runners import runs_locally

_DEPTH = 10


def _search(config: RefreshConfig, source: EncoderSource, version: int) -> tuple[dict[str, dict[str, float]], int]:
    """Search the candidates for every test query, with and without the bias, as a consumer would.

    Args:
        config: what the refresh was told.
        source: the encoder, not loaded.
        version: number of the table's version.

    Returns:
        The figures of ``base`` and ``nnn`` (see ``metrics.summarise_ranking``), and the number of queries.
    """
    table = load_bias_table(config.table, version)
    _, holding, judging = config.requests(source)
    ids, candidates = embedded_vectors(config.candidates, holding)
    query_ids, queries = embedded_vectors(str(config.validation), judging)
    relevant = relevant_positions(str(config.relevance), query_ids, ids)
    _, base = plain_index(candidates).search(queries, _DEPTH)
    _, debiased = search_debiased(debiased_index(candidates, table.bias_of(ids)), queries, _DEPTH)
    rankings = {"base": base, "nnn": debiased}
    return {name: summarise_ranking(ranking, relevant, len(ids)) for name, ranking in rankings.items()}, len(queries)


@dataclass(frozen=True)
class _Demo:
    """Where the demo takes place.

    Attributes:
        directory: where corpus, work and table go (default: ./nnn-demo).
    """

    directory: Annotated[str, Option("URI")] = "nnn-demo"


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, run, print."""
    parser = make_parser(
        "demo",
        "Run the whole job on a small corpus of rendered images and captions. Test queries choose k and alpha, "
        "and show what the bias does to retrieval. Needs no network.",
        (_Demo,),
    )
    add_options(parser, RefreshConfig, *(each.name for each in declared(RefreshConfig) if each.option.group == OUTPUT))
    add_options(parser, Output)
    args, options = parse_flags(parser, argv)
    source, where = demo_encoder(), places(args.directory)
    write_corpus(args.directory, source)
    fixed = {**where, "tune": True, "k_max": 128, "threads": threads_of(args, runs_locally(options))}
    config = build(RefreshConfig, args, **fixed)
    manifest, summary = refresh(config, source, options)
    metrics, queries = _search(config, source, manifest.version)
    print(render_verdict(read_report(summary["report"])))
    recalls = (f"recall@{n} {metrics['nnn'][f'recall@{n}']:.1%}" for n in (1, 5, 10))
    print(f"An exact FAISS index with the bias as one more coordinate finds, for the {queries:,} queries: "
          f"{', '.join(recalls)}.")  # fmt: skip
    print(f"bias table   {summary['manifest']}")
    print(f"report       {summary['report']}")
    print_json(args, {**without_text(summary), "metrics": metrics})
    return summary
