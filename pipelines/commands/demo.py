"""``nnn demo``: the embedded corpus through the whole job, then recall and hubness before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nnn_core import load_bias_table, storage
from nnn_core.consumers.faiss_index import debiased_index, plain_index, search_debiased
from nnn_core.demo.corpus import corpus_files
from nnn_core.embedded.embedding import EmbeddingRequest, embed_shard, find_embedded, plan_input
from nnn_core.embedded.shards import read_shard
from nnn_core.encoders import Encoder, EncoderSource, load_once, parse_encoder
from nnn_core.evaluation.metrics import summarise_ranking
from nnn_core.inputs.listing import describe_shard, list_shards, list_uris
from nnn_core.inputs.readers import Columns
from nnn_core.inputs.shards import Modality
from nnn_core.vectors import FloatMatrix
from pipelines.commands._options import Output, add_options, build, declared, make_parser, print_json, threads_of
from pipelines.commands._parsing import parse_flags
from pipelines.commands._summary import print_summary, without_text
from pipelines.commands.refresh import refresh
from pipelines.config import RefreshConfig
from pipelines.options import OUTPUT, Option
from pipelines.running.runner import runs_locally

_METRICS = ("recall@1", "recall@5", "recall@10", "mrr", "skewness@10", "never_retrieved")


def places(directory: str) -> dict[str, str]:
    """Where the demo keeps its files below ``directory``, by field of ``RefreshConfig``."""
    queries = storage.join(directory, "corpus", "queries", "*.parquet")
    return {
        "candidates": storage.join(directory, "corpus", "candidates", "*.tar"),
        "references": storage.join(directory, "corpus", "references", "*.parquet"),
        "validation": queries,
        "relevance": queries,
        "table": storage.join(directory, "table"),
        "work": storage.join(directory, "work"),
    }


def write_corpus(directory: str) -> None:
    """Render the corpus below ``directory`` unless an earlier run has finished doing so."""
    done = storage.join(directory, "corpus", "complete")
    if storage.exists(done):
        return
    for name, data in corpus_files():
        storage.create(storage.join(directory, "corpus", name), data)
    storage.create(done, b"")


def demo_encoder() -> EncoderSource:
    """The encoder that comes with the package."""
    return parse_encoder(f"open_clip:local-dir:{files('nnn_core') / 'demo' / 'encoder'}")


def _evaluate(where: Mapping[str, str], source: EncoderSource, version: int) -> tuple[dict[str, dict[str, float]], int]:
    """Rank the candidates for every test query, with and without the bias, as a consumer would.

    Args:
        where: see ``places``.
        source: the encoder, not loaded.
        version: of the table.

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


def embedded_vectors(
    pattern: str, modality: Modality, work: str, source: EncoderSource, encoder: Encoder
) -> tuple[list[str], FloatMatrix]:
    """(ids, vectors) of all rows of some shards; those that the refresh embedded are read back."""
    request = EmbeddingRequest(modality, Columns(), source.fingerprint.digest, work)
    blocks = []
    for name in list_shards(pattern, "the demo's corpus"):
        planned = plan_input(describe_shard(name), request)
        result = find_embedded(planned, request) or embed_shard(planned, request, encoder)
        blocks += [read_shard(shard) for shard in result.shards]
    ids = [row_id for block in blocks for row_id in block.ids.to_pylist()]
    return ids, np.concatenate([block.vectors for block in blocks])


def relevant_positions(pattern: str, query_ids: list[str], candidate_ids: list[str]) -> list[set[int]]:
    """For each query the positions of the candidates that answer it."""
    position = {row_id: number for number, row_id in enumerate(candidate_ids)}
    answers: dict[str, set[int]] = {}
    for uri in list_uris(pattern, "the demo's corpus"):
        table = pq.read_table(pa.BufferReader(storage.read_bytes(uri)), columns=["id", "relevant"])
        for row in table.to_pylist():
            answers[row["id"]] = {position[row_id] for row_id in row["relevant"]}
    return [answers[query_id] for query_id in query_ids]


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
    source = demo_encoder()
    write_corpus(args.directory)
    where = places(args.directory)
    threads = threads_of(args, runs_locally(options))
    config = build(RefreshConfig, args, **where, threads=threads)
    manifest, summary = refresh(config, source, options)
    metrics, queries = _evaluate(where, source, manifest.version)
    print_summary(summary)
    _print_metrics(metrics, queries)
    print_json(args, {**without_text(summary), "metrics": metrics})
    return summary
