"""Embeddings that look like those of a contrastive image-text model, of any number.

Two clouds that lie apart (the modality gap), topics of very different size, sub-topics, and a
spectrum that falls off as that of CLIP's text embeddings does: with 512 dimensions, 128 directions
hold four fifths of the variance, the mean has a norm of 0.8, and a candidate's similarities to the
bank have a standard deviation of 0.055.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from nnn_core.vectors import FloatMatrix, unit_vectors

_TOPICS = 2000
_SUBTOPICS = 8


def make_cloud(rows: int, dim: int, seed: int, side: Literal["candidates", "references"]) -> FloatMatrix:
    """(rows, dim) unit vectors on the grid; the topics do not depend on ``seed``."""
    world = np.random.default_rng(7)
    spectrum = (np.arange(dim) + 4.0) ** -0.6
    topics = world.standard_normal((_TOPICS, dim))
    subtopics = world.standard_normal((_TOPICS * _SUBTOPICS, dim))
    gaps = world.standard_normal((2, dim))
    gap = gaps[int(side == "references")]
    gap /= np.linalg.norm(gap)
    weights = (np.arange(_TOPICS) + 10.0) ** -0.8
    rng = np.random.default_rng(seed)
    vectors = np.empty((rows, dim), np.float32)
    for first in range(0, rows, 16_384):
        count = min(16_384, rows - first)
        topic = rng.choice(_TOPICS, count, p=weights / weights.sum())
        subtopic = topic * _SUBTOPICS + rng.integers(0, _SUBTOPICS, count)
        meaning = 0.8 * topics[topic] + 0.6 * subtopics[subtopic] + 0.9 * rng.standard_normal((count, dim))
        block = gap + 0.75 * _unit(meaning * spectrum)
        if side == "candidates":  # what an image shows and no caption says
            block += 0.5 * _unit(rng.standard_normal((count, dim)) * spectrum)
        vectors[first : first + count] = block
    return unit_vectors(vectors)[0]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
