"""What one side of a job, the candidates or the bank, was made from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Side:
    """Where the candidates or the bank of a table came from.

    Attributes:
        rows: how many rows were used, one vector each.
        rejected: how many rows were rejected, so not used.
        digest: order-free digest of (vector, pair id) of all rows.
        inputs: digests of the input shards, sorted.
        centroid: mean of the side's vectors, see ``VectorSum.centroid``; empty if an earlier release published.
        off_length: ready-made vectors whose length was not 1 as read; None where unknown or computed here.
    """

    rows: int
    rejected: int
    digest: str
    inputs: tuple[str, ...]
    centroid: str = ""
    off_length: int | None = None
