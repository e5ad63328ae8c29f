"""``nnn evaluate``: recall and hubness of a published table on held-out queries."""

from __future__ import annotations

import argparse
import dataclasses
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from nnn_core import storage
from nnn_core.corpus import embedded_shards
from nnn_core.embedded import EmbeddedShard, read_ids
from nnn_core.embedding import EmbeddingRequest
from nnn_core.encoders import EncoderSource, parse_encoder
from nnn_core.errors import ConfigError, InputError, StorageError
from nnn_core.evaluation.means import ShardMeans, store_means
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.queries import StoredQueries, load_queries
from nnn_core.evaluation.rankings import Ranking, hubness, most_changed, occurrence_counts, worst_hubs
from nnn_core.evaluation.summary import Evaluation, Request
from nnn_core.evaluation.text import describe_evaluation
from nnn_core.manifest import Manifest, read_manifest
from nnn_core.parts import check_alpha
from nnn_core.readers import Columns
from nnn_core.table import BiasTable, load_bias_table
from pipelines.config import (
    add_column_arguments,
    add_override_arguments,
    add_relevance_arguments,
    columns_from,
    default_threads,
    override_columns,
)
from pipelines.embed_shards import EmbedShards
from pipelines.gather import ShardReferences
from pipelines.judge_bias import GatherQueries, JudgeBias, RankCandidates
from pipelines.list_shards import ListShards
from pipelines.runner import local_workers, parse_flags, run


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate. Attributes are those of the flags of the same name.

    Raises:
        ConfigError: a value that cannot work.
    """

    table: str
    version: int
    candidates: str
    queries: str
    work: str
    request: Request
    relevance: str | None = None
    references: str | None = None
    allow_overlap: bool = False
    threads: int = 1
    candidate_columns: Columns = field(default_factory=Columns)
    query_columns: Columns = field(default_factory=Columns)
    result: str = field(default_factory=lambda: f"run-{secrets.token_hex(8)}.json")

    @property
    def result_uri(self) -> str:
        """Where the last step leaves what it found."""
        return storage.join(self.work, "evaluation", self.result)


def define_evaluation(
    root: beam.Pipeline, config: EvaluationConfig, manifest: Manifest, encoder: EncoderSource | None
) -> beam.PCollection[str]:
    """Wire the evaluation; the single element is the URI of its result."""
    digest = encoder.fingerprint.digest if encoder else None
    asked = EmbeddingRequest(manifest.settings.reference_modality, config.query_columns, digest, config.work)  # type: ignore[arg-type]
    held = EmbeddingRequest(manifest.settings.candidate_modality, config.candidate_columns, digest, config.work)  # type: ignore[arg-type]
    bank = None
    if config.references:
        loose = dataclasses.replace(config.query_columns, require_id=False, pair_id=None)
        bank = (
            root
            | "ListReferences" >> ListShards(config.references, "--references")
            | "EmbedReferences" >> EmbedShards(dataclasses.replace(asked, columns=loose), encoder, "embed_references")
            | "ShardReferences" >> ShardReferences(1 << 16, None, 1.0, storage.join(config.work, "rejects"), False)
        )
    queries = (
        root
        | "ListQueries" >> ListShards(config.queries, "--queries")
        | "EmbedQueries" >> EmbedShards(asked, encoder, "embed_queries")
        | "GatherQueries" >> GatherQueries(bank, config.relevance, config.allow_overlap, config.work)
    )
    shards = (
        root
        | "ListCandidates" >> ListShards(config.candidates, "--candidates")
        | "EmbedCandidates" >> EmbedShards(held, encoder, "embed_candidates")
        | "CandidateShards" >> beam.FlatMap(lambda result: embedded_shards([result]))
        | "LookUpMeans" >> beam.Map(look_up_means, config.table, config.version, config.work)
    )
    request = root | "Request" >> beam.Create([config.request])
    evaluation = shards | "JudgeBias" >> JudgeBias(queries, request, config.threads)
    point = evaluation | "Point" >> beam.Map(lambda each: each.point)
    rankings = shards | "RankCandidates" >> RankCandidates(queries, point)
    rows = shards | "Rows" >> beam.Map(lambda each: each.shard.rows) | "AllRows" >> beam.CombineGlobally(sum)
    return evaluation | "StoreResult" >> beam.Map(
        store_result, config.result_uri, AsSingleton(queries), AsSingleton(rankings), AsSingleton(rows)
    )


def look_up_means(shard: EmbeddedShard, table: str, version: int, work: str) -> ShardMeans:
    """The means of a shard's candidates, from the table.

    Raises:
        InputError: a candidate is not in the table.
    """
    loaded = _table(table, version)
    means = loaded.means_for(read_ids(shard).to_pylist())
    return store_means(shard, means, loaded.manifest.settings.grid, work)


@lru_cache(maxsize=1)
def _table(uri: str, version: int) -> BiasTable:
    return load_bias_table(uri, version)


def store_result(
    evaluation: Evaluation, uri: str, stored: StoredQueries, rankings: tuple[Ranking, Ranking], rows: int
) -> str:
    """Leave the result where the program looks for it."""
    queries, sides = load_queries(stored), dict(zip(("before", "after"), rankings, strict=True))
    record = {
        **dataclasses.asdict(evaluation),
        "candidates": rows,
        "hubness": {name: hubness(ranking, rows) for name, ranking in sides.items()},
        "occurrences": {name: occurrence_counts(ranking, rows) for name, ranking in sides.items()},
        "hubs": [dataclasses.asdict(hub) for hub in worst_hubs(*rankings, queries)],
        "changed": [dataclasses.asdict(turn) for turn in most_changed(*rankings, queries)],
    }
    storage.create(uri, json.dumps(record).encode())
    return uri


def evaluate(config: EvaluationConfig, encoder: EncoderSource | None, options: Any) -> dict[str, Any]:
    """Run the job and read its result.

    Raises:
        NNNError: whatever went wrong.
    """
    storage.check_exclusive(config.work)
    manifest = read_manifest(config.table, config.version)
    run(options, lambda root: define_evaluation(root, config, manifest, encoder))
    result: dict[str, Any] = json.loads(storage.read_bytes(config.result_uri))
    return {"table": config.table, "version": config.version, **result}


def print_evaluation(result: dict[str, Any]) -> None:
    """The result for a person."""
    print(f"table        version {result['version']} of {result['table']}, {result['candidates']:,} candidates")
    print("\n".join(describe_evaluation(result)))


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``nnn evaluate``."""
    parser = argparse.ArgumentParser(
        prog="nnn evaluate",
        description="Rank all candidates for held-out queries, exactly, with and without the biases of a published "
        "table, and show recall and hubness with intervals.",
        epilog="Any Apache Beam option may follow.",
        allow_abbrev=False,
    )
    parser.add_argument("--table", required=True, metavar="URI", help="folder of the bias table")
    parser.add_argument("--version", type=int, metavar="N", help="which version (default: the current one)")
    parser.add_argument("--candidates", required=True, metavar="GLOB", help="shards of the items of the index")
    parser.add_argument("--queries", required=True, metavar="GLOB", help="shards of the held-out queries")
    parser.add_argument("--work", required=True, metavar="URI", help="folder of artefacts, that of the refresh")
    parser.add_argument("--references", metavar="GLOB", help="the bank, to make sure that no query is in it")
    add_relevance_arguments(parser)
    parser.add_argument("--encoder", metavar="SPEC", help="as for nnn refresh; not needed for vectors")
    parser.add_argument("--k", type=int, help="one of the table's grid (default: the table's)")
    parser.add_argument("--alpha", type=float, help="weight of the mean in the bias (default: the table's)")
    parser.add_argument("--tune", action="store_true", help="choose k and alpha by one half of the queries")
    parser.add_argument("--report", metavar="URI", help="write one HTML page, which loads nothing, under this new name")
    columns = parser.add_argument_group("columns", "Names of columns or JSON fields.")
    add_column_arguments(columns)
    add_override_arguments(columns, "query")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of one worker process (default: all cores)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--verbose", action="store_true", help="show Beam's own log")
    return parser


def _config_from(args: argparse.Namespace, workers: int | None) -> EvaluationConfig:
    manifest = read_manifest(args.table, args.version)
    columns = columns_from(args)
    return EvaluationConfig(
        table=args.table,
        version=manifest.version,
        candidates=args.candidates,
        queries=args.queries,
        work=args.work,
        request=_request_from(args, manifest),
        relevance=args.relevance,
        references=args.references,
        allow_overlap=args.allow_overlap,
        threads=args.threads or default_threads(workers),
        candidate_columns=columns,
        query_columns=override_columns(args, "query", columns),
    )


def _request_from(args: argparse.Namespace, manifest: Manifest) -> Request:
    settings = manifest.settings
    if args.tune:
        if args.k is not None or args.alpha is not None:
            raise ConfigError("--tune chooses k and alpha, so --k and --alpha say nothing beside it; leave them out.")
        return Request(None, settings.grid, objective=args.objective)
    k = settings.k if args.k is None else args.k
    alpha = settings.alpha if args.alpha is None else args.alpha
    check_alpha(alpha)
    if k not in settings.grid:
        raise InputError(
            f"--k {k} is not in the grid of version {manifest.version} of {args.table!r}, which keeps the means for "
            f"{', '.join(map(str, settings.grid))}; choose one of these."
        )
    return Request(Point(k, alpha), settings.grid, objective=args.objective)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse flags, run, print."""
    args, options = parse_flags(build_parser(), argv)
    encoder = parse_encoder(args.encoder) if args.encoder else None
    result = evaluate(_config_from(args, local_workers(options)), encoder, options)
    print_evaluation(result)
    if args.report:
        from nnn_core.report import render
        from nnn_core.report.evaluation import evaluation_report

        page = render(evaluation_report(result, load_bias_table(result["table"], result["version"])))
        if not storage.create(args.report, page.encode()):
            raise StorageError(f"--report {args.report!r} is there already and was left as it is; name a new file.")
        print(f"report       {args.report}")
    if args.json:
        print(json.dumps(result))
    return result
