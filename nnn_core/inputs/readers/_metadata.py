"""The table that img2dataset writes beside each of its tars: ``00000.parquet`` for ``00000.tar``."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow.parquet as pq

from nnn_core.errors import InputError
from nnn_core.inputs.readers._fields import split_path
from nnn_core.inputs.readers._image_columns import column_bytes
from nnn_core.inputs.readers._parquet import open_table, texts_of

#: Bounds of what is held in memory; img2dataset puts ten thousand rows in a file.
MOST_ROWS = 1_000_000
MOST_BYTES = 256 << 20

_KEY = "key"
_BATCH_ROWS = 1024


def read_metadata(uri: str, paths: Iterable[str]) -> dict[str, dict[str, object]]:
    """Those columns of the table to which ``paths`` lead, by the sample's key.

    Raises:
        InputError: the table is broken, or too large to be one of img2dataset's.
    """
    with open_table(uri) as table:
        names = table.schema_arrow.names
        wanted = sorted({head for path in paths if (head := split_path(names, path)[0])})
        if names.count(_KEY) != 1 or not wanted:
            return {}
        _check_size(table, wanted, uri)
        records: dict[str, dict[str, object]] = {}
        for batch in table.iter_batches(_BATCH_ROWS, columns=sorted({_KEY, *wanted})):
            keys = texts_of(batch, _KEY, uri)
            rows = batch.select(wanted).to_pylist()
            records |= {key: row for key, row in zip(keys, rows, strict=True) if key is not None}
    return records


def _check_size(table: pq.ParquetFile, wanted: list[str], uri: str) -> None:
    metadata = table.metadata
    size = sum(sum(column_bytes(metadata, column)) for column in wanted)
    if metadata.num_rows > MOST_ROWS or size > MOST_BYTES:
        raise InputError(
            f"{uri!r} has {metadata.num_rows:,} rows ({size:,} bytes of {', '.join(wanted)}), too many for the "
            f"metadata of one tar (at most {MOST_ROWS:,} and {MOST_BYTES:,}); move it elsewhere if it is something "
            "else, or cut tar and table into smaller ones."
        )
