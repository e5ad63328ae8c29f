"""Vectors as text, the shortest that reads back as the same float32, and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core.vectors import FloatMatrix

#: Rows that are turned into text at a time.
TILE_ROWS = 4_096


def vector_texts(vectors: FloatMatrix) -> Iterator[str]:
    """Each row (rows, dim) float32 as ``[1,0.5,-2e-7]``, which JSON and PostgreSQL read."""
    for first in range(0, len(vectors), TILE_ROWS):
        tile = np.ascontiguousarray(vectors[first : first + TILE_ROWS])
        numbers = pa.array(tile.reshape(-1), pa.float32()).cast(pa.string())
        edges = pa.array(np.arange(0, tile.size + 1, tile.shape[1], dtype=np.int32))
        joined = pc.binary_join(pa.ListArray.from_arrays(edges, numbers), ",")
        yield from (f"[{text}]" for text in joined.to_pylist())
