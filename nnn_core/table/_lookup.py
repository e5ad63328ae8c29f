"""Looking up a few ids in a table without reading it: the manifest names the file, statistics name the row group."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nnn_core import storage
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.table.ids import Ids, id_texts
from nnn_core.table.manifest import Manifest, read_manifest
from nnn_core.table.parts import TablePart


@dataclass(frozen=True)
class FoundRow:
    """One candidate of the table.

    Attributes:
        id: id of the candidate.
        bias: bias of the candidate, to be subtracted from scores.
        means: unscaled means of the candidate, one for each k of the grid.
    """

    id: str
    bias: float
    means: tuple[float, ...]


def find(uri: str, ids: Ids, version: int | None = None) -> list[FoundRow | None]:
    """The rows of some candidates, read from the few row groups that can hold them.

    Pages are checked against their own checksums; only ``load_bias_table`` and ``nnn table verify`` compare whole files
    with the manifest.

    Args:
        uri: URI of the table's folder.
        ids: candidate ids, texts or whole numbers, any number, though for many ``load_bias_table`` is faster.
        version: number of the version; None for the current (newest) one.

    Returns:
        A row for each of ``ids``, None where the version has no such candidate.

    Raises:
        InputError: no such table, version or file, or an id is neither a text nor a whole number.
        CorruptArtifactError: a file or the manifest is damaged.
    """
    return find_in(uri, read_manifest(uri, version), id_texts(ids).to_pylist())


def find_in(uri: str, manifest: Manifest, ids: Sequence[str]) -> list[FoundRow | None]:
    """``find`` in a version whose manifest is at hand."""
    wanted: dict[int, list[str]] = {}
    firsts = [part.min_id for part in manifest.files]
    for row_id in set(ids):
        number = bisect.bisect_right(firsts, row_id) - 1
        if number >= 0 and row_id <= manifest.files[number].max_id:
            wanted.setdefault(number, []).append(row_id)
    found: dict[str, FoundRow] = {}
    for number, names in sorted(wanted.items()):
        found |= {row.id: row for row in _find_in_part(uri, manifest, manifest.files[number], sorted(names))}
    return [found.get(row_id) for row_id in ids]


def _find_in_part(uri: str, manifest: Manifest, part: TablePart, ids: list[str]) -> Iterator[FoundRow]:
    with _opened(uri, manifest, part) as file:
        for group in range(file.num_row_groups):
            span = _statistics_of(file, group, "id")
            names = [row_id for row_id in ids if span is None or span.min <= row_id <= span.max]
            if not names:
                continue
            stored = file.read_row_group(group, ["id"], use_threads=False).column("id")
            held = pc.is_in(stored, value_set=pa.array(names, pa.string()))
            if pc.any(held).as_py():
                further = file.read_row_group(group, ["bias", "mean_k"], use_threads=False)
                rows = further.append_column("id", stored).filter(held)
                yield from (FoundRow(row["id"], row["bias"], tuple(row["mean_k"])) for row in rows.to_pylist())


def count_above(uri: str, manifest: Manifest, bias: float) -> int:
    """How many candidates have a higher bias; row groups whose statistics tell are not read.

    Raises:
        InputError: a file is gone.
        CorruptArtifactError: a file is damaged.
    """
    total = sum(part.rows for part in manifest.files if part.bias_min > bias)
    for part in manifest.files:
        if part.bias_min <= bias < part.bias_max:
            with _opened(uri, manifest, part) as file:
                total += sum(_count_above(file, group, bias) for group in range(file.num_row_groups))
    return total


def _count_above(file: pq.ParquetFile, group: int, bias: float) -> int:
    statistics = _statistics_of(file, group, "bias")
    if statistics is not None and statistics.max <= bias:
        return 0
    if statistics is not None and statistics.min > bias:
        return int(file.metadata.row_group(group).num_rows)
    return int((file.read_row_group(group, ["bias"], use_threads=False).column("bias").to_numpy() > bias).sum())


def _statistics_of(file: pq.ParquetFile, group: int, column: str) -> pq.Statistics | None:
    """Lowest and highest value of a column of a row group; None where a file does not say."""
    statistics = file.metadata.row_group(group).column(file.schema_arrow.get_field_index(column)).statistics
    return statistics if statistics is not None and statistics.has_min_max else None


@contextlib.contextmanager
def _opened(uri: str, manifest: Manifest, part: TablePart) -> Iterator[pq.ParquetFile]:
    """The file of a part, after a look at its size and its footer."""
    where = storage.join(uri, part.path)
    try:
        with storage.open_input(where, sparse=True) as stream:
            file = pq.ParquetFile(stream, pre_buffer=False, page_checksum_verification=True)
            if file.metadata.num_rows != part.rows or not manifest.settings.are_those_of(file.schema_arrow):
                raise CorruptArtifactError(
                    f"{where!r} is not the file that the manifest of version {manifest.version} names: its "
                    "footer has other rows or settings. Read an older version, or run a refresh."
                )
            yield file
    except InputError as error:
        raise InputError(
            f"{error} Without it the version is incomplete. Read an older version, or run a refresh."
        ) from error
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise CorruptArtifactError(
            f"{where!r} is damaged: {error}. Read an older version, or run a refresh."
        ) from error
