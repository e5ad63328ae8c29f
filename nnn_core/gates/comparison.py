"""What the gates need to know of a table's rows, part by part: everything merges with ``|``, in any order.

Rows are compared with those of the previous version by id. Both tables are sorted by id and cut into
ranges, so a part meets only the few previous parts that overlap it, and nothing is shuffled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.gates.histogram import Histogram
from nnn_core.table.manifest import Manifest
from nnn_core.table.parts import BiasSettings, TablePart, means_of, read_part
from nnn_core.vectors import FloatMatrix

#: Similarity from which two vectors count as copies of each other.
NEAR_COPY = 0.999

#: Means of 1 and of k neighbours that differ by less have equal neighbours.
_FLAT = 1e-6


@dataclass(frozen=True)
class RowStatistics:
    """Counts over some rows of a table.

    Attributes:
        rows: how many.
        not_finite: rows with a mean that is no number.
        near_copies: rows whose nearest reference has a similarity above ``NEAR_COPY``.
        flat: rows whose nearest references are all equally near.
        low: lowest mean at the k of the table.
        high: highest.
        means: of all rows at the k of the comparison.
        common: rows whose id the previous version has.
        moved: absolute differences of these rows' means.
        before: means of the previous version's rows, as far as its files can be read.
    """

    rows: int
    not_finite: int
    near_copies: int
    flat: int
    low: float
    high: float
    means: Histogram
    common: int
    moved: Histogram
    before: Histogram

    @classmethod
    def empty(cls) -> RowStatistics:
        """No rows: the identity of the merge."""
        return cls(0, 0, 0, 0, np.inf, -np.inf, Histogram.empty(), 0, Histogram.empty(), Histogram.empty())

    def __or__(self, other: RowStatistics) -> RowStatistics:
        return RowStatistics(
            self.rows + other.rows,
            self.not_finite + other.not_finite,
            self.near_copies + other.near_copies,
            self.flat + other.flat,
            min(self.low, other.low),
            max(self.high, other.high),
            self.means | other.means,
            self.common + other.common,
            self.moved | other.moved,
            self.before | other.before,
        )


def near_copies_message(copies: int, rows: int, own_pairs_excluded: bool) -> str:
    """The warning that candidates deserve which meet copies of themselves in the bank.

    Args:
        copies: how many do.
        rows: candidates in all.
        own_pairs_excluded: whether each candidate's own references were left out.
    """
    remedy = (
        "Their pair ids are others; take them out of --references if no user asks for them."
        if own_pairs_excluded
        else "If these are the candidates themselves, --exclude-own-pairs leaves them out by pair id, or else by id."
    )
    return (
        f"{copies:,} of {rows:,} candidates have a near copy (similarity above {NEAR_COPY:g}) in the bank, which "
        f"raises their biases. {remedy}"
    )


def merge_statistics(statistics: Iterable[RowStatistics]) -> RowStatistics:
    """All of them as one."""
    total = RowStatistics.empty()
    for each in statistics:
        total |= each
    return total


def compared_k(k: int, grid: Sequence[int], previous_grid: Sequence[int] | None) -> int:
    """The k at which two versions are compared: that of the new one where both have it, else the nearest below.

    Means are compared, not biases: alpha only scales them, and has a gate of its own.
    """
    common = set(grid) & set(previous_grid or grid)
    return max((value for value in common if value <= k), default=k)


def measure_rows(means: FloatMatrix, grid: Sequence[int], k: int, compared: int) -> RowStatistics:
    """Statistics of some rows on their own.

    Args:
        means: (rows, len(grid)) float32.
        grid: the k of each column.
        k: that of the table.
        compared: from ``compared_k``.
    """
    finite = means[np.isfinite(means).all(axis=1)]
    at_k = finite[:, grid.index(k)]
    flat = finite[:, 0] - finite[:, -1] <= _FLAT if len(grid) > 1 else np.zeros(len(finite), bool)
    return RowStatistics(
        rows=len(means),
        not_finite=len(means) - len(finite),
        near_copies=int((finite[:, 0] > NEAR_COPY).sum()) if grid[0] == 1 else 0,
        flat=int(flat.sum()),
        low=float(at_k.min(initial=np.inf)),
        high=float(at_k.max(initial=-np.inf)),
        means=Histogram.of(finite[:, grid.index(compared)]),
        common=0,
        moved=Histogram.empty(),
        before=Histogram.empty(),
    )


def compare_rows(
    ids: pa.StringArray, means: FloatMatrix, previous_ids: pa.StringArray, previous_means: FloatMatrix
) -> tuple[int, Histogram]:
    """How many ids two stretches have in common, and by how much their means differ.

    Args:
        ids: (rows,), each once.
        means: (rows,) at the k of the comparison.
        previous_ids: (previous rows,), each once.
        previous_means: (previous rows,) likewise.
    """
    found = pc.index_in(ids, value_set=previous_ids)
    known = found.is_valid().to_numpy(zero_copy_only=False)
    before = previous_means[found.drop_null().to_numpy()].astype(np.float64)
    return int(known.sum()), Histogram.of(np.abs(means[known].astype(np.float64) - before))


def measure_part(
    table_uri: str, part: TablePart, rows: pa.Table, settings: BiasSettings, previous: Manifest | None
) -> RowStatistics:
    """Statistics of a new part, compared with the previous version's parts that overlap it.

    Args:
        table_uri: the table.
        part: describes the part.
        rows: its ``id`` and ``mean_k``, whose leading columns are those of the grid.
        settings: of the new version.
        previous: None for a first version.
    """
    means = means_of(rows)[:, : len(settings.grid)]
    k = compared_k(settings.k, settings.grid, previous.settings.grid if previous else None)
    statistics = measure_rows(means, settings.grid, settings.k, k)
    if previous is None:
        return statistics
    if any(part.sha256 == each.sha256 for each in previous.files):
        return replace(statistics, common=part.rows, moved=Histogram.of(np.zeros(part.rows)))
    ids = rows.column("id").combine_chunks()
    column = means[:, settings.grid.index(k)]
    for each in overlapping(previous.files, part):
        found = read_means(table_uri, each, previous.settings.grid.index(k))
        if found is not None:
            common, moved = compare_rows(ids, column, *found)
            statistics = replace(statistics, common=statistics.common + common, moved=statistics.moved | moved)
    return statistics


def count_previous(table_uri: str, part: TablePart, settings: BiasSettings, previous: Manifest) -> RowStatistics:
    """The means of a published part at the k of the comparison; of nothing where its file is damaged or gone."""
    k = compared_k(settings.k, settings.grid, previous.settings.grid)
    found = read_means(table_uri, part, previous.settings.grid.index(k))
    return replace(RowStatistics.empty(), before=Histogram.empty() if found is None else Histogram.of(found[1]))


def overlapping(parts: Iterable[TablePart], part: TablePart) -> Iterator[TablePart]:
    """Those of ``parts`` whose range of ids meets that of ``part``."""
    return (each for each in parts if each.min_id <= part.max_id and part.min_id <= each.max_id)


def read_means(table_uri: str, part: TablePart, column: int) -> tuple[pa.StringArray, FloatMatrix] | None:
    """Ids and one column of means of a published part; None where its file is damaged or gone.

    A refresh puts such a file right, so it must not fail because of it.
    """
    try:
        rows = read_part(table_uri, part, ["id", "mean_k"])
    except (CorruptArtifactError, InputError):
        return None
    return rows.column("id").combine_chunks(), means_of(rows)[:, column]
