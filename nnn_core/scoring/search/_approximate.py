"""The approximate search: look only into the lists that are most similar, and there in fewer dimensions.

Candidates are taken by the thousand and grouped by the lists that they look into, so that a list is
one matrix product for all its candidates. The products, of reduced vectors in int8, choose lists and
select in them; exact scores in full dimension decide. What is found is exact, what is missed is lower
than it should be: a mean over approximate neighbours is never above the true one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.search import _kernels as kernels
from nnn_core.scoring.search._clusters import CLUSTER_DIMS, Clusters
from nnn_core.scoring.search._rounding import NARROW, PackedReferences, Rounded
from nnn_core.scoring.search._selection import Reservoirs, Tile, score_selected
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.vectors import FloatMatrix

#: Lists that a candidate's threshold comes from.
_SAMPLE_LISTS = 2048

#: What candidates have where the vector of a list has its bonus over this: about as much as they have elsewhere.
_BONUS_UNIT = np.float32(1024.0)

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
        lists: vectors of the lists in int8: the centroids, and one more dimension for the bonus.
        sample: every so many of ``lists``, from which a candidate's threshold comes.
        reduced: the references in fewer dimensions and int8, list after list.
    """

    index: ReferenceIndex
    clusters: Clusters
    settings: ApproximateSettings
    lists: PackedReferences
    sample: PackedReferences
    reduced: PackedReferences
    name: str = "approximate"
    tile_rows: int = 8192

    @classmethod
    def of(cls, index: ReferenceIndex, clusters: Clusters, settings: ApproximateSettings) -> ApproximateSearch:
        """Prepare the references of ``index`` for these settings."""
        lists = np.concatenate([clusters.centroids, clusters.bonus[:, None] / _BONUS_UNIT], axis=1)
        sample = lists[:: max(1, len(lists) // _SAMPLE_LISTS)]
        reduced = PackedReferences.of(_round_references(index, clusters, settings.dims))
        return cls(index, clusters, settings, _pack(lists), _pack(sample), reduced)

    @property
    def nbytes(self) -> int:
        """How many bytes of memory the search takes."""
        return self.index.nbytes + self.clusters.nbytes + self.lists.nbytes + self.reduced.nbytes

    def top(self, tile: Tile, k: int) -> FloatMatrix:
        """Exact scores of k references near each candidate, (rows, min(k, references)) float32, descending."""
        candidates = self.clusters.reduce_candidates(tile.vectors, max(self.settings.dims, CLUSTER_DIMS))
        room = np.minimum(self.index.own_references(tile.own, distinct=True), _MAX_OWN)
        need = (np.ceil(self.settings.spare * k) + room).astype(np.int64)
        reservoirs = Reservoirs(need, np.zeros((len(need), 1), np.float32), 2 * int(need.max(initial=0)) + 64)
        looks = self._choose_lists(candidates)
        rounded = _round(candidates[:, : self.settings.dims])
        reservoirs.offer_products(rounded.as_candidates, self.reduced, self.clusters.starts, looks)
        reservoirs.finish()
        positions, counts = reservoirs.kept
        valid = np.arange(positions.shape[1]) < counts[:, None]
        positions = self.clusters.order[np.where(valid, positions, 0)].astype(np.int64)
        top = score_selected(tile, self.index, positions, counts, k)
        # Lists too small to hold k references must not pass for a bank that has no more.
        enough = np.minimum(k, self.index.rows - self.index.own_references(tile.own))
        short = np.flatnonzero(np.isfinite(top).sum(axis=1) < enough)
        if len(short):
            top[short] = ExactSearch(self.index).top(tile[short], k)
        return top

    def _choose_lists(self, candidates: FloatMatrix) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The rows of reduced candidates that look into each list, list after list, and where these end, from 0 on."""
        dims = self.clusters.centroids.shape[1]
        unit = np.full((len(candidates), 1), _BONUS_UNIT)
        looking = _round(np.concatenate([candidates[:, :dims], unit], axis=1)).as_candidates
        # The threshold of a candidate comes from a sample of lists, so that about, not exactly, the share is chosen.
        share = max(1, round(self.settings.share * self.sample.rows))
        need = np.full(len(candidates), share)
        reservoirs = Reservoirs(need, np.zeros((len(need), 1), np.float32), 2 * share + 64)
        reservoirs.offer_products(looking, self.sample)
        reservoirs.finish()
        lists = self.lists
        return kernels.choose_lists(  # type: ignore[no-any-return]
            looking, lists.rows, lists.vectors, lists.starts, lists.steps, reservoirs.lowest
        )


def _round(vectors: FloatMatrix) -> Rounded:
    """Whole numbers (rows, dims) in int8."""
    return Rounded.of(vectors, np.zeros(vectors.shape[1]), NARROW)


def _pack(vectors: FloatMatrix) -> PackedReferences:
    return PackedReferences.of(_round(vectors))


def _round_references(index: ReferenceIndex, clusters: Clusters, dims: int) -> Rounded:
    """The references of ``index`` in ``dims`` dimensions and int8, list after list."""
    parts = []
    for first in range(0, len(index.vectors), 16_384):
        order = clusters.order[first : first + 16_384]
        parts.append(_round(clusters.reduce_references(index.vectors[order], dims)))
    return Rounded.concatenate(parts)
