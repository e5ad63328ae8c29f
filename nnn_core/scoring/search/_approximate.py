"""The approximate search: look only into the lists that are most similar, and there in fewer dimensions.

Candidates are taken by the thousand and grouped by the lists that they look into, so that a list is
one matrix product for all its candidates. The products, of reduced vectors, select; exact
scores in full dimension decide. What is found is exact, what is missed is lower than it should be:
a mean over approximate neighbours is never above the true one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search import _kernels as kernels
from nnn_core.scoring.search._clusters import Clusters
from nnn_core.scoring.search._selection import Reservoirs, Tile, score_selected
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.vectors import FloatMatrix

#: Lists scored at a time, and lists that a candidate's threshold comes from.
_SLAB_LISTS = 256
_SAMPLE_LISTS = 2048

#: Room in a reservoir for a candidate's own pairs. One with more of them near by is searched exactly.
_MAX_OWN = 1024


@dataclass(frozen=True)
class ApproximateSettings:
    """How much is looked at.

    Attributes:
        share: about which share of the lists of references each candidate looks into, 0 to 1.
        dims: how many dimensions the reduced vectors have with which lists are looked through.
        spare: how many references are scored exactly for each score that is kept, such as 1.5.
    """

    share: float
    dims: int
    spare: float


@dataclass(frozen=True)
class ApproximateSearch:
    """Looks at the nearest lists of references only, see the module.

    Attributes:
        index: the references that are searched.
        clusters: the references of ``index`` in lists of similar ones.
        settings: how many lists, dimensions and references the search looks at.
        reduced: (distinct, dims) float32 whole numbers, the references in fewer dimensions, list after list.
    """

    index: ReferenceIndex
    clusters: Clusters
    settings: ApproximateSettings
    reduced: FloatMatrix
    name: str = "approximate"
    tile_rows: int = 8192

    @classmethod
    def of(cls, index: ReferenceIndex, clusters: Clusters, settings: ApproximateSettings) -> ApproximateSearch:
        """Prepare the references of ``index`` for these settings."""
        reduced = np.empty((len(index.vectors), min(settings.dims, index.dim)), np.float32)
        for first in range(0, len(reduced), 16_384):
            order = clusters.order[first : first + 16_384]
            reduced[first : first + 16_384] = clusters.reduce_references(index.vectors[order], settings.dims)
        return cls(index, clusters, settings, reduced)

    @property
    def nbytes(self) -> int:
        """How many bytes of memory the search takes."""
        return self.index.nbytes + self.clusters.nbytes + self.reduced.nbytes

    def top(self, tile: Tile, k: int) -> FloatMatrix:
        """Exact scores of k references near each candidate, (rows, min(k, references)) float32, descending."""
        candidates = self.clusters.reduce_candidates(tile.vectors, self.reduced.shape[1])
        room = np.minimum(self.index.own_references(tile.own, distinct=True), _MAX_OWN)
        need = (np.ceil(self.settings.spare * k) + room).astype(np.int64)
        reservoirs = Reservoirs(need, np.zeros((len(need), 1), np.float32), 2 * int(need.max(initial=0)) + 64)
        gathered = np.empty_like(candidates)
        for number, rows in enumerate(self._choose_lists(tile)):
            first, last = self.clusters.starts[number : number + 2].tolist()
            if len(rows) and last > first:
                own = np.take(candidates, rows, axis=0, mode="clip", out=gathered[: len(rows)])
                reservoirs.offer(own @ self.reduced[first:last].T, first, rows)
        reservoirs.finish()
        positions, counts = reservoirs.kept
        positions = positions[:, : int(counts.max(initial=0))]
        valid = np.arange(positions.shape[1]) < counts[:, None]
        positions = self.clusters.order[np.where(valid, positions, 0)].astype(np.int64)
        top = score_selected(tile, self.index, positions, counts, k)
        # Lists too small to hold k references must not pass for a bank that has no more.
        enough = np.minimum(k, self.index.rows - self.index.own_references(tile.own))
        short = np.flatnonzero(np.isfinite(top).sum(axis=1) < enough)
        if len(short):
            top[short] = ExactSearch(self.index).top(tile[short], k)
        return top

    def _choose_lists(self, tile: Tile) -> Iterator[npt.NDArray[np.int64]]:
        """For each list the rows of the tile that look into it."""
        centroids, bonus = self.clusters.centroids, self.clusters.bonus[:, None]
        candidates = self.clusters.reduce_candidates(tile.vectors, centroids.shape[1]).T.copy()
        # The threshold of a candidate comes from a sample of lists, so that about, not exactly, the share is chosen.
        sample = slice(None, None, max(1, len(centroids) // _SAMPLE_LISTS))
        sampled = candidates.T @ centroids[sample].T + bonus[sample].T
        last = sampled.shape[1] - max(1, round(self.settings.share * sampled.shape[1]))
        thresholds = np.partition(sampled, last, axis=1)[:, last].copy()
        for first in range(0, len(centroids), _SLAB_LISTS):
            lists = slice(first, first + _SLAB_LISTS)
            scores = centroids[lists] @ candidates
            scores += bonus[lists]
            rows, ends = kernels.columns_at_least(scores, thresholds)
            yield from np.split(rows, ends[:-1])
