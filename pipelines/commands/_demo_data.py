"""What the demo works on: its corpus, its encoder, and the vectors that its refresh stores."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from nnn_core import storage
from nnn_core.demo.corpus import corpus_files
from nnn_core.embedded.embedding import EmbeddingRequest, embed_shard
from nnn_core.embedded.shards import read_shard
from nnn_core.encoders import Encoder, EncoderSource, parse_encoder
from nnn_core.evaluation.judgements import read_judgements
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.readers import Columns
from nnn_core.inputs.shards import Modality
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


def embedded_vectors(
    pattern: str, modality: Modality, work: str, source: EncoderSource, encoder: Encoder
) -> tuple[list[str], FloatMatrix]:
    """(ids, vectors) of all rows of some shards; those that the refresh embedded are read back."""
    request = EmbeddingRequest(modality, Columns(), source.fingerprint.digest, work)
    blocks = []
    for name in list_shards(pattern, "the demo's corpus"):
        planned = request.plan(describe_shard(name))
        result = request.find(planned) or embed_shard(planned, request, encoder)
        blocks += [read_shard(shard) for shard in result.shards]
    ids = [row_id for block in blocks for row_id in block.ids.to_pylist()]
    return ids, np.concatenate([block.vectors for block in blocks])


def relevant_positions(pattern: str, query_ids: list[str], candidate_ids: list[str]) -> list[set[int]]:
    """For each query the positions of the candidates that answer it."""
    position = {row_id: number for number, row_id in enumerate(candidate_ids)}
    answers = read_judgements(pattern)
    return [{position[row_id] for row_id in answers[query_id]} for query_id in query_ids]
