"""How artefacts are kept: every costly result is a file named by what it was computed from.

What is read back says under which name it was written and what it held, so that no other is taken for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

from nnn_core import records, storage
from nnn_core.digests import sha256
from nnn_core.errors import CorruptArtifactError, InputError, LostArtifactError

_LOG = logging.getLogger("nnn")

_T = TypeVar("_T")

_CHECKSUM = "sha256"

_REMEDY = "Delete it and run the same command again."


def keep_bytes(uri: str, data: bytes) -> bytes:
    """Store an artefact unless its name exists; return the bytes that are stored under the name.

    Two workers that compute the same artefact agree on whichever came first, even where the
    computation is not reproducible to the bit (a model on a GPU, say).
    """
    return data if storage.create(uri, data) else storage.read_bytes(uri)


def keep_exactly(uri: str, data: bytes | memoryview) -> None:
    """Have the object under a name that follows from ``data``; other bytes that lie there are damaged, and go."""
    if not storage.create(uri, data) and storage.read_bytes(uri) != bytes(data):
        lost(uri, "does not match its name")
        storage.create(uri, data)


def read_exactly(uri: str, digest: str) -> bytes:
    """The bytes of an object, of whose SHA-256 in hex at least the beginning is known.

    Raises:
        LostArtifactError: it is gone, or holds other bytes.
    """
    try:
        data = storage.read_bytes(uri)
    except InputError as error:
        raise lost(uri, "is gone") from error
    if not digest or not sha256(data).startswith(digest):
        raise lost(uri, "does not match its name")
    return data


def keep(uri: str, make: Callable[[], bytes], parse: Callable[[bytes], _T]) -> tuple[_T, bool]:
    """What lies under a name, or is made and kept there; and whether it was made. What is damaged is made anew.

    Args:
        uri: URI that follows from all that the artefact is computed from.
        make: computes the artefact's bytes.
        parse: reads them; raises CorruptArtifactError if they are not what was written under this name.
    """
    try:
        if storage.exists(uri):
            return parse(storage.read_bytes(uri)), False
    except InputError:
        pass  # it went in between
    except CorruptArtifactError as error:
        lost(uri, str(error))
    return parse(keep_bytes(uri, make())), True


def lost(uri: str, why: str) -> LostArtifactError:
    """Take what is not a whole artefact out of the way of the one that is computed anew.

    Args:
        uri: URI of the artefact, which may be gone already.
        why: what is wrong with it.

    Returns:
        The error for who cannot compute it anew at once.
    """
    with contextlib.suppress(InputError):
        storage.remove(uri)
    _LOG.warning("%s is computed again: it %s", uri, why)
    return LostArtifactError(f"{uri!r} cannot be used: it {why}. Run the same command again.")


def to_sealed(record: Any, uri: str) -> bytes:
    """A record as JSON that carries a checksum of its content and of the name that it is stored under.

    A seal tells accidents: a changed byte, a file under the name of another. Whoever means to deceive can write one.

    Args:
        record: a dataclass, or plain values that JSON can hold.
        uri: URI that it is stored under, of which the last segment counts, so that folders can be moved.
    """
    content = json.loads(records.to_json(record))
    return records.to_json({"checksum": _seal(uri, records.to_json(content)), "content": content}) + b"\n"


def from_sealed(data: bytes, uri: str) -> Any:
    """The content of ``to_sealed``, as ``json.loads`` gives it.

    Raises:
        CorruptArtifactError: other bytes than were written under this name.
    """
    try:
        content = json.loads(data)["content"]
        if to_sealed(content, uri) != data:
            raise ValueError("its checksum does not match")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptArtifactError(f"{uri!r} is damaged: {error}. {_REMEDY}") from error
    return content


def _seal(uri: str, content: bytes) -> str:
    return sha256(storage.basename(uri).encode() + b"\0" + content)


def to_tensors(arrays: Mapping[str, Any], uri: str) -> bytes:
    """Arrays as a safetensors file, with a checksum of their own and of the name that it is stored under.

    Args:
        arrays: arrays by name.
        uri: URI that they are stored under, of which the last segment counts.
    """
    return bytes(safetensors.numpy.save({**arrays, _CHECKSUM: np.frombuffer(checksum_of(arrays, uri), np.uint8)}))


def from_tensors(data: bytes, uri: str) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of ``to_tensors`` back.

    Raises:
        CorruptArtifactError: other arrays than were written under this name.
    """
    try:
        arrays: dict[str, npt.NDArray[Any]] = safetensors.numpy.load(data)
        if arrays.pop(_CHECKSUM).tobytes() != checksum_of(arrays, uri):
            raise ValueError("its checksum does not match")
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(f"{uri!r} is damaged: {error}. {_REMEDY}") from error
    return arrays


def keep_tensors(uri: str, compute: Callable[[], Mapping[str, Any]]) -> tuple[dict[str, npt.NDArray[Any]], bool]:
    """Arrays that lie under a name, or are computed and kept there; and whether they were computed.

    Args:
        uri: URI that follows from all that the arrays are computed from.
        compute: computes them.
    """
    return keep(uri, lambda: to_tensors(compute(), uri), lambda data: from_tensors(data, uri))


def checksum_of(arrays: Mapping[str, Any], uri: str) -> bytes:
    """SHA-256 of arrays by name, and of the name that they are stored under, the last segment of ``uri``."""
    digest = hashlib.sha256(storage.basename(uri).encode() + b"\0")
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def pack_vectors(vectors: npt.NDArray[np.float32]) -> pa.FixedSizeBinaryArray:
    """A column of the vectors (rows, dim) float32, a row a value: a list column takes forty times as long to read."""
    packed = pa.py_buffer(np.ascontiguousarray(vectors, "<f4"))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(4 * vectors.shape[1]), len(vectors), [None, packed])


def unpack_vectors(packed: pa.FixedSizeBinaryArray) -> npt.NDArray[np.float32]:
    """The vectors (rows, dim) of ``pack_vectors``, read-only."""
    width = packed.type.byte_width
    vectors = np.frombuffer(packed.buffers()[1], "<f4", len(packed) * width // 4, packed.offset * width)
    vectors.flags.writeable = False
    return vectors.reshape(len(packed), width // 4)


def to_parquet(
    table: pa.Table, *, packed: Iterable[str] = (), plain: Iterable[str] = (), row_group_rows: int = 1 << 17
) -> memoryview:
    """A Parquet file in memory, the same bytes for the same table.

    Args:
        table: the Arrow table whose rows are written.
        packed: names of columns of bytes that nobody selects rows by.
        plain: paths of columns that are neither encoded nor compressed, and that nobody selects rows by.
        row_group_rows: most rows in a row group of the file.
    """
    sink = pa.BufferOutputStream()
    options = _parquet_options(table.column_names, list(packed), list(plain))
    pq.write_table(table, sink, row_group_size=row_group_rows, **options)
    return memoryview(sink.getvalue()).cast("B")


def from_parquet(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The columns of a Parquet file in memory, each as one chunk, after a look at the checksums of its pages.

    Arrow's threads may outlive the interpreter, and one that then lets go of a buffer of Python's ends the program
    with SIGABRT. So none are started, here or wherever else a file is read.

    Args:
        data: the bytes of the file.
        columns: names of the columns to read; None for all.

    Raises:
        pa.ArrowException: damaged, or without one of the columns.
        OSError: damaged.
    """
    # Half a millisecond less than pq.read_table, which looks for a data set of many files.
    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True) as file:
        if missing := sorted(set(columns or ()) - set(file.schema_arrow.names)):
            raise pa.ArrowInvalid(f"it has no column {missing[0]!r}")
        return file.read(list(columns) if columns else None, use_threads=False).combine_chunks()


def to_parquet_in_pieces(schema: pa.Schema, pieces: Iterable[pa.Table], *, row_group_rows: int = 1 << 17) -> bytes:
    """``to_parquet`` of the pieces together, of which only a row group and the compressed file are in memory.

    Args:
        schema: Arrow schema that all pieces have.
        pieces: any number of tables; how the rows are cut into pieces does not change the bytes.
        row_group_rows: most rows in a row group of the file.
    """
    sink = pa.BufferOutputStream()
    waiting = schema.empty_table()
    with pq.ParquetWriter(sink, schema, **_parquet_options(schema.names, [], [])) as writer:
        for piece in pieces:
            waiting = pa.concat_tables([waiting, piece])
            while waiting.num_rows >= row_group_rows:
                writer.write_table(waiting.slice(0, row_group_rows).combine_chunks(), row_group_rows)
                waiting = waiting.slice(row_group_rows)
        if waiting.num_rows:
            writer.write_table(waiting.combine_chunks(), row_group_rows)
    return bytes(sink.getvalue())


def _parquet_options(columns: list[str], packed: list[str], plain: list[str]) -> dict[str, Any]:
    rest = [name for name in columns if not any(path.split(".")[0] == name for path in plain)]
    return {
        "compression": {**dict.fromkeys(rest, "zstd"), **dict.fromkeys(plain, "none")} if plain else "zstd",
        "use_dictionary": False,
        "write_statistics": [name for name in rest if name not in packed] if plain or packed else True,
        "write_page_index": True,
        "write_page_checksum": True,
        "store_schema": True,
    }
