"""A tiny refresh of vectors that comes to every kind of artefact, over inputs that grow from version 1 to 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from corpora import gaussian, write_vectors
from stores import objects, plant

DIM = 8
CANDIDATES, REFERENCES = 42, 40


def plant_inputs(scratch: Path, uri: str) -> None:
    """Three files of candidates, of which the last has a row that is rejected, and two of references."""
    candidates = gaussian(CANDIDATES, DIM, 1)
    candidates[-1] = 0.0
    order = np.random.default_rng(3).permutation(CANDIDATES)
    write_vectors(scratch / "candidates", [f"item-{number:03d}" for number in order], candidates, 3)
    write_vectors(
        scratch / "references", [f"query-{row}" for row in range(REFERENCES)], gaussian(REFERENCES, DIM, 2), 2
    )
    assert pq.read_table(scratch / "candidates" / "part-2.parquet").num_rows == CANDIDATES // 3
    if str(scratch) != uri:
        plant(uri, objects(str(scratch)))


def refresh_arguments(inputs: str, folder: str, version: int = 2) -> list[str]:
    """``refresh`` of the first two files of candidates, or of all three, into ``folder``."""
    flags = {
        "candidates": f"{inputs}/candidates/part-{{0..{version}}}.parquet",
        "references": f"{inputs}/references/part-{{0..1}}.parquet",
        "table": f"{folder}/table",
        "work": f"{folder}/work",
        "k": "4",
        "reference-shard-rows": "1",
        "max-reject-rate": "0.1",
        "accept": "candidate_rejects",
    }
    return ["refresh", *(part for name, value in flags.items() for part in (f"--{name}", value))]
