"""Parquet files."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.inputs.readers._columnar import Opener, columnar_format, field_type
from nnn_core.inputs.readers._fields import split_path
from nnn_core.inputs.readers._footer import WithoutArrowSchema
from nnn_core.inputs.readers._formats import Outline

#: Columns are read in pieces of this size rather than whole: a row group may be as large as the file.
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class ParquetTable:
    """The columns of a Parquet file.

    Attributes:
        file: the open file.
    """

    file: pq.ParquetFile

    @property
    def schema(self) -> pa.Schema:
        """The columns' names and types."""
        return self.file.schema_arrow

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.file.metadata.num_rows)

    def batches(self, size: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of all rows in file order, at most ``size`` rows at a time."""
        return self.file.iter_batches(size, columns=columns, use_threads=False)  # type: ignore[no-any-return]

    def sizes(self, column: str) -> list[tuple[int, int]]:
        """(rows, uncompressed bytes of a column with all fields below it) of each row group."""
        sizes = Counter[int]()
        for number, chunk in self.chunks(column):
            sizes[number] += max(0, chunk.total_uncompressed_size)
        footer = self.file.metadata
        return [(footer.row_group(number).num_rows, sizes[number]) for number in range(footer.num_row_groups)]

    def chunks(self, column: str) -> Iterator[tuple[int, pq.ColumnChunkMetaData]]:
        """(number of the row group, what the footer says of a column there, or of a field in it).

        A row is read first: Arrow ends the process where it is asked for a description that is damaged, but not where
        it comes upon one itself.
        """
        footer = self.file.metadata
        leaves = [
            place
            for place in range(footer.num_columns)
            if f"{footer.schema.column(place).path}.".startswith(f"{column}.")
        ]
        for number in range(footer.num_row_groups if leaves else 0):
            next(self.file.iter_batches(1, row_groups=[number], columns=[column], use_threads=False), None)
            for place in leaves:
                yield number, footer.row_group(number).column(place)


@contextlib.contextmanager
def open_table(uri: str, plain: bool = False) -> Iterator[ParquetTable]:
    """The Parquet file at ``uri``; anything Arrow finds wrong with it names the file.

    Args:
        uri: URI of the file.
        plain: whether to take the types of Parquet, not those that the writer had in Arrow: to Arrow a null in a column
            of lists of a fixed size is an error of the file.

    Raises:
        InputError: not Parquet, or broken.
    """
    with storage.open_input(uri) as stream:
        try:
            source = io.BufferedReader(WithoutArrowSchema(stream)) if plain else stream
            yield ParquetTable(pq.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER_BYTES))
        except pa.ArrowNotImplementedError as error:
            raise InputError(
                f"{uri!r} is Parquet with something that is not supported: {error}. Write its columns again as "
                "text, whole numbers, bytes or lists of floats."
            ) from error
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            said = str(error).rstrip(".")
            raise InputError(
                f"{uri!r} is not a readable Parquet file: {said}. Restore or rewrite the file, or leave it out."
            ) from error


@contextlib.contextmanager
def _open_vectors(uri: str, vector: str) -> Iterator[ParquetTable]:
    with open_table(uri) as table:
        plain = _has_null_of_fixed_size(table, vector)
    with open_table(uri, plain) as table:
        yield table


def _has_null_of_fixed_size(table: ParquetTable, vector: str) -> bool:
    """Whether a column of lists of a fixed size has, or may have, nulls."""
    column = split_path(table.schema.names, vector)[0]
    if not pa.types.is_fixed_size_list(field_type(table.schema, vector) or pa.null()):
        return False
    counts = [chunk.statistics for _, chunk in table.chunks(column or vector)]
    return any(each is None or not each.has_null_count or each.null_count for each in counts)


def _outline(uri: str) -> Outline:
    with open_table(uri) as table:
        nulls = _nulls(table)
        names = tuple(f"{field.name}: {field.type}{nulls.get(field.name, '')}" for field in table.schema)
        return Outline(table.rows, names)


def _nulls(table: ParquetTable) -> dict[str, str]:
    """How many values the columns lack, of those of which the footer tells; nothing where none is lacking."""
    counts: Counter[str] = Counter()
    flat = dict.fromkeys(field.name for field in table.schema if not pa.types.is_nested(field.type))
    for chunk in (chunk for name in flat for _, chunk in table.chunks(name)):
        if chunk.statistics is not None and chunk.statistics.has_null_count:
            counts[chunk.path_in_schema] += chunk.statistics.null_count
    return {name: f", {count:,} of them NULL" for name, count in counts.items() if count}


FORMAT = columnar_format(
    "parquet", (".parquet", ".pq", ".parq"), (b"PAR1",), Opener(open_table, _open_vectors), _outline
)
