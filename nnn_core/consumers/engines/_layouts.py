"""The files that engines import in bulk: a block of rows to bytes, and back, so that what was written is measured."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core.artifacts import from_parquet, to_parquet
from nnn_core.consumers.engines.registry import Engine
from nnn_core.encoders.fingerprints import FOOTER_KEY
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.vectors import FloatMatrix

#: Points in one line that is the body of a request.
POINTS_PER_REQUEST = 100


@dataclass(frozen=True)
class Rows:
    """A block of what is exported.

    Attributes:
        ids: (rows,) candidate ids, as text.
        vectors: (rows, dimensions) float32, as the engine stores them.
        bias: (rows,) float32 biases of the table, for recipes that subtract an attribute.
    """

    ids: Sequence[str]
    vectors: FloatMatrix
    bias: npt.NDArray[np.float32]


_Footer = dict[str, Any]
_Items = list[tuple[str, list[float]]]


@dataclass(frozen=True)
class _Layout:
    """A kind of file.

    Attributes:
        suffix: end of the file's name, such as ``.parquet``.
        write: turns rows and the footer's essentials into the bytes of a file.
        read: turns the bytes of a file into ids and stored vectors.
    """

    suffix: str
    write: Callable[[Rows, _Footer], bytes]
    read: Callable[[bytes], tuple[list[str], FloatMatrix]]


def _point_uuid(row_id: str) -> str:
    """The id of an object in engines whose ids are UUIDs; what Weaviate's ``generate_uuid5(id)`` gives."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, row_id))


def write_rows(engine: Engine, rows: Rows, footer: _Footer) -> bytes:
    """The bytes of one file.

    Raises:
        InputError: an id is longer than the engine takes, or holds a character that the file cannot.
    """
    longest = max(rows.ids, key=lambda row_id: len(row_id.encode()), default="")
    if engine.longest_id is not None and len(longest.encode()) > engine.longest_id:
        raise InputError(
            f"candidate id {longest[:60]!r}... has {len(longest.encode())} bytes, {engine.title} takes at most "
            f"{engine.longest_id}; name rows by another column with --id-column, for both the refresh and the export."
        )
    if engine.layout == "pgvector" and (bad := next((row_id for row_id in rows.ids if "\0" in row_id), None)):
        raise InputError(f"candidate id {bad!r} holds a NUL character, which PostgreSQL's text cannot; rename it.")
    return LAYOUTS[engine.layout].write(rows, footer)


def read_rows(engine: Engine, data: bytes, uri: str) -> tuple[list[str], FloatMatrix]:
    """Ids and stored vectors of one file.

    Raises:
        CorruptArtifactError: not such a file.
    """
    try:
        return LAYOUTS[engine.layout].read(data)
    except (ValueError, KeyError, TypeError, IndexError, pa.ArrowException) as error:
        raise CorruptArtifactError(
            f"{uri!r} is damaged: {error!r}. Delete it and run the same command again."
        ) from error


def _parquet(vector: str, extra: Callable[[Rows], dict[str, pa.Array]], fixed: bool) -> _Layout:
    def write(rows: Rows, footer: _Footer) -> bytes:
        flat = pa.array(np.ascontiguousarray(rows.vectors).reshape(-1), pa.float32())
        width = rows.vectors.shape[1]
        edges = pa.array(np.arange(0, rows.vectors.size + 1, width, dtype=np.int32))
        lists = pa.FixedSizeListArray.from_arrays(flat, width) if fixed else pa.ListArray.from_arrays(edges, flat)
        table = pa.table({"id": pa.array(rows.ids, pa.string()), vector: lists, **extra(rows)})
        essentials = json.dumps(footer, sort_keys=True).encode()
        table = table.replace_schema_metadata({FOOTER_KEY: essentials})
        return bytes(to_parquet(table, plain=[f"{vector}.list.element"], row_group_rows=1 << 14))

    def read(data: bytes) -> tuple[list[str], FloatMatrix]:
        table = from_parquet(data, ["id", vector])
        vectors = table.column(vector).combine_chunks().flatten().to_numpy()
        return table.column("id").to_pylist(), vectors.reshape(table.num_rows, -1)

    return _Layout(".parquet", write, read)


def _bias_column(rows: Rows) -> dict[str, pa.Array]:
    return {"bias": pa.array(rows.bias, pa.float32())}


def _metadata_column(rows: Rows) -> dict[str, pa.Array]:
    return {"metadata": pa.array([f'{{"bias":{value}}}' for value in rows.bias], pa.string())}


def _lines(
    suffix: str,
    lines: Callable[[Rows], Iterator[str]],
    items: Callable[[Any], _Items],
    parse: Callable[[str], Any] = json.loads,
) -> _Layout:
    """A file of lines.

    Args:
        suffix: end of the file's name, such as ``.jsonl``.
        lines: turns a block of rows into lines of text.
        items: gives the ids and vectors of a parsed line; none for a line that holds no row.
        parse: turns a line into what ``items`` takes; by default it reads JSON.
    """

    def write(rows: Rows, footer: _Footer) -> bytes:
        return b"".join(line.encode() + b"\n" for line in lines(rows))

    def read(data: bytes) -> tuple[list[str], FloatMatrix]:
        ids: list[str] = []
        vectors: list[npt.NDArray[np.float32]] = []
        # Not splitlines: JSON text may hold other line separators than this one.
        for line in data.decode().rstrip("\n").split("\n"):
            for row_id, numbers in items(parse(line)):
                ids.append(row_id)
                vectors.append(np.array(numbers, np.float64).astype(np.float32))
        return ids, np.stack(vectors)

    return _Layout(suffix, write, read)


def _each(rows: Rows) -> Iterator[tuple[str, str, str]]:
    """Id as given, vector and bias as text."""
    return zip(rows.ids, _vector_texts(rows.vectors), map(str, rows.bias), strict=True)


def _vertex(rows: Rows) -> Iterator[str]:
    return (f'{{"id":{json.dumps(row_id)},"embedding":{vector}}}' for row_id, vector, _ in _each(rows))


def _vespa(rows: Rows) -> Iterator[str]:
    for row_id, vector, bias in _each(rows):
        fields = f'{{"id":{json.dumps(row_id)},"bias":{bias},"embedding":{{"values":{vector}}}}}'
        yield f'{{"put":{json.dumps("id:nnn:item::" + row_id)},"fields":{fields}}}'


def _bulk(rows: Rows) -> Iterator[str]:
    for row_id, vector, bias in _each(rows):
        name = json.dumps(row_id)
        yield f'{{"index":{{"_id":{name}}}}}'
        yield f'{{"id":{name},"bias":{bias},"embedding":{vector}}}'


def _requests(head: str, points: Iterator[str]) -> Iterator[str]:
    """Bodies of requests with some points each."""
    while some := list(itertools.islice(points, POINTS_PER_REQUEST)):
        yield f'{{"{head}":[{",".join(some)}]}}'


def _qdrant(rows: Rows) -> Iterator[str]:
    points = (
        f'{{"id":"{_point_uuid(row_id)}","vector":{vector},"payload":{{"id":{json.dumps(row_id)},"bias":{bias}}}}}'
        for row_id, vector, bias in _each(rows)
    )
    return _requests("points", points)


def _weaviate(rows: Rows) -> Iterator[str]:
    points = (
        f'{{"class":"Item","id":"{_point_uuid(row_id)}","properties":{{"item_id":{json.dumps(row_id)},"bias":{bias}}},'
        f'"vector":{vector}}}'
        for row_id, vector, bias in _each(rows)
    )
    return _requests("objects", points)


#: What PostgreSQL's COPY escapes in text.
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_UNESCAPES = {escaped[1]: char for char, escaped in _ESCAPES.items()}


def _copy(rows: Rows) -> Iterator[str]:
    table = str.maketrans(_ESCAPES)
    return (f"{row_id.translate(table)}\t{bias}\t{vector}" for row_id, vector, bias in _each(rows))


def _copied(line: str) -> _Items:
    row_id, _, vector = line.split("\t")
    return [(re.sub(r"\\(.)", lambda escape: _UNESCAPES[escape[1]], row_id), json.loads(vector))]


def _embedding(record: Any) -> _Items:
    return [] if "index" in record else [(record["id"], record["embedding"])]


def _points(body: Any) -> _Items:
    return [(point["payload"]["id"], point["vector"]) for point in body["points"]]


def _objects(body: Any) -> _Items:
    return [(each["properties"]["item_id"], each["vector"]) for each in body["objects"]]


def _fields(record: Any) -> _Items:
    return [(record["fields"]["id"], record["fields"]["embedding"]["values"])]


LAYOUTS: dict[str, _Layout] = {
    "lancedb": _parquet("vector", _bias_column, fixed=True),
    "milvus": _parquet("vector", _bias_column, fixed=False),
    "pinecone": _parquet("values", _metadata_column, fixed=False),
    "vertex": _lines(".json", _vertex, _embedding),
    "vespa": _lines(".jsonl", _vespa, _fields),
    "bulk": _lines(".ndjson", _bulk, _embedding),
    "qdrant": _lines(".jsonl", _qdrant, _points),
    "weaviate": _lines(".jsonl", _weaviate, _objects),
    "pgvector": _lines(".copy", _copy, _copied, parse=str),
}


#: Rows that are turned into text at a time.
_TILE_ROWS = 4_096


def _vector_texts(vectors: FloatMatrix) -> Iterator[str]:
    """Each row (rows, dim) float32 as ``[1,0.5,-2e-7]``, which JSON and PostgreSQL read."""
    for first in range(0, len(vectors), _TILE_ROWS):
        tile = np.ascontiguousarray(vectors[first : first + _TILE_ROWS])
        numbers = pa.array(tile.reshape(-1), pa.float32()).cast(pa.string())
        edges = pa.array(np.arange(0, tile.size + 1, tile.shape[1], dtype=np.int32))
        joined = pc.binary_join(pa.ListArray.from_arrays(edges, numbers), ",")
        yield from (f"[{text}]" for text in joined.to_pylist())
