"""Vectors in files of several named arrays: ``.npz``, ``.safetensors`` and HDF5."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from nnn_core import storage
from nnn_core.errors import INSTALL_EXTRA, InputError
from nnn_core.inputs.readers._columns import choose_column, choose_id_columns
from nnn_core.inputs.readers._formats import Format, Outline
from nnn_core.inputs.readers._npy import (
    find_companion,
    float32_of,
    is_bfloat16,
    read_metadata,
    rows_with_ids,
)
from nnn_core.inputs.readers._records import text_of
from nnn_core.inputs.readers._rows import BATCH_ROWS, NO_PAIR, VECTOR_DEFAULTS, Columns, Rows
from nnn_core.inputs.shards import InputShard, Modality

#: Vectors do not shrink to a hundredth of their size: what does was made to fill memory.
_MOST_RATIO = 100
_SMALL_BYTES = 64 << 20

#: A file that has to be held in memory as a whole.
_WHOLE_BYTES = 4 << 30

#: numpy's names of the types of tensors; of bfloat16 it knows the bytes only.
_TENSOR_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "V2", "BOOL": "?"} | {
    f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)
}

#: What the libraries raise for files that are damaged, or made to do harm.
_BROKEN = (
    ValueError,
    KeyError,
    OSError,
    EOFError,
    TypeError,
    SyntaxError,
    TokenError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class _Array:
    """An array that was not read yet.

    Attributes:
        shape: its shape.
        dtype: type of its values, as the file says.
        load: reads it.
    """

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], npt.NDArray[Any]]

    @property
    def may_be_vectors(self) -> bool:
        """Whether it has rows of floating-point numbers."""
        return len(self.shape) == 2 and "float" in self.dtype


_Open = Callable[[IO[bytes], str], contextlib.AbstractContextManager[dict[str, _Array]]]


@contextlib.contextmanager
def _npz(stream: IO[bytes], uri: str) -> Iterator[dict[str, _Array]]:
    """The arrays of an ``.npz``; arrays of objects are never unpickled."""
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            if info.file_size > max(_SMALL_BYTES, _MOST_RATIO * info.compress_size):
                raise ValueError(
                    f"{info.filename!r} has {info.file_size:,} bytes in {info.compress_size:,}, and was taken for a "
                    "decompression bomb"
                )
        members = {info.filename.removesuffix(".npy"): info.filename for info in archive.infolist()}
        yield {name: _npy_member(archive, member) for name, member in members.items()}


def _npy_member(archive: zipfile.ZipFile, member: str) -> _Array:
    def load() -> npt.NDArray[Any]:
        with archive.open(member) as stream:
            array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
            return float32_of(array) if is_bfloat16(array.dtype) else array

    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read_header[version](stream)
    return _Array(shape, "bfloat16" if is_bfloat16(dtype) else str(dtype), load)


@contextlib.contextmanager
def _safetensors(stream: IO[bytes], uri: str) -> Iterator[dict[str, _Array]]:
    from safetensors import SafetensorError, deserialize

    if (size := storage.size(uri)) > _WHOLE_BYTES:
        raise InputError(
            f"{uri!r} has {size:,} bytes (limit: {_WHOLE_BYTES:,}, because it is read into memory). Split it "
            "into smaller files."
        )
    try:
        tensors = deserialize(stream.read())  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    yield {name: _tensor(tensor["dtype"], tuple(tensor["shape"]), tensor["data"]) for name, tensor in tensors}


def _tensor(kind: str, shape: tuple[int, ...], data: bytes) -> _Array:
    """A tensor as safetensors keeps it, whose types are called ``F32``, ``BF16``, ``I64`` and so on."""
    dtype = _TENSOR_TYPES.get(kind)

    def load() -> npt.NDArray[Any]:
        if dtype is None:
            raise NotImplementedError(f"it has values of type {kind}")
        array = np.frombuffer(data, dtype).reshape(shape)
        return float32_of(array) if kind == "BF16" else array

    shown = "bfloat16" if kind == "BF16" else str(np.dtype(dtype)) if dtype else kind
    return _Array(shape, shown, load)


@contextlib.contextmanager
def _hdf5(stream: IO[bytes], uri: str) -> Iterator[dict[str, _Array]]:
    """The data sets of an HDF5 file that lie in it; none that leads to other files is followed."""
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            f"{uri!r} is HDF5. Reading it needs the package h5py: {INSTALL_EXTRA.format('hdf5')}."
        ) from error
    with h5py.File(stream, "r") as file:
        arrays: dict[str, _Array] = {}

        def add(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not item.is_virtual and item.external is None:
                text = h5py.check_string_dtype(item.dtype) is not None
                arrays[name] = _Array(item.shape, str(item.dtype), lambda: item.asstr()[()] if text else item[()])

        file.visititems(add)  # follows no links to elsewhere
        yield arrays


@contextlib.contextmanager
def _opened(uri: str, opener: _Open) -> Iterator[dict[str, _Array]]:
    with storage.open_input(uri) as stream:
        try:
            with opener(stream, uri) as arrays:
                yield arrays
        except NotImplementedError as error:
            raise InputError(
                f"{uri!r} uses something that is not supported: {error}. Write its vectors again as float32."
            ) from error
        except _BROKEN as error:
            said = str(error) or type(error).__name__
            if "filter" in said and opener is _hdf5:
                raise InputError(
                    f"{uri!r} is compressed by a filter that h5py does not have: {said}. Write it again with gzip."
                ) from error
            raise InputError(f"{uri!r} is not readable: {said}. Restore the file, or leave it out.") from error


def _choose(arrays: dict[str, _Array], columns: Columns, uri: str) -> str:
    """The array that was named; else the one of a usual name, or the only one that could hold vectors."""
    present = list(arrays)
    named = columns.named("vector", present)
    if named:
        choose_column("vector", present, named, uri)
        return named
    fitting = [name for name, array in arrays.items() if array.may_be_vectors]
    usual = [name for name in VECTOR_DEFAULTS if name in fitting]
    if not usual and len(fitting) != 1:
        shown = ", ".join(_describe(name, array) for name, array in arrays.items()) or "no array"
        raise InputError(f"{uri!r} holds {shown}. Name the vectors with {columns.flag('vector')}.")
    return (usual or fitting)[0]


def _describe(name: str, array: _Array) -> str:
    return f"{name}: {array.dtype}[{', '.join(map(str, array.shape))}]"


def _names_of(arrays: dict[str, _Array], column: str | None, rows: int, uri: str) -> list[str | None]:
    """An array of ids as text, None where there is no id."""
    if column is None:
        return [None] * rows
    values = arrays[column].load()
    if values.shape != (rows,):
        raise InputError(f"{uri!r}: {column!r} has the shape {values.shape}, but there are {rows} vectors.")
    return [text_of(each.decode() if isinstance(each, bytes) else each) for each in values.tolist()]


def _format(name: str, suffixes: tuple[str, ...], opener: _Open, *begins: tuple[int, bytes]) -> Format:
    def read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
        with _opened(shard.uri, opener) as arrays:
            chosen = _choose(arrays, columns, shard.uri)
            vectors = arrays[chosen].load()
            if vectors.ndim != 2 or vectors.dtype.kind != "f":
                raise InputError(
                    f"{shard.uri!r}: {_describe(chosen, arrays[chosen])} does not hold rows of floating-point "
                    f"numbers. Name another array with {columns.flag('vector')}."
                )
            ids, pair_ids = _identify(shard, arrays, len(vectors), columns)
        for first in range(0, len(ids), BATCH_ROWS):
            some = slice(first, first + BATCH_ROWS)
            yield rows_with_ids(vectors[some], ids[some], pair_ids[some], first)

    def outline(uri: str) -> Outline:
        with _opened(uri, opener) as arrays:
            rows = {array.shape[0] for array in arrays.values() if array.may_be_vectors}
            described = tuple(_describe(each, array) for each, array in arrays.items())
            return Outline(rows.pop() if len(rows) == 1 else None, described)

    names = frozenset({"id", "pair_id", "vector"})
    return Format(name, suffixes, read, lambda uri, modality, columns: True, find_companion, outline, begins, names)


def _identify(
    shard: InputShard, arrays: dict[str, _Array], rows: int, columns: Columns
) -> tuple[list[str | None], list[str]]:
    """(ids, pair ids) from the table beside the file, or from arrays in it; rows that need no id are numbered."""
    if shard.companion is not None:
        return read_metadata(shard.companion, shard, rows, columns)
    id_column, pair_column = choose_id_columns(list(arrays), columns, shard.uri)
    ids = _names_of(arrays, id_column, rows, shard.uri)
    pair_ids = [pair or NO_PAIR for pair in (_names_of(arrays, pair_column, rows, shard.uri) if pair_column else ids)]
    if not columns.require_id:
        ids = [row_id or f"row {row}" for row, row_id in enumerate(ids)]
    return ids, pair_ids


NPZ = _format("npz", (".npz",), _npz, (0, b"PK\x03\x04"))
SAFETENSORS = _format("safetensors", (".safetensors",), _safetensors, (8, b'{"'))
HDF5 = _format("hdf5", (".h5", ".hdf5"), _hdf5, (0, b"\x89HDF\r\n\x1a\n"))
