"""Embeddings as arrays: ``img_emb_3.npy``, with its rows' ids in ``metadata_3.parquet`` where there is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from io import SEEK_END
from itertools import compress, islice
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.inputs.readers._columnar import identified_batches
from nnn_core.inputs.readers._columns import no_ids_message
from nnn_core.inputs.readers._formats import Format, Outline
from nnn_core.inputs.readers._parquet import open_table
from nnn_core.inputs.readers._rows import BATCH_BYTES, BATCH_ROWS, NO_PAIR, Columns, Rows
from nnn_core.inputs.rejects import NO_ID, Reject
from nnn_core.inputs.shards import InputShard, Modality


def _read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """Vectors of the ``.npy`` with the ids of its metadata, row by row in the same order.

    Raises:
        InputError: not a two-dimensional float array, the two files differ in length, or there is no
            metadata and ids are needed.
    """
    if shard.companion is None:
        _check_needless(shard.uri, columns)
    with storage.open_input(shard.uri) as stream:
        shape, dtype = _header(stream, shard.uri)
        _check_size(stream, shape, dtype, shard.uri)
        if shard.companion is None:
            ids: list[str | None] = [f"row {row}" for row in range(shape[0])]
            pair_ids = [NO_PAIR] * shape[0]
        else:
            ids, pair_ids = read_metadata(shard.companion, shard, shape[0], columns)
        yield from _blocks(stream, shape[1], dtype, ids, pair_ids)


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether values are bfloat16, which numpy does not know and stores as two bytes of no type."""
    return dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None and dtype.subdtype is None


def float32_of(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """bfloat16 as float32, of which it is the upper half."""
    return (values.view("<u2").astype("<u4") << np.uint32(16)).view("<f4")


def _check_needless(uri: str, columns: Columns) -> None:
    """Refuse to do without metadata where a column of it was asked for, or ids are needed."""
    fact = _without_metadata(uri)
    if columns.named("id", ()) or columns.named("pair_id", ()):
        raise InputError(f"{fact}. Restore it, or leave --id-column and --pair-id-column out.")
    if columns.require_id:
        raise InputError(no_ids_message(fact, columns))


def _header(stream: IO[bytes], uri: str) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Shape and type from the header alone; an array of objects is never unpickled."""
    try:
        version = npy_format.read_magic(stream)
        read_header = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
        if version not in read_header:
            raise ValueError(f"its version {version} is only used for arrays with named fields")
        shape, fortran_order, dtype = read_header[version](stream)
    except (ValueError, KeyError, OSError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise InputError(f"{uri!r} is not a readable .npy file: {error}. Restore the file, or leave it out.") from error
    if shape == (0,):  # as numpy has it where it was given no rows
        shape, fortran_order = (0, 0), False
    if len(shape) != 2 or fortran_order or not (dtype.kind == "f" or is_bfloat16(dtype)):
        raise InputError(
            f"{uri!r} holds {dtype} of shape {shape}{' in Fortran order' if fortran_order else ''}. It must "
            "hold rows of float16, bfloat16, float32 or float64 vectors in C order. Write it again."
        )
    return (int(shape[0]), int(shape[1])), dtype


def _check_size(stream: IO[bytes], shape: tuple[int, int], dtype: np.dtype[Any], uri: str) -> None:
    begin = stream.tell()
    held = stream.seek(0, SEEK_END) - begin
    stream.seek(begin)
    if min(shape) < 0 or held != shape[0] * shape[1] * dtype.itemsize:
        raise InputError(
            f"{uri!r} is damaged: its header promises {shape[0]} x {shape[1]} values of {dtype}, but {held} "
            "bytes follow. Restore the file, or leave it out."
        )


def _blocks(
    stream: IO[bytes], dim: int, dtype: np.dtype[Any], ids: list[str | None], pair_ids: list[str]
) -> Iterator[Rows]:
    step = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, dim * dtype.itemsize)))
    for first in range(0, len(ids), step):
        some = slice(first, first + step)
        rows = len(ids[some])
        vectors = np.frombuffer(stream.read(rows * dim * dtype.itemsize), dtype).reshape(rows, dim)
        vectors = float32_of(vectors) if is_bfloat16(dtype) else vectors
        yield rows_with_ids(vectors, ids[some], pair_ids[some], first)


def rows_with_ids(vectors: npt.NDArray[np.floating], ids: list[str | None], pair_ids: list[str], first: int) -> Rows:
    """A batch of vectors, those without an id as rejects; its first row is number ``first`` of the file."""
    rejects = [Reject(f"row {first + row}", NO_ID) for row, row_id in enumerate(ids) if row_id is None]
    kept = [row_id is not None for row_id in ids]
    some = vectors[kept] if rejects else vectors
    return Rows([row_id for row_id in ids if row_id is not None], list(compress(pair_ids, kept)), some, rejects)


def read_metadata(uri: str, shard: InputShard, rows: int, columns: Columns) -> tuple[list[str | None], list[str]]:
    """(ids, pair ids) of all ``rows`` vectors, or of the first if the shard's head is enough."""
    ids, pair_ids = list[str | None](), list[str]()
    with open_table(uri) as table:
        if rows != table.rows:
            raise InputError(
                f"{shard.uri!r} has {rows} vectors but {uri!r} has {table.rows} rows, so vectors cannot be "
                "matched with ids. Restore the pair."
            )
        batches = identified_batches(table, [], columns, uri, shard.head or BATCH_ROWS)
        for _, some_ids, some_pair_ids, _ in islice(batches, 1 if shard.head else None):
            ids += some_ids
            pair_ids += some_pair_ids
    return ids, pair_ids


def find_companion(uri: str) -> str | None:
    """The Parquet metadata of a shard of vectors: ``img_emb_3.npy`` -> ``metadata_3.parquet``.

    It is looked for in the same folder and in a sibling folder ``metadata/``, under that name and
    under the vectors' own (``img_emb_3.parquet``).

    Raises:
        InputError: there is none, but other shards have theirs: this one's was lost.
    """
    for place in _places(uri):
        if storage.exists(place):
            return place
    others = next(filter(None, map(_any_metadata, (storage.parent(uri), _sibling(uri)))), None)
    if others:
        raise InputError(
            f"{_without_metadata(uri)}, but other shards have theirs ({others!r}). Restore the file, or leave "
            "the vectors out."
        )
    return None


def _without_metadata(uri: str) -> str:
    places = " and ".join(repr(place) for place in _places(uri))
    return f"{uri!r} has no metadata file, so its vectors have no ids; looked for {places}"


@lru_cache(maxsize=16)
def _any_metadata(folder: str) -> str | None:
    """Some metadata file in ``folder``; remembered, as a folder of many vectors is asked about for each."""
    found = (name for name in storage.list_names(folder) if re.fullmatch(r"metadata(_\d+)?\.parquet", name))
    return next((storage.join(folder, name) for name in found), None)


def _places(uri: str) -> list[str]:
    stem = storage.basename(uri).rpartition(".")[0]
    number = re.search(r"_(\d+)\Z", stem)
    names = [f"metadata_{number.group(1)}.parquet" if number else "metadata.parquet", f"{stem}.parquet"]
    return [storage.join(folder, name) for name in names for folder in (storage.parent(uri), _sibling(uri))]


def _sibling(uri: str) -> str:
    return storage.join(storage.parent(storage.parent(uri)), "metadata")


def _outline(uri: str) -> Outline:
    with storage.open_input(uri) as stream:
        shape, dtype = _header(stream, uri)
    companion, values = find_companion(uri), f"{'bfloat16' if is_bfloat16(dtype) else dtype}[{shape[1]}]"
    if companion is None:
        return Outline(shape[0], (values,))
    with open_table(companion) as table:
        names = tuple(f"{field.name}: {field.type}" for field in table.schema)
    return Outline(shape[0], (values, *names))


FORMAT = Format(
    "npy",
    (".npy",),
    _read,
    lambda uri, modality, columns: True,
    find_companion,
    _outline,
    ((0, npy_format.MAGIC_PREFIX),),
    frozenset({"id", "pair_id"}),
)
