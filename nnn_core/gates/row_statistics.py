"""Statistics of a table's rows for the gates, part by part: everything merges with ``|``, in any order.

Rows are compared with those of the previous version by id. Both tables are sorted by id and cut into
ranges, so a part meets only the few previous parts that overlap it, and nothing is shuffled.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import reduce

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.table.histogram import WIDTH, Histogram
from nnn_core.table.hubs import Means
from nnn_core.table.manifest import Manifest
from nnn_core.table.parts import BiasSettings, TablePart, means_of
from nnn_core.vectors import FloatMatrix

#: Similarity from which two vectors count as copies of each other.
_NEAR_COPY = 0.999

#: Means of 1 and of k neighbours that differ by less have equal neighbours.
_FLAT = 1e-6


@dataclass(frozen=True)
class RowStatistics:
    """Counts over some rows of a table; without arguments, over no rows, which is the identity of the merge.

    Attributes:
        near_copies: number of rows whose nearest reference has a similarity above 0.999.
        flat: number of rows whose nearest references are all equally near.
        low: lowest mean at the k of the table.
        high: highest mean at the k of the table.
        means: means of all rows at the k of the comparison.
        moved: new means less previous ones, of rows whose id the previous version has.
        before: means of the previous version's rows, as far as its files can be read.
        hubs: what tells hubs among the new rows, at the k of the table.
    """

    near_copies: int = 0
    flat: int = 0
    low: float = np.inf
    high: float = -np.inf
    means: Histogram = field(default_factory=Histogram)
    moved: Histogram = field(default_factory=Histogram)
    before: Histogram = field(default_factory=Histogram)
    hubs: Means = field(default_factory=Means)

    def __or__(self, other: RowStatistics) -> RowStatistics:
        sums = {each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)}
        return RowStatistics(**sums | {"low": min(self.low, other.low), "high": max(self.high, other.high)})

    @property
    def shift(self) -> float:
        """What all means have moved by: the median over the ids of both versions, a multiple of ``WIDTH``.

        A constant that is added to every bias changes no ranking; a bank that grows adds about that. The median, not
        the mean, because some rows that moved far must not make the others look moved.
        """
        return self.moved.quantile(0.5)

    def bars(self, most: int) -> tuple[npt.NDArray[np.float64], list[int], list[int]]:
        """The distributions of ``means`` and ``before`` over all bins that hold any, which must be some.

        Args:
            most: number of bars at most; bins are put together until there are no more.

        Returns:
            (bars + 1,) edges, one more than bars; and the counts of ``means``, and of ``before``, in each bar.
        """
        used = np.flatnonzero(self.means.counts + self.before.counts)
        step = -(-(used[-1] - used[0] + 1) // most)
        starts = np.arange(used[0], used[-1] + 1, step)
        counts, before = (np.add.reduceat(each.counts, starts).tolist() for each in (self.means, self.before))
        return -1.0 + WIDTH * (np.append(starts, starts[-1] + step) - 0.5), counts, before

    @classmethod
    def of_part(
        cls, table_uri: str, part: TablePart, rows: pa.Table, settings: BiasSettings, previous: Manifest | None
    ) -> RowStatistics:
        """Statistics of a new part, compared with the previous version's parts that overlap it.

        Args:
            table_uri: URI of the table.
            part: description of the new table part.
            rows: the table part's ``id`` and ``mean_k``, whose leading columns are those of the grid.
            settings: settings of the new version.
            previous: manifest of the current version; None for a first version.
        """
        means = means_of(rows)[:, : len(settings.grid)]
        k = compared_k(settings, previous)
        ids = rows.column("id").combine_chunks()
        hubs = Means.of(ids, means[:, settings.grid.index(settings.k)])
        statistics = replace(_measure_rows(means, settings.grid, settings.k, k), hubs=hubs)
        if previous is None:
            return statistics
        if any(part.sha256 == each.sha256 for each in previous.files):
            return replace(statistics, moved=Histogram.of(np.zeros(part.rows)))
        column = means[:, settings.grid.index(k)]
        for each in _overlapping(previous.files, part):
            found = _read_means(table_uri, each, previous.settings.grid.index(k))
            if found is not None:
                statistics = replace(statistics, moved=statistics.moved + _compare_rows(ids, column, *found))
        return statistics

    @classmethod
    def of_previous(cls, part: TablePart, table_uri: str, settings: BiasSettings, previous: Manifest) -> RowStatistics:
        """The means of a published part at the k of the comparison; of nothing where its file is damaged or gone.

        Args:
            part: description of the published table part.
            table_uri: URI of the table.
            settings: settings of the new version.
            previous: manifest of the current version, which has the table part.
        """
        found = _read_means(table_uri, part, previous.settings.grid.index(compared_k(settings, previous)))
        return cls() if found is None else cls(before=Histogram.of(found[1]))

    @classmethod
    def of_version(cls, table_uri: str, manifest: Manifest, previous: Manifest) -> RowStatistics:
        """Statistics of a version whose parts are stored, compared with those of the previous version.

        Args:
            table_uri: URI of the table.
            manifest: manifest of the version in the making.
            previous: manifest of the current version.
        """
        settings = manifest.settings
        parts = ((part, part.read(table_uri, ["id", "mean_k"])) for part in manifest.files)
        new = (cls.of_part(table_uri, part, rows, settings, previous) for part, rows in parts)
        old = (cls.of_previous(part, table_uri, settings, previous) for part in previous.files)
        return reduce(operator.or_, (*new, *old), cls())


def near_copies_message(copies: int, rows: int, own_pairs_excluded: bool) -> str:
    """The warning that candidates deserve which meet copies of themselves in the bank.

    Args:
        copies: number of candidates that have a near copy in the bank.
        rows: number of candidates in all.
        own_pairs_excluded: whether each candidate's own references were left out.
    """
    remedy = (
        "Their pair ids differ, so --exclude-own-pairs keeps them. Remove them if they are not queries of users."
        if own_pairs_excluded
        else "If these are the candidates themselves, leave them out with --exclude-own-pairs."
    )
    return (
        f"{copies:,} of {rows:,} candidates have a near copy (similarity above {_NEAR_COPY:g}) in the bank, which "
        f"raises their biases. {remedy}"
    )


def compared_k(settings: BiasSettings, previous: Manifest | None) -> int:
    """The k at which two versions are compared: that of the new one where both have it, else the nearest below.

    Means are compared, not biases: alpha only scales them, and has a gate of its own.
    """
    common = set(settings.grid) & set(previous.settings.grid if previous else settings.grid)
    return max((value for value in common if value <= settings.k), default=settings.k)


def _measure_rows(means: FloatMatrix, grid: Sequence[int], k: int, compared: int) -> RowStatistics:
    """Statistics of some rows on their own.

    Args:
        means: (rows, len(grid)) float32 means, all finite.
        grid: the k of each column of the means.
        k: the k of the table.
        compared: the k at which two versions are compared, see ``compared_k``.
    """
    at_k = means[:, grid.index(k)]
    return RowStatistics(
        near_copies=int((means[:, 0] > _NEAR_COPY).sum()) if grid[0] == 1 else 0,
        flat=int((means[:, 0] - means[:, -1] <= _FLAT).sum()) if len(grid) > 1 else 0,
        low=float(at_k.min(initial=np.inf)),
        high=float(at_k.max(initial=-np.inf)),
        means=Histogram.of(means[:, grid.index(compared)]),
    )


def _compare_rows(
    ids: pa.StringArray, means: FloatMatrix, previous_ids: pa.StringArray, previous_means: FloatMatrix
) -> Histogram:
    """New means less previous ones, of the ids that two stretches have in common.

    Args:
        ids: (rows,) ids of the new rows, each once.
        means: (rows,) float32 means of the new rows at the k of the comparison.
        previous_ids: (previous rows,) ids of the previous version's rows, each once.
        previous_means: (previous rows,) float32 means of the previous version's rows at the k of the comparison.
    """
    found = pc.index_in(ids, value_set=previous_ids)
    known = found.is_valid().to_numpy(zero_copy_only=False)
    before = previous_means[found.drop_null().to_numpy()].astype(np.float64)
    return Histogram.of(means[known].astype(np.float64) - before)


def _overlapping(parts: Iterable[TablePart], part: TablePart) -> Iterator[TablePart]:
    """Those of ``parts`` whose range of ids meets that of ``part``."""
    return (each for each in parts if each.min_id <= part.max_id and part.min_id <= each.max_id)


def _read_means(table_uri: str, part: TablePart, column: int) -> tuple[pa.StringArray, FloatMatrix] | None:
    """Ids and one column of means of a published part; None where its file is damaged or gone.

    A refresh puts such a file right, so it must not fail because of it.
    """
    try:
        rows = part.read(table_uri, ["id", "mean_k"])
    except (CorruptArtifactError, InputError):
        return None
    return rows.column("id").combine_chunks(), means_of(rows)[:, column]
