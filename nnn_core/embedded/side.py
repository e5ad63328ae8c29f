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


def lengths_note(off_length: int | None, rows: int, flag: str) -> str | None:
    """What to tell of vectors that were not unit length as read; None if all were, or nobody knows.

    Args:
        off_length: how many ready-made vectors had another length than 1.
        rows: how many vectors were used.
        flag: the flag that named the input.
    """
    if not off_length:
        return None
    return (
        f"{off_length:,} of {rows:,} vectors of {flag} are not unit length, and were normalised for this job. "
        "The biases are only valid for unit vectors. Normalise vectors in your index and queries too, or use "
        "those that nnn export writes."
    )
