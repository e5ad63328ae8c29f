"""``nnn demo``: the embedded corpus through the whole job, then recall and hubness before and after."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

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
from pipelines.commands.flags import add_scoring_arguments, default_threads, thresholds_from
from pipelines.commands.parsing import parse_flags
from pipelines.commands.refresh import print_summary, refresh, without_text
from pipelines.config import RefreshConfig
from pipelines.running.runner import runs_locally

_METRICS = ("recall@1", "recall@5", "recall@10", "mrr", "skewness@10", "never_retrieved")


@dataclass(frozen=True)
class Layout:
    """Where the demo keeps its files.

    Attributes:
        directory: everything lies below it.
    """

    directory: str

    @property
    def candidates(self) -> str:
        """Glob of image shards."""
        return storage.join(self.directory, "corpus", "candidates", "*.tar")

    @property
    def references(self) -> str:
        """Glob of shards of reference captions."""
        return storage.join(self.directory, "corpus", "references", "*.parquet")

    @property
    def queries(self) -> str:
        """Glob of shards of test queries."""
        return storage.join(self.directory, "corpus", "queries", "*.parquet")

    @property
    def table(self) -> str:
        """The bias table."""
        return storage.join(self.directory, "table")

    @property
    def work(self) -> str:
        """Artefacts."""
        return storage.join(self.directory, "work")


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


def evaluate(layout: Layout, source: EncoderSource, version: int) -> tuple[dict[str, dict[str, float]], int]:
    """Rank the candidates for every test query, with and without the bias, as a consumer would.

    Returns:
        The figures of ``base`` and ``nnn`` (see ``metrics.summarise_ranking``), and the number of queries.
    """
    table = load_bias_table(layout.table, version)
    encoder = load_once(source)
    ids, candidates = embedded_vectors(layout.candidates, "image", layout, source, encoder)
    query_ids, queries = embedded_vectors(layout.queries, "text", layout, source, encoder)
    relevant = relevant_positions(layout.queries, query_ids, ids)
    _, base = plain_index(candidates).search(queries, len(ids))
    _, debiased = search_debiased(debiased_index(candidates, table.bias_of(ids)), queries, len(ids))
    rankings = {"base": base, "nnn": debiased}
    return {name: summarise_ranking(ranking, relevant, len(ids)) for name, ranking in rankings.items()}, len(queries)


def embedded_vectors(
    pattern: str, modality: Modality, layout: Layout, source: EncoderSource, encoder: Encoder
) -> tuple[list[str], FloatMatrix]:
    """(ids, vectors) of all rows of some shards; those that the refresh embedded are read back."""
    request = EmbeddingRequest(modality, Columns(), source.fingerprint.digest, layout.work)
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


def print_metrics(metrics: dict[str, dict[str, float]], queries: int) -> None:
    """The figures before and after, side by side."""
    print(f"\n{queries:,} held-out queries, ranked by an exact FAISS index without and with the bias")
    print(f"{'':<18}{'before':>10}{'after':>10}{'change':>10}")
    for name in _METRICS:
        before, after = metrics["base"][name], metrics["nnn"][name]
        print(f"{name:<18}{before:>10.4f}{after:>10.4f}{after - before:>+10.4f}")
    print("skewness@10: skewness of how often a candidate is in a top 10 (0: no hubs).")
    print("never_retrieved: share of candidates that are in no query's top 10.")


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``nnn demo``."""
    parser = argparse.ArgumentParser(
        prog="nnn demo",
        description="Render a small corpus of images and captions, compute its bias table with the encoder that "
        "comes with the package, and show what the bias does to retrieval. Needs no network.",
        epilog="Any Apache Beam option may follow.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--directory", default="nnn-demo", metavar="URI", help="where corpus, work and table go (default: ./nnn-demo)"
    )
    parser.add_argument("--tune", action="store_true", help="choose k and alpha by one half of the test queries")
    add_scoring_arguments(parser)
    # A small bank asks for a small k; the means of a larger one are kept to play with.
    parser.set_defaults(k=16, k_max=128)
    return parser


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, run, print."""
    args, options = parse_flags(build_parser(), argv)
    layout = Layout(args.directory)
    source = demo_encoder()
    write_corpus(layout.directory)
    config = RefreshConfig(
        candidates=layout.candidates,
        references=layout.references,
        table=layout.table,
        work=layout.work,
        k=args.k,
        alpha=args.alpha,
        k_max=args.k_max,
        reference_shard_rows=args.reference_shard_rows,
        search=args.search,
        bias_tolerance=args.bias_tolerance,
        threads=args.threads or default_threads(runs_locally(options)),
        thresholds=thresholds_from(args),
        accept=tuple(args.accept),
        report=args.report,
        validation=layout.queries,
        relevance=layout.queries,
        tune=args.tune,
    )
    manifest, summary = refresh(config, source, options)
    metrics, queries = evaluate(layout, source, manifest.version)
    print_summary(summary)
    print_metrics(metrics, queries)
    if args.json:
        print(json.dumps({**without_text(summary), "metrics": metrics}))
    return summary
