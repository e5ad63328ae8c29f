"""What the demo works on: its corpus, its encoder, and the vectors that its refresh stores."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from importlib.resources import files
from multiprocessing import get_context

import numpy as np

from nnn_core import storage
from nnn_core.demo.corpus import corpus_files
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import read_shard
from nnn_core.encoders import EncoderSource, load_once, parse_encoder
from nnn_core.errors import StorageError
from nnn_core.evaluation.judgements import read_judgements
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.vectors import FloatMatrix


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


def write_corpus(directory: str, source: EncoderSource) -> None:
    """Render the corpus below ``directory``, and load its encoder meanwhile, unless an earlier run has finished it."""
    done = storage.join(directory, "corpus", "complete")
    if storage.exists(done):
        return
    # A process of its own: threads would take turns, as both is work of the interpreter.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        rendered = pool.submit(_render)
        load_once(source)
        for name, data in rendered.result():
            storage.create(storage.join(directory, "corpus", name), data)
    storage.create(done, b"")


def _render() -> list[tuple[str, bytes]]:
    return list(corpus_files())


def demo_encoder() -> EncoderSource:
    """The encoder that comes with the package."""
    return parse_encoder(f"open_clip:local-dir:{encoder_folder()}")


def encoder_folder() -> str:
    """Where its files lie."""
    return str(files("nnn_core") / "demo" / "encoder")


def embedded_vectors(pattern: str, request: EmbeddingRequest) -> tuple[list[str], FloatMatrix]:
    """(ids, vectors) of all rows of some shards, as the refresh embedded them.

    Args:
        pattern: glob of the shards.
        request: how the refresh embedded them, see ``RefreshConfig.requests``.

    Raises:
        StorageError: they are not there any more.
    """
    blocks = []
    for name in list_shards(pattern, "the demo's corpus"):
        embedded = request.find(request.plan(describe_shard(name)))
        if embedded is None:
            raise StorageError(f"{request.work!r} has lost vectors of {pattern!r}. Run nnn demo again.")
        blocks += [read_shard(shard) for shard in embedded.shards]
    ids = [row_id for block in blocks for row_id in block.ids.to_pylist()]
    return ids, np.concatenate([block.vectors for block in blocks])


def relevant_positions(pattern: str, query_ids: list[str], candidate_ids: list[str]) -> list[set[int]]:
    """For each query the positions of the candidates that answer it."""
    position = {row_id: number for number, row_id in enumerate(candidate_ids)}
    answers = read_judgements(pattern)
    return [{position[row_id] for row_id in answers[query_id]} for query_id in query_ids]
