"""What travels along with the vectors of an export: further columns, and the ids that an engine's points have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core import storage
from nnn_core.embedded.shards import EmbeddedShard
from nnn_core.errors import InputError
from nnn_core.inputs.readers import Columns
from nnn_core.inputs.readers.payload import Payload


@dataclass(frozen=True)
class Along:
    """Columns of the embeddings' files that are read beside the vectors.

    Attributes:
        columns: names of the columns of ids.
        payload: further columns to send along.
        uuids: column of the UUIDs that the engine's points have; None where they follow from the ids.
    """

    columns: Columns = field(default_factory=Columns)
    payload: tuple[str, ...] = ()
    uuids: str | None = None

    def read(self, shard: EmbeddedShard, ids: Sequence[str]) -> tuple[pa.Table | None, list[str] | None]:
        """The further columns of some rows of a shard, and the ids of their points; None for what is not asked for.

        Raises:
            InputError: the file has no such column or row, a row has no UUID, or two rows of the file have the same.
        """
        names = [*dict.fromkeys([*self.payload, *([self.uuids] if self.uuids else [])])]
        if not names:
            return None, None
        stem = storage.basename(shard.uri).partition("-")[0]  # which follows from the bytes of the file
        table = Payload(shard.source, self.columns, tuple(names)).read(stem)
        rows = pc.index_in(pa.array(ids, pa.string()), value_set=table.column("id"))
        if rows.null_count:
            lost = ids[int(np.flatnonzero(rows.is_null().to_numpy(zero_copy_only=False))[0])]
            raise InputError(f"{shard.source!r} changed: row {lost!r} is gone. Run the command again.")
        found = table.take(rows).combine_chunks()
        if self.uuids:
            _check_distinct(table.column(self.uuids), self.uuids, shard.source)
        return found.select(self.payload) if self.payload else None, self._uuids(found, shard)

    def _uuids(self, found: pa.Table, shard: EmbeddedShard) -> list[str] | None:
        if self.uuids is None:
            return None
        column = found.column(self.uuids)
        if column.null_count:
            raise InputError(
                f"{shard.source!r}: {column.null_count} rows have no {self.uuids!r} (--uuid-column), so their "
                "points are unknown; leave these rows out."
            )
        names: list[str] = column.cast(pa.string()).to_pylist()
        return names


def _check_distinct(column: pa.ChunkedArray, name: str, source: str) -> None:
    """Refuse a file that has one point twice, in whatever spelling."""
    spellings = pc.utf8_lower(pc.replace_substring(column.cast(pa.string()).drop_null(), "-", ""))
    counts = spellings.value_counts()
    if len(counts) == len(spellings):
        return
    most = max(counts.to_pylist(), key=lambda each: each["counts"])
    raise InputError(
        f"{source!r}: {most['counts']} rows have the same {name!r} (--uuid-column), {most['values']!r}. The engine "
        "would keep one of them and lose the rest. Name a column that differs in every row."
    )
