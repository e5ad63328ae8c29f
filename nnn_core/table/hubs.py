"""The hubs of a version as a list beside its parts: candidates whose mean lies far above those of the others.

    <table>/versions/000042/_hubs-<sha256>.parquet

A candidate near the mean of many queries, by chance or by intention, is near all of them. Its mean over the k nearest
queries shows that, whether it was aimed at all queries or at those of one topic that has k of them.

The underscore keeps those who read a whole folder (Spark, Hive, Arrow) from taking hubs for rows of the table. Median
and deviation come from a histogram of all means, whose bins are 0.00024 wide: a deviation is some hundred of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from nnn_core.artifacts import from_parquet, to_parquet
from nnn_core.records import to_json
from nnn_core.table._published import is_published, read_published, store_published
from nnn_core.table.histogram import Histogram
from nnn_core.vectors import FloatMatrix

#: From how many robust standard deviations above the median a candidate is a hub (Iglewicz and Hoaglin, How to Detect
#: and Handle Outliers, ASQC 1993).
DEVIATIONS = 3.5

#: The list holds the worst ones only, and names the nearest reference queries of the worst of these. A report shows
#: fewer.
MOST_HUBS, MOST_EXPLAINED, MOST_REFERENCES, MOST_SHOWN = 1 << 12, 100, 10, 20

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "mean": pa.float32(),
        "deviations": pa.float32(),
        "n_10": pa.int64(),
        "references": pa.list_(pa.string()),
        "scores": pa.list_(pa.float32()),
    }
)


@dataclass(frozen=True)
class Means:
    """What tells hubs among some rows; ``a + b`` is of the rows of both, and ``Means()`` of none.

    Attributes:
        counts: the means of all rows at the k of the table.
        highest: (mean, id) of the ``MOST_HUBS`` rows with the highest means, these first, equal ones in order of id.
    """

    counts: Histogram = field(default_factory=Histogram)
    highest: tuple[tuple[float, str], ...] = ()

    @classmethod
    def of(cls, ids: pa.Array | pa.ChunkedArray, means: FloatMatrix) -> Means:
        """Those of the rows of a table part.

        Args:
            ids: (rows,) candidate ids, ascending.
            means: (rows,) float32 means at the k of the table.
        """
        least = np.partition(means, -MOST_HUBS)[-MOST_HUBS] if len(means) > MOST_HUBS else -np.inf
        places = np.flatnonzero(means >= least)
        # Rows are in order of id, which a stable sort keeps among equals.
        places = places[np.argsort(-means[places], kind="stable")][:MOST_HUBS]
        names = ids.take(pa.array(places)).to_pylist()
        return cls(Histogram.of(means), tuple(zip(means[places].tolist(), names, strict=True)))

    def __add__(self, other: Means) -> Means:
        both = sorted(itertools.chain(self.highest, other.highest), key=lambda row: (-row[0], row[1]))
        return Means(self.counts + other.counts, tuple(both[:MOST_HUBS]))

    def hubs(self, least: float = DEVIATIONS) -> pa.Table:
        """``id``, ``mean`` and ``deviations`` of the hubs, the worst first and equal ones in order of id.

        Args:
            least: robust standard deviations above the median from which a candidate is a hub.
        """
        middle, scale = self.counts.quantile(0.5), self.counts.mad
        rows = ((name, mean, float(np.float32((mean - middle) / scale))) for mean, name in self.highest)
        columns = [*zip(*(row for row in rows if row[2] > least), strict=True)] or [(), (), ()]
        schema = pa.schema(list(SCHEMA)[:3])
        return pa.Table.from_arrays(
            [pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)], schema=schema
        )


def describe_hubs(
    hubs: pa.Table, found: Mapping[str, int] | None, nearest: Mapping[str, Collection[tuple[float, str]]]
) -> pa.Table:
    """The rows of the list.

    Args:
        hubs: ``id``, ``mean`` and ``deviations``, see ``Means.hubs``.
        found: in how many held-out queries' plain top 10 a candidate is, by its id; None without such queries.
        nearest: (score, id) of the reference queries that are nearest to a hub, by its id, as far as they are known.
    """
    names = hubs.column("id").to_pylist()
    known = [nearest.get(name) for name in names]
    columns = [
        *hubs.columns,
        pa.array([None if found is None else found.get(name, 0) for name in names], pa.int64()),
        pa.array([None if each is None else [name for _, name in each] for each in known], pa.list_(pa.string())),
        pa.array([None if each is None else [score for score, _ in each] for each in known], pa.list_(pa.float32())),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA).combine_chunks()


@dataclass(frozen=True)
class HubList:
    """The file of a version's hubs, as its manifest names it.

    Attributes:
        path: path of the file, relative to the table's URI.
        rows: how many hubs the file holds, ``MOST_HUBS`` at most.
        sha256: SHA-256 of the file's bytes, in hex.
        bytes: size of the file, in bytes.
        k: number of nearest reference queries whose mean tells a hub.
        deviations: robust standard deviations above the median from which a candidate is a hub.
    """

    path: str
    rows: int
    sha256: str
    bytes: int
    k: int
    deviations: float

    @classmethod
    def write(cls, table_uri: str, version: int, k: int, rows: pa.Table, before: HubList | None) -> HubList:
        """Store the list of a version, unless the version before has the very same one, undamaged.

        Args:
            table_uri: URI of the table's folder.
            version: number of the version in the making.
            k: number of nearest reference queries whose mean tells a hub.
            rows: the hubs, see ``describe_hubs``.
            before: that of the current version; None if it has none.

        Raises:
            CorruptArtifactError: another file lies under the name of this one.
            StorageError: the table cannot be written.
        """
        said = to_json({"format": "nnn-hubs/1", "k": k, "deviations": DEVIATIONS})
        data = to_parquet(rows.replace_schema_metadata({b"nnn_hubs": said}))
        existing = {before.sha256: before.path} if before else {}
        path, digest = store_published(table_uri, f"versions/{version:06d}/_hubs", data, existing)
        return cls(path, len(rows), digest, len(data), k, DEVIATIONS)

    def read(self, table_uri: str) -> pa.Table:
        """The hubs, the worst first, after a check of the file's bytes.

        Raises:
            CorruptArtifactError: the file is not what the manifest says.
            InputError: it is gone.
        """
        return from_parquet(read_published(table_uri, self.path, self.bytes, self.sha256))

    def is_whole(self, table_uri: str) -> bool:
        """Whether the file is there, and has the bytes that the manifest says."""
        return is_published(table_uri, self.path, self.bytes, self.sha256)
