"""Small tables beside the corpus: judgements and attributes, as Parquet, TSV (with a header) or JSON lines."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from nnn_core import storage
from nnn_core.errors import InputError

_NUMBERS = ("grade",)


def read_table(uri: str, flag: str) -> pa.Table:
    """All columns of one file. In a TSV all but ``grade`` are text.

    Raises:
        InputError: an unknown format, or a file that cannot be read.
    """
    readers: dict[str, Any] = {".parquet": pq.read_table, ".tsv": _read_tsv, ".jsonl": pyarrow.json.read_json}
    suffix = next((suffix for suffix in readers if uri.endswith(suffix)), None)
    if suffix is None:
        raise InputError(f"{flag} {uri!r} has no known format; the suffix must be one of {', '.join(readers)}.")
    try:
        with storage.open_input(uri) as stream:
            return readers[suffix](stream)
    except pa.ArrowException as error:
        raise InputError(f"{flag} {uri!r} is not a readable table: {error}. Restore or correct it.") from error


def _read_tsv(stream: Any) -> pa.Table:
    tabs = pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False)
    names = stream.readline().decode("utf-8", "replace").rstrip("\r\n").split("\t")
    types = {name: pa.float64() if name in _NUMBERS else pa.string() for name in names}
    return pyarrow.csv.read_csv(
        stream,
        read_options=pyarrow.csv.ReadOptions(column_names=names),
        parse_options=tabs,
        convert_options=pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""]),
    )


def column_of(table: pa.Table, names: tuple[str, ...], uri: str) -> pa.ChunkedArray:
    """The first of ``names`` that is there.

    Raises:
        InputError: none of them is.
    """
    for name in names:
        if name in table.column_names:
            return table[name]
    raise InputError(
        f"{uri!r} has no column {' or '.join(map(repr, names))}, which names its rows; it has: "
        f"{', '.join(table.column_names)}."
    )
