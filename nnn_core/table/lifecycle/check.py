"""Checking a version: every byte against its checksum, and what the bytes say against the manifest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core import storage
from nnn_core.digests import set_digest
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.table import hubs
from nnn_core.table.hubs import HubList
from nnn_core.table.manifest import _foreign_manifests, _table_mark, choose_version, manifest_uri, read_manifest
from nnn_core.table.parts import BiasSettings, TablePart, means_of

_WHOLE, _DAMAGED, _MISSING = "whole", "damaged", "missing"


@dataclass(frozen=True)
class _FileCheck:
    """What became of one file of the table.

    Attributes:
        path: path of the file, relative to the table's URI.
        state: state of the file: ``whole``, ``damaged`` or ``missing``.
        problem: what is wrong with the file and what to do; empty if nothing is.
    """

    path: str
    state: str
    problem: str = ""

    @classmethod
    def of(cls, path: str, problem: str, where: str) -> _FileCheck:
        """A file that was published with a problem, or with none.

        Args:
            path: path of the file, relative to the table's URI.
            problem: what is wrong with the file; empty if nothing is.
            where: quoted URI of the file, for the message.
        """
        return cls(path, _DAMAGED, f"{where} {problem}. {_REMEDY}") if problem else cls(path, _WHOLE)


@dataclass(frozen=True)
class _TableCheck:
    """What became of a version of the table.

    Attributes:
        version: number of the version that was checked.
        files: checks of the manifest, of the data files if it can be read, and of the table's mark if there is one.
    """

    version: int
    files: tuple[_FileCheck, ...]

    @property
    def bad(self) -> tuple[_FileCheck, ...]:
        """The files that are not as they were published."""
        return tuple(check for check in self.files if check.state != _WHOLE)

    @property
    def verdict(self) -> str:
        """``damaged`` if any file is not as it was published, else ``whole``."""
        return _DAMAGED if self.bad else _WHOLE


def check_table(uri: str, version: int | None = None, with_mark: bool = True) -> _TableCheck:
    """Compare every byte of a version with what was published, and its content with what the manifest says of it.

    Args:
        uri: URI of the table's folder.
        version: number of the version; None for the current (newest) one.
        with_mark: whether to look at the mark of the table's folder too.

    Raises:
        InputError: no such table or version, or a file is there and may not be read.
    """
    wanted = choose_version(uri, version)
    path = manifest_uri("", wanted).lstrip("/")
    mark = (*_check_names(uri), *(_check_mark(uri) if with_mark else ()))
    try:
        manifest = read_manifest(uri, wanted)
    except CorruptArtifactError as error:
        return _TableCheck(wanted, (_FileCheck(path, _DAMAGED, str(error)), *mark))
    order = _FileCheck.of(path, next(_problems_of_order(manifest.files), ""), f"{storage.join(uri, path)!r}")
    parts = (_check_file(uri, part, _problems_of, manifest.settings) for part in manifest.files)
    listed = [_check_file(uri, manifest.hubs, _problems_of_hubs, manifest.settings)] if manifest.hubs else []
    return _TableCheck(wanted, (order, *parts, *listed, *mark))


def _problems_of_order(parts: Sequence[TablePart]) -> Iterator[str]:
    """Ids ascend from file to file, so that a lookup finds the one file that could hold an id."""
    for one, other in itertools.pairwise(parts):
        if one.max_id >= other.min_id:
            yield (
                f"names {other.path!r} (from id {other.min_id!r}) after {one.path!r} (up to id {one.max_id!r}), "
                "so the table's ids are not sorted"
            )


_Published = TypeVar("_Published", TablePart, HubList)


def _check_file(
    uri: str,
    file: _Published,
    problems: Callable[[pa.Table, _Published, BiasSettings], Iterator[str]],
    settings: BiasSettings,
) -> _FileCheck:
    where = storage.join(uri, file.path)
    try:
        problem = next(problems(file.read(uri), file, settings), "")
    except CorruptArtifactError as error:
        return _FileCheck(file.path, _DAMAGED, str(error))
    except InputError as error:
        if storage.exists(where):
            raise
        return _FileCheck(file.path, _MISSING, str(error))
    except (pa.ArrowException, OSError, UnicodeError) as error:
        problem = f"is not a Parquet file: {error}"
    return _FileCheck.of(file.path, problem, f"{where!r}")


_REMEDY = "It was published in this state, which is a defect. Read an older version, or run a refresh."


def _problems_of(table: pa.Table, part: TablePart, settings: BiasSettings) -> Iterator[str]:
    """What contradicts the manifest in the content of a file, one statement after the other.

    Args:
        table: all rows and columns of the file of one table part.
        part: what the manifest says of the table part.
        settings: settings of the version that the table part belongs to.
    """
    expected = settings.schema
    if not table.schema.equals(expected):
        yield f"has the columns {_describe(table.schema)}, not {_describe(expected)}"
        return
    if not settings.are_those_of(table.schema):
        yield "has a footer with other settings than its manifest"
    if table.num_rows != part.rows or not part.rows:
        yield f"has {table.num_rows} rows, the manifest says {part.rows}"
        return
    if table.column("id").null_count or table.column("bias").null_count or table.column("mean_k").null_count:
        yield "has rows without an id, a bias or means"
        return
    yield from _problems_of_ids(table.column("id").combine_chunks(), part)
    yield from _problems_of_numbers(table, part, settings)


def _problems_of_ids(ids: pa.StringArray, part: TablePart) -> Iterator[str]:
    if not pc.all(pc.less(ids[:-1], ids[1:])).as_py() and len(ids) > 1:
        yield "has ids that are not sorted"
    if (ids[0].as_py(), ids[-1].as_py()) != (part.min_id, part.max_id):
        yield f"has ids from {ids[0].as_py()!r} to {ids[-1].as_py()!r}, not those in the manifest"
    if set_digest(row_id.encode() for row_id in ids.to_pylist()) != part.id_digest:
        yield "has other ids than the manifest (their digests differ)"


def _problems_of_numbers(table: pa.Table, part: TablePart, settings: BiasSettings) -> Iterator[str]:
    bias, means = table.column("bias").to_numpy(), means_of(table)
    if not (np.isfinite(bias).all() and np.isfinite(means).all()):
        yield "has biases or means that are NaN or infinite"
        return
    if not np.array_equal(bias, settings.biases(means)):
        yield "has biases that are not alpha times the mean of the k nearest"
    found = (float(bias.min()), float(bias.max()), math.fsum(bias.tolist()))
    if found != (part.bias_min, part.bias_max, part.bias_sum):
        yield "has biases whose range or sum differs from the manifest"


def _problems_of_hubs(table: pa.Table, listed: HubList, settings: BiasSettings) -> Iterator[str]:
    if not table.schema.equals(hubs.SCHEMA):
        yield f"has the columns {_describe(table.schema)}, not {_describe(hubs.SCHEMA)}"
        return
    if table.num_rows != listed.rows:
        yield f"has {table.num_rows} rows, the manifest says {listed.rows}"
    if listed.k != settings.k:
        yield f"lists hubs for k = {listed.k}, but the version has k = {settings.k}"
    if (np.diff(table.column("mean").to_numpy()) > 0).any():
        yield "has hubs that are not in order of their means"


def _describe(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def _check_names(uri: str) -> tuple[_FileCheck, ...]:
    """What lies among the manifests and is called like none; an earlier number may have been changed or padded."""
    return tuple(
        _FileCheck(
            f"versions/{name}",
            _DAMAGED,
            f"{storage.join(uri, 'versions', name)!r} does not have the name of a manifest (six digits and "
            ".json), so it is not read. Move it away, or restore its name.",
        )
        for name in _foreign_manifests(uri)
    )


def _check_mark(uri: str) -> tuple[_FileCheck, ...]:
    mark, data = _table_mark(uri)
    path = storage.basename(mark)
    if not storage.exists(mark):
        return ()
    if storage.read_bytes(mark) == data:
        return (_FileCheck(path, _WHOLE),)
    problem = f"{mark!r} is damaged. Readers do not need it. Delete it, and the next refresh writes it again."
    return (_FileCheck(path, _DAMAGED, problem),)
