"""Correcting the order of what an engine found with plain vectors, and how much it must find for that."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nnn_core import storage
from nnn_core.artifacts import from_parquet, to_parquet
from nnn_core.errors import ConfigError, CorruptArtifactError, InputError, StorageError
from nnn_core.evaluation.metrics import Z_ALARM, robust_z
from nnn_core.evaluation.rankings import Ranking
from nnn_core.records import to_json
from nnn_core.table.ids import IdIndex, Ids, Missing
from nnn_core.vectors import GRID, FloatMatrix

_TILE_ROWS = 8_192

_FORMAT = "nnn-reranker/2"

#: Highest inner product of vectors that are unit length but for rounding.
_HIGHEST_SCORE = 1.001


#: The arrays of a re-ranker on disk, each a ``.npy`` file, and what says that they are complete.
_ARRAYS, _MARK = ("data", "offsets", "slots", "bias", "hub"), "reranker.json"


@dataclass(frozen=True)
class Reranker:
    """Biases to look up, and how they are applied.

    Attributes:
        index: rows by candidate id.
        bias: (rows,) float32, the bias of each candidate.
        hub: (rows,) bool, whether each candidate is a hub.
        mean: mean of all biases, that of candidates without one, float32.
        gated: whether the bias is applied only where the plain top 1 is a hub, as the gates of QB-Norm
            (Bogolin et al., CVPR 2022) and DB-Norm (Wang et al., arXiv 2310.11612) do.
    """

    index: IdIndex
    bias: npt.NDArray[np.float32]
    hub: npt.NDArray[np.bool_]
    mean: float
    gated: bool = False

    @classmethod
    def of(
        cls, ids: pa.ChunkedArray, bias: npt.NDArray[np.float32], gated: bool = False, deviations: float = Z_ALARM
    ) -> Reranker:
        """From the columns of a table.

        Args:
            ids: (rows,) candidate ids, such as ``BiasTable.ids``.
            bias: (rows,) float32 biases of the candidates, such as ``BiasTable.bias``.
            gated: whether only queries whose plain top 1 is a hub are corrected.
            deviations: a hub's bias lies more than so many robust standard deviations above the median.
        """
        return cls(IdIndex.of(ids), bias, robust_z(bias) > deviations, _mean(bias), gated)

    @classmethod
    def load(cls, uris: Iterable[str], gated: bool = False) -> Reranker:
        """The re-ranker of the files that ``nnn export --engine rerank`` wrote, in memory.

        Raises:
            InputError: a file cannot be read, or none was named.
            CorruptArtifactError: a file is not one of them.
        """
        tables = []
        for uri in uris:
            try:
                tables.append(from_parquet(storage.read_bytes(uri), ["id", "bias", "hub"]))
            except (pa.ArrowException, OSError, UnicodeError) as error:
                raise CorruptArtifactError(f"{uri!r} is not a file of biases: {error}. Export again.") from error
        if not tables:
            raise InputError("Reranker.load: no file was named. Pass those of export.json.")
        table = pa.concat_tables(tables)
        bias = table.column("bias").to_numpy()
        return cls(IdIndex.of(table.column("id")), bias, table.column("hub").to_numpy(), _mean(bias), gated)

    def save(self, folder: str) -> None:
        """Write it to a new folder of this machine, for ``open``; ready once the folder exists.

        Raises:
            StorageError: the folder is there already, or cannot be written.
        """
        place = Path(folder)
        try:
            if place.exists():
                raise StorageError(f"{folder!r} exists already and was left as it is. Name a new folder.")
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as draft:
                ready = Path(draft) / "ready"
                ready.mkdir()
                for name, array in {**self.index.to_arrays(), "bias": self.bias, "hub": self.hub}.items():
                    np.save(ready / f"{name}.npy", array)
                (ready / _MARK).write_bytes(to_json({"format": _FORMAT, "rows": len(self.bias), "mean": self.mean}))
                ready.rename(place)
        except OSError as error:
            raise StorageError(f"cannot write {folder!r}: {error}. Name a folder on a disk of this machine.") from error

    @classmethod
    def open(cls, folder: str, gated: bool = False) -> Reranker:
        """What ``save`` wrote, mapped into memory: nothing is read before it is looked up, and processes share it.

        Raises:
            InputError: there is no such folder.
            CorruptArtifactError: it does not hold a re-ranker.
        """
        place = Path(folder)
        if not place.is_dir():
            raise InputError(f"{folder!r} is not a folder of a re-ranker. Write one with Reranker.save.")
        try:
            mark = json.loads((place / _MARK).read_bytes())
            files = {name: place / f"{name}.npy" for name in _ARRAYS}
            arrays = {name: np.asarray(np.load(path, "r", allow_pickle=False)) for name, path in files.items()}
            if mark["format"] != _FORMAT or {len(arrays[name]) for name in ("bias", "hub")} != {mark["rows"]}:
                raise ValueError("its files are not from one save")
            bias, hub = arrays.pop("bias"), arrays.pop("hub")
            return cls(IdIndex(**arrays), bias, hub, mark["mean"], gated)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptArtifactError(f"{folder!r} is damaged: {error}. Delete it and save it again.") from error

    def to_bytes(self, rows: slice) -> bytes:
        """A Parquet file of some rows, with the columns ``id``, ``bias`` and ``hub``, for ``load``."""
        ids, bias, hub = self.index.texts(rows).cast(pa.string()), pa.array(self.bias[rows]), pa.array(self.hub[rows])
        return bytes(to_parquet(pa.table({"id": ids, "bias": bias, "hub": hub})))

    def rerank(
        self,
        ids: Ids,
        scores: Sequence[float],
        depth: int | None = None,
        weight: float = 1.0,
        missing: Missing = "error",
    ) -> list[tuple[Any, float]]:
        """The corrected order of one query's hits.

        Args:
            ids: ids of the hits that the engine found with plain vectors, in any order; texts or whole numbers.
            scores: inner product (= cosine) of each hit with the query, in the order of ``ids``, higher is better.
            depth: how many hits to return; None for all.
            weight: what biases are multiplied by: 1 for those of the table, 0 for the plain order.
            missing: ``mean`` gives a hit that is not in the table the mean of all biases; ``error`` refuses the query.

        Returns:
            (id, debiased score), best first, equal ones in order of id.

        Raises:
            InputError: an id is not in the table, the two differ in length, or a score is none of unit vectors.
            ConfigError: ``missing`` is another word, or ``weight`` is not a number.
        """
        if not math.isfinite(weight):
            raise ConfigError(f"rerank: weight {weight} is not a finite number. Pass 1 for the biases, or 0 for none.")
        if len(ids) != len(scores):
            raise InputError(f"rerank: {len(ids)} ids and {len(scores)} scores do not fit: give one score for each id.")
        rows = self.index.look_up(ids, missing, "the table")
        if not len(ids):
            return []
        plain = np.asarray(scores, np.float64)
        if not (np.abs(plain) <= _HIGHEST_SCORE).all():
            raise InputError(
                f"rerank: scores reach from {plain.min():g} to {plain.max():g}, but inner products of unit "
                "vectors lie between -1 and 1. Normalise the vectors, or turn distances into cosines."
            )
        first = rows[int(plain.argmax())]
        if self.gated and (first < 0 or not self.hub[first]):
            weight = 0.0
        debiased = plain - weight * np.where(rows < 0, self.mean, self.bias[rows]).astype(np.float64)
        order = np.argsort(-debiased, kind="stable")
        ranked = debiased[order]
        if (ranked[1:] == ranked[:-1]).any():
            hits = sorted(zip(debiased.tolist(), map(_plain, ids), strict=True), key=lambda hit: (-hit[0], hit[1]))
            return [(row_id, score) for score, row_id in hits[:depth]]
        first = zip(order[:depth].tolist(), ranked[:depth].tolist(), strict=True)
        return [(_plain(ids[row]), score) for row, score in first]


def _plain(row_id: Any) -> Any:
    return row_id.as_py() if isinstance(row_id, pa.Scalar) else row_id


def _mean(bias: npt.NDArray[np.float32]) -> float:
    """The mean as a float32, rounded once."""
    return float(np.float32(math.fsum(bias.tolist()) / max(1, len(bias))))


def plain_scores(exact: Ranking, bias: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float64]]:
    """The plain scores of the first candidates of each query, from their debiased ones.

    Inner products of grid vectors are multiples of 2**-50, so rounding to these undoes the subtraction exactly.

    Args:
        exact: the debiased ranking of each query, from an exact search.
        bias: for each query the float32 biases of its ranked candidates, in order of rank.
    """
    step = GRID**2
    rows = zip(exact.rows, bias, strict=True)
    return [np.rint((np.array([s for s, _ in row]) + b.astype(np.float64)) * step) / step for row, b in rows]


def count_at_least(
    queries: FloatMatrix, candidates: FloatMatrix, scores: Sequence[npt.NDArray[np.float64]]
) -> list[npt.NDArray[np.int64]]:
    """How many candidates of a shard score at least as high as each of some scores: their worst plain rank there.

    Args:
        queries: (queries, dim) float32 on the grid of ``vectors``.
        candidates: (rows, dim) float32 on the grid of ``vectors``.
        scores: for each query the float64 plain scores that candidates are counted against.
    """
    counts = [np.zeros(len(row), np.int64) for row in scores]
    wide = queries.astype(np.float64)
    for first in range(0, len(candidates), _TILE_ROWS):
        products = wide @ candidates[first : first + _TILE_ROWS].astype(np.float64).T
        for query, row in enumerate(scores):
            ordered = np.sort(products[query])
            counts[query] += len(ordered) - np.searchsorted(ordered, row, side="left")
    return counts


@dataclass(frozen=True)
class _Depths:
    """How much a plain search must return for its corrected top 10 to be the exact one.

    Attributes:
        queries: how many queries were measured.
        target: share of the exact top 10 that is wanted, on average over queries.
        needed: least depth K of a plain search at which the average share reaches the target.
        complete: least depth K of a plain search that keeps the exact top 10 of every query.
        overlap: (K, share of the exact top 10 kept) at a few depths K, ascending.
    """

    queries: int
    target: float
    needed: int
    complete: int
    overlap: tuple[tuple[int, float], ...]


def needed_depth(ranks: Sequence[npt.NDArray[np.int64]], target: float, candidates: int) -> _Depths:
    """Read off K.

    Args:
        ranks: for each query the plain ranks, from 1, of its exact top 10.
        target: share of the exact top 10 that is wanted, above 0 and at most 1.
        candidates: how many candidates the index holds.
    """
    # Of every query the k-th best costs its rank; the mean over queries of the share is a sum over all these ranks.
    weights = np.concatenate([np.full(len(row), 1.0 / (len(row) * len(ranks))) for row in ranks])
    costs = np.concatenate(list(ranks))
    order = np.argsort(costs, kind="stable")
    kept = np.cumsum(weights[order])
    enough = int(np.searchsorted(kept, target - 1e-9))
    ladder = [k for power in range(1, 10) for k in (10**power, 2 * 10**power, 5 * 10**power) if k < candidates]
    shares = [(k, float(weights[costs <= k].sum())) for k in [*ladder, candidates]]
    shown = next((place for place, (_, share) in enumerate(shares) if share >= 1.0 - 1e-9), len(shares) - 1)
    needed = int(costs[order][min(enough, len(costs) - 1)])
    return _Depths(len(ranks), target, needed, int(costs.max()), tuple(shares[: shown + 1]))


def check_target(target: float) -> None:
    """Refuse a share that is none.

    Raises:
        InputError: not above 0 and at most 1.
    """
    if not (math.isfinite(target) and 0.0 < target <= 1.0):
        raise InputError(f"--target-overlap {target} must be above 0 and at most 1.")
