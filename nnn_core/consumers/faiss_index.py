"""A FAISS index that ranks by the debiased score; the consumer side in its smallest form."""

from __future__ import annotations

import faiss
import numpy as np
import numpy.typing as npt

from nnn_core.consumers.augment import augment, augment_queries
from nnn_core.vectors import FloatMatrix


def plain_index(vectors: FloatMatrix) -> faiss.Index:
    """An exact inner-product index of candidate vectors (rows, dim) float32."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def debiased_index(vectors: FloatMatrix, bias: npt.NDArray[np.float32]) -> faiss.Index:
    """The same over candidates with their bias (rows,) float32 inside; search it with ``search_debiased``."""
    return plain_index(augment(vectors, bias))


def search_debiased(index: faiss.Index, queries: FloatMatrix, depth: int) -> tuple[FloatMatrix, npt.NDArray[np.int64]]:
    """The ``depth`` best candidates of each query by ``<q, r> - bias(r)``.

    Args:
        index: a FAISS index with biases inside, from ``debiased_index``.
        queries: (queries, dim) float32 unit vectors.
        depth: how many candidates to return for each query.

    Returns:
        (scores, positions), each (queries, depth), best first.
    """
    scores, positions = index.search(augment_queries(queries), depth)
    return scores, positions
