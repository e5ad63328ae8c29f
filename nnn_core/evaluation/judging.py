"""What held-out queries see in one shard of candidates: costly results, kept and named by what they follow from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnn_core import storage
from nnn_core.artifacts import keep_tensors
from nnn_core.digests import name_of
from nnn_core.embedded.shards import read_ids, read_shard
from nnn_core.evaluation._counting import Goals, count_ahead
from nnn_core.evaluation.means import ShardMeans
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.queries import StoredQueries
from nnn_core.evaluation.rankings import DEPTH, Ranking, Rankings
from nnn_core.evaluation.ranks import Counts, Targets, biases_at

_Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ShardJudging:
    """One shard of candidates before all queries that have an answer; results lie beside the shard's means.

    Every result comes with whether it had to be computed. A damaged one raises ``CorruptArtifactError``.

    Attributes:
        means: the shard and its means.
        stored: the queries.
    """

    means: ShardMeans
    stored: StoredQueries

    def find_targets(self) -> tuple[Targets, bool]:
        """The relevant candidates that the shard holds."""

        def compute() -> _Arrays:
            queries, block = self.stored.load().answered, read_shard(self.means.shard)
            ids, means = block.ids.to_pylist(), self.means.load()
            return Targets.find(queries.vectors, queries.relevant, block.vectors, ids, means).arrays

        arrays, computed = self._keep("targets", compute)
        return Targets(**arrays), computed

    def count_ahead(self, targets: Targets, points: Sequence[Point], threads: int) -> tuple[Counts, bool]:
        """How many candidates of the shard are ahead of each target of all shards, (points, found) int64."""

        def compute() -> _Arrays:
            queries, block = self.stored.load().answered, read_shard(self.means.shard)
            goals, how = Goals.of(targets, queries.relevant), (self.means.load(), self.means.grid, points, threads)
            ahead = count_ahead(queries.vectors, goals, block.vectors, block.ids.to_pylist(), *how)
            return {"ahead": ahead.astype(np.min_scalar_type(len(block.ids)))}

        tried = [(point.k, point.alpha) for point in points]
        arrays, computed = self._keep("ahead", compute, targets=targets.digest, points=tried)
        return arrays["ahead"].astype(np.int64), computed

    def rank(self, point: Point) -> tuple[Rankings, bool]:
        """The first candidates of each query in the shard, without the bias and with that of a point."""

        def compute() -> _Arrays:
            queries, block = self.stored.load().answered, read_shard(self.means.shard)
            (bias,) = biases_at(self.means.load(), self.means.grid, [point])
            rankings = Rankings.of(queries.vectors, block.vectors, block.ids.to_pylist(), bias)
            place = {name: row for row, name in enumerate(block.ids.to_pylist())}
            return {
                f"{side}_{name}": array
                for side, ranking in (("plain", rankings.plain), ("debiased", rankings.debiased))
                for name, array in _to_arrays(ranking, place).items()
            }

        arrays, computed = self._keep("rankings", compute, point=asdict(point), depth=DEPTH)
        ids = read_ids(self.means.shard).to_pylist()
        sides = (_from_arrays(arrays[f"{side}_scores"], arrays[f"{side}_rows"], ids) for side in ("plain", "debiased"))
        return Rankings(*sides), computed

    def _keep(self, kind: str, compute: Callable[[], _Arrays], **inputs: object) -> tuple[dict[str, Any], bool]:
        means = storage.basename(self.means.uri)
        seen = {"queries": self.stored.digest, "candidates": self.means.shard.digest, "means": means}
        name = name_of(kind, **seen, grid=self.means.grid, **inputs)
        return keep_tensors(storage.join(storage.parent(self.means.uri), f"{kind}-{name}.safetensors"), compute)


def _to_arrays(ranking: Ranking, place: Mapping[str, int]) -> _Arrays:
    """Scores and rows in the shard, both (queries, entries): as many of each query as there are, ``DEPTH`` at most."""
    return {
        "scores": np.array([[score for score, _ in row] for row in ranking.rows], np.float64),
        "rows": np.array([[place[name] for _, name in row] for row in ranking.rows], np.int32),
    }


def _from_arrays(scores: npt.NDArray[np.float64], rows: npt.NDArray[np.int32], ids: Sequence[str]) -> Ranking:
    pairs = zip(scores.tolist(), rows.tolist(), strict=True)
    return Ranking(tuple(tuple((score, ids[row]) for score, row in zip(*each, strict=True)) for each in pairs))
