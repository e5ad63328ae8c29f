"""Qdrant: a collection that ranks by cosine, with the bias inside its vectors.

``pip install qdrant-client``, then ``python nnn_core/examples/qdrant_collection.py [http://localhost:6333]``
"""

import sys

import numpy as np
import pyarrow as pa
from qdrant_client import QdrantClient, models

from nnn_core import Reranker, augment, augment_queries, compute_biases


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


# Take your own here: embeddings of your items, and of queries like those of your users, from one encoder.
rng = np.random.default_rng(0)
topics, common = rng.standard_normal((2_000, 64)), rng.standard_normal(64)
ids = [f"item-{number}" for number in range(len(topics))]
vectors = unit(topics + rng.exponential(0.35, (len(topics), 1)) * common)
asked = rng.integers(0, len(topics), 4_200)  # the item that each query is about
bank, queries = np.split(unit(topics[asked] + common + 1.5 * rng.standard_normal((len(asked), 64))), [4_000])
right = [ids[row] for row in asked[4_000:]]

# The same numbers as those of the job. With a table of the job: load_bias_table(URI).bias_of(ids).
bias = compute_biases(vectors, bank)

client = QdrantClient(sys.argv[1]) if sys.argv[1:] else QdrantClient(":memory:")


def fill(collection: str, stored: np.ndarray) -> None:
    size = models.VectorParams(size=stored.shape[1], distance=models.Distance.COSINE)
    client.create_collection(collection, vectors_config=size)
    payload = [{"id": name} for name in ids]
    client.upload_collection(collection, vectors=stored, payload=payload, ids=range(len(ids)), wait=True)


def ask(collection: str, rows: np.ndarray, limit: int) -> list[list[tuple[str, float]]]:
    found = client.query_batch_points(
        collection, [models.QueryRequest(query=row, limit=limit, with_payload=True) for row in rows.tolist()]
    )
    return [[(point.payload["id"], point.score) for point in each.points] for each in found]


# Cosine divides by the length, so one more coordinate brings all vectors to one length, which changes no ranking.
fill("with-bias", augment(vectors, bias, form="norm_completed"))
after = [hits[0][0] for hits in ask("with-bias", augment_queries(queries, form="norm_completed"), 1)]

# A collection that you have, of plain vectors: ask for more hits, and re-rank them.
fill("plain", vectors)
hits = ask("plain", queries, 100)
before = [found[0][0] for found in hits]
reranker = Reranker.of(pa.chunked_array([ids]), bias)
reranked = [reranker.rerank([name for name, _ in row], [score for _, score in row], 1)[0][0] for row in hits]


def share(found: list[str]) -> str:
    return f"{np.mean([one == other for one, other in zip(found, right, strict=True)]):.1%}"


print(f"Qdrant: the right item is first for {share(before)} of the queries without the bias, {share(after)} with it")
print(f"        and for {share(reranked)} if 100 hits of a plain collection are re-ranked")
