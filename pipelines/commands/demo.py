"""``nnn demo``: the embedded corpus through the whole job, then recall and hubness before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from nnn_core import load_bias_table
from nnn_core.consumers.faiss_index import debiased_index, plain_index, search_debiased
from nnn_core.encoders import EncoderSource, load_once
from nnn_core.evaluation.metrics import summarise_ranking
from pipelines.commands._demo_data import demo_encoder, embedded_vectors, places, relevant_positions, write_corpus
from pipelines.commands._options import Output, add_options, build, declared, make_parser, print_json, threads_of
from pipelines.commands._parsing import parse_flags
from pipelines.commands._summary import print_summary, without_text
from pipelines.commands.refresh import refresh
from pipelines.config import RefreshConfig
from pipelines.options import OUTPUT, Option
from pipelines.running.runner import runs_locally

_METRICS = ("recall@1", "recall@5", "recall@10", "mrr", "skewness@10", "never_retrieved")


def _evaluate(where: Mapping[str, str], source: EncoderSource, version: int) -> tuple[dict[str, dict[str, float]], int]:
    """Rank the candidates for every test query, with and without the bias, as a consumer would.

    Args:
        where: URIs and patterns of the demo's files, by field of ``RefreshConfig``.
        source: the encoder, not loaded.
        version: number of the table's version.

    Returns:
        The figures of ``base`` and ``nnn`` (see ``metrics.summarise_ranking``), and the number of queries.
    """
    table = load_bias_table(where["table"], version)
    encoder = load_once(source)
    ids, candidates = embedded_vectors(where["candidates"], "image", where["work"], source, encoder)
    query_ids, queries = embedded_vectors(where["validation"], "text", where["work"], source, encoder)
    relevant = relevant_positions(where["validation"], query_ids, ids)
    _, base = plain_index(candidates).search(queries, len(ids))
    _, debiased = search_debiased(debiased_index(candidates, table.bias_of(ids)), queries, len(ids))
    rankings = {"base": base, "nnn": debiased}
    return {name: summarise_ranking(ranking, relevant, len(ids)) for name, ranking in rankings.items()}, len(queries)


def _print_metrics(metrics: dict[str, dict[str, float]], queries: int) -> None:
    """The figures before and after, side by side."""
    print(f"\n{queries:,} held-out queries, ranked by an exact FAISS index without and with the bias")
    print(f"{'':<18}{'before':>10}{'after':>10}{'change':>10}")
    for name in _METRICS:
        before, after = metrics["base"][name], metrics["nnn"][name]
        print(f"{name:<18}{before:>10.4f}{after:>10.4f}{after - before:>+10.4f}")
    print("skewness@10: skewness of how often a candidate is in a top 10 (0: no hubs).")
    print("never_retrieved: share of candidates that are in no query's top 10.")


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
        "Render a small corpus of images and captions, compute its bias table with the encoder that "
        "comes with the package, and show what the bias does to retrieval. Needs no network.",
        (_Demo,),
    )
    shared = [each.name for each in declared(RefreshConfig) if each.option.group == OUTPUT]
    add_options(parser, RefreshConfig, "tune", *shared)
    add_options(parser, Output)
    # A small bank asks for a small k; the means of a larger one are kept to play with.
    parser.set_defaults(k=16, k_max=128)
    args, options = parse_flags(parser, argv)
    source, where = demo_encoder(), places(args.directory)
    write_corpus(args.directory)
    config = build(RefreshConfig, args, **where, threads=threads_of(args, runs_locally(options)))
    manifest, summary = refresh(config, source, options)
    metrics, queries = _evaluate(where, source, manifest.version)
    print_summary(summary)
    _print_metrics(metrics, queries)
    print_json(args, {**without_text(summary), "metrics": metrics})
    return summary
