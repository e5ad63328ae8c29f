"""FAISS: the bias as one more coordinate of an inner-product index, or as a second step after an index that you have.

``python nnn_core/examples/faiss_index.py``
"""

import faiss
import numpy as np
import pyarrow as pa

from nnn_core import Reranker, augment, augment_queries, compute_biases


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


# Take your own here: embeddings of your items, and of queries like those of your users, from one encoder.
rng = np.random.default_rng(0)
topics, common = rng.standard_normal((2_000, 64)), rng.standard_normal(64)
ids = [f"item-{number}" for number in range(len(topics))]
vectors = unit(topics + rng.exponential(0.35, (len(topics), 1)) * common)
asked = rng.integers(0, len(topics), 4_500)  # the item that each query is about
bank, queries = np.split(unit(topics[asked] + common + 1.5 * rng.standard_normal((len(asked), 64))), [4_000])
right = [ids[row] for row in asked[4_000:]]

# The same numbers as those of the job. With a table of the job: load_bias_table(URI).bias_of(ids).
bias = compute_biases(vectors, bank)

# A new index: it stores [r, -bias] and is asked with [q, 1], so its scores are <q, r> - bias.
index = faiss.IndexHNSWFlat(vectors.shape[1] + 1, 32, faiss.METRIC_INNER_PRODUCT)
index.hnsw.efSearch = 200
index.add(augment(vectors, bias))
_, rows = index.search(augment_queries(queries), 1)
after = [ids[row] for row in rows[:, 0]]

# Queries choose how much of the bias counts: with weight 0 the same index gives the plain ranking.
_, rows = index.search(augment_queries(queries, weight=0.0), 1)
before = [ids[row] for row in rows[:, 0]]

# An index that you have, of plain vectors: ask for more hits, and re-rank them.
plain = faiss.IndexFlatIP(vectors.shape[1])
plain.add(vectors)
reranker = Reranker.of(pa.chunked_array([ids]), bias)
scores, rows = plain.search(queries, 100)
reranked = [
    reranker.rerank([ids[row] for row in found], score.tolist(), 1)[0][0]
    for found, score in zip(rows, scores, strict=True)
]


def share(found: list[str]) -> str:
    return f"{np.mean([one == other for one, other in zip(found, right, strict=True)]):.1%}"


print(f"FAISS: the right item is first for {share(before)} of the queries without the bias, {share(after)} with it")
print(f"       and for {share(reranked)} if 100 hits of a plain index are re-ranked")
