"""Small inputs on disk, and the table that they should give, computed in the most obvious way."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq


def gaussian(rows: int, dim: int, seed: int, offset: float = 0.3) -> npt.NDArray[np.float32]:
    """Vectors around a common direction, as the embeddings of one modality are."""
    return (np.random.default_rng(seed).standard_normal((rows, dim)) + offset).astype(np.float32)


def write_vectors(
    folder: Path,
    ids: Sequence[str],
    vectors: npt.NDArray[np.float32],
    files: int,
    pair_ids: Sequence[str] | None = None,
    captions: Sequence[str] | None = None,
    **further: Sequence[str],
) -> str:
    """Embeddings as ``files`` Parquet shards, with ``further`` columns beside them; returns their glob."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(np.array_split(np.arange(len(ids)), files)):
        columns: dict[str, object] = {"id": [ids[row] for row in rows]}
        if pair_ids is not None:
            columns["pair_id"] = [pair_ids[row] for row in rows]
        if captions is not None:
            columns["caption"] = [captions[row] for row in rows]
        columns |= {name: [values[row] for row in rows] for name, values in further.items()}
        columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors[rows].ravel()), vectors.shape[1])
        pq.write_table(pa.table(columns), folder / f"part-{number}.parquet")
    return str(folder / "part-*.parquet")


def write_tar(path: Path, samples: Mapping[str, Mapping[str, bytes]]) -> None:
    """A webdataset shard: {key: {suffix: content}}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for key, members in samples.items():
            for suffix, data in members.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def write_jsonl(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def brute_force_means(
    candidates: npt.NDArray[np.floating],
    references: npt.NDArray[np.floating],
    grid: Sequence[int],
    own: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float64]:
    """Means (candidates, len(grid)) in float64, from the definition.

    Args:
        candidates: (rows, dim), any length.
        references: (rows, dim), any length.
        grid: values of k.
        own: (candidates, references), pairs to leave out.
    """
    c, r = (v.astype(np.float64) for v in (candidates, references))
    scores = (c / np.linalg.norm(c, axis=1, keepdims=True)) @ (r / np.linalg.norm(r, axis=1, keepdims=True)).T
    if own is not None:
        scores = np.where(own, -np.inf, scores)
    ordered = -np.sort(-scores, axis=1)
    return np.stack([ordered[:, :k].mean(axis=1) for k in grid], axis=1)


#: Folders of what belongs to a single run, or says where a table lies; all else is the same after the same job.
OF_ONE_RUN = frozenset({"leases", "reports", "runs", "standing", "tables"})


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` with its bytes, but for those of ``OF_ONE_RUN``."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.parent.name not in OF_ONE_RUN)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
