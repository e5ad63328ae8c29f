"""The files that engines import in bulk: a block of rows to bytes, and back, so that what was written is measured."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core.artifacts import from_parquet, to_parquet
from nnn_core.consumers.engines._engine import Engine
from nnn_core.consumers.engines._rows import Rows, point_uuid, to_json
from nnn_core.encoders.fingerprints import FOOTER_KEY
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.vectors import FloatMatrix

#: Points in one line that is the body of a request.
POINTS_PER_REQUEST = 100


_Names = Mapping[str, str]
_Footer = dict[str, Any]
_Items = list[tuple[str, list[float]]]


@dataclass(frozen=True)
class _Layout:
    """A kind of file.

    Attributes:
        suffix: end of the file's name, such as ``.parquet``.
        write: turns rows, the engine's names and the footer's essentials into the bytes of a file.
        read: turns the bytes of a file into ids and stored vectors, by the engine's names.
        update: lines that set the bias of rows which are there; None where an engine has no such thing.
        delete: lines that remove rows by id; None for the ids, one a line.
        delete_suffix: end of the name of a file of removals.
    """

    suffix: str
    write: Callable[[Rows, _Names, _Footer], bytes]
    read: Callable[[bytes, _Names], tuple[list[str], FloatMatrix]]
    update: Callable[[Rows, _Names], Iterator[str]] | None = None
    delete: Callable[[Sequence[str], _Names, bool], Iterator[str]] | None = None
    delete_suffix: str = ".txt"


def _check_ids(engine: Engine, ids: Sequence[str]) -> None:
    longest = max(ids, key=lambda row_id: len(row_id.encode()), default="")
    if engine.longest_id is not None and len(longest.encode()) > engine.longest_id:
        raise InputError(
            f"candidate id {longest[:60]!r}... has {len(longest.encode())} bytes, {engine.title} allows "
            f"{engine.longest_id}. Choose another column with --id-column, for the refresh and the export."
        )
    if engine.layout == "pgvector" and (bad := next((row_id for row_id in ids if "\0" in row_id), None)):
        raise InputError(f"candidate id {bad!r} has a NUL character, which PostgreSQL's text cannot store. Rename it.")


def write_rows(engine: Engine, rows: Rows, footer: _Footer, names: _Names | None = None) -> bytes:
    """The bytes of one file of whole rows.

    Args:
        engine: the engine.
        rows: what the file holds.
        footer: what a Parquet file says of itself.
        names: what the engine calls things; None for the names that it has here.

    Raises:
        InputError: an id is longer than the engine takes, or holds a character that the file cannot.
    """
    _check_ids(engine, rows.ids)
    return LAYOUTS[engine.layout].write(rows, engine.names if names is None else names, footer)


def write_update(engine: Engine, rows: Rows, names: _Names) -> bytes:
    """The bytes of a file that sets the attribute of rows which the engine has, and leaves all else as it is.

    Raises:
        InputError: see ``write_rows``.
    """
    _check_ids(engine, rows.ids)
    update = LAYOUTS[engine.layout].update
    assert update is not None  # every engine that subtracts an attribute can set it
    return _to_bytes(update(rows, names))


def write_removal(engine: Engine, ids: Sequence[str], names: _Names, by_field: bool) -> tuple[bytes, str]:
    """The bytes of a file that removes rows, and the end of its name.

    Args:
        engine: the engine.
        ids: ids of the candidates to remove.
        names: what the engine calls things.
        by_field: whether points are found by the field of the id, as theirs do not follow from it.

    Raises:
        InputError: an id has a line break, and the file is a list of lines.
    """
    layout = LAYOUTS[engine.layout]
    broken = (row_id for row_id in ids if len(row_id.splitlines()) != 1)
    if layout.delete_suffix == ".txt" and (bad := next(broken, None)) is not None:
        raise InputError(f"candidate id {bad!r} has a line break, so it cannot be written to a list of ids. Rename it.")
    lines = iter(ids) if layout.delete is None else layout.delete(ids, names, by_field)
    return _to_bytes(lines), layout.delete_suffix


def read_rows(engine: Engine, data: bytes, uri: str, names: _Names | None = None) -> tuple[list[str], FloatMatrix]:
    """Ids and stored vectors of one file.

    Raises:
        CorruptArtifactError: not such a file.
    """
    try:
        return LAYOUTS[engine.layout].read(data, engine.names if names is None else names)
    except (ValueError, KeyError, TypeError, IndexError, pa.ArrowException) as error:
        raise CorruptArtifactError(
            f"{uri!r} is damaged: {error!r}. Delete it and run the same command again."
        ) from error


def _parquet(extra: Callable[[Rows], dict[str, pa.Array]], fixed: bool) -> _Layout:
    def write(rows: Rows, names: _Names, footer: _Footer) -> bytes:
        vector = names["vector"]
        flat = pa.array(np.ascontiguousarray(rows.vectors).reshape(-1), pa.float32())
        width = rows.vectors.shape[1]
        edges = pa.array(np.arange(0, rows.vectors.size + 1, width, dtype=np.int32))
        lists = pa.FixedSizeListArray.from_arrays(flat, width) if fixed else pa.ListArray.from_arrays(edges, flat)
        table = pa.table({names["id"]: pa.array(rows.ids, pa.string()), vector: lists, **extra(rows)})
        essentials = json.dumps(footer, sort_keys=True).encode()
        table = table.replace_schema_metadata({FOOTER_KEY: essentials})
        return bytes(to_parquet(table, plain=[f"{vector}.list.element"], row_group_rows=1 << 14))

    def read(data: bytes, names: _Names) -> tuple[list[str], FloatMatrix]:
        table = from_parquet(data, [names["id"], names["vector"]])
        vectors = table.column(names["vector"]).combine_chunks().flatten().to_numpy()
        return table.column(names["id"]).to_pylist(), vectors.reshape(table.num_rows, -1)

    return _Layout(".parquet", write, read)


def _bias_column(rows: Rows) -> dict[str, pa.Array]:
    return {"bias": pa.array(rows.bias, pa.float32()), **rows.columns()}


def _metadata_column(rows: Rows) -> dict[str, pa.Array]:
    fields = rows.records(("bias", map(str, rows.bias)))
    return {"metadata": pa.array([f"{{{each}}}" for each in fields], pa.string())}


def _to_bytes(lines: Iterable[str]) -> bytes:
    return b"".join(line.encode() + b"\n" for line in lines)


def _lines(
    suffix: str,
    lines: Callable[[Rows, _Names], Iterator[str]],
    items: Callable[[Any, _Names], _Items],
    parse: Callable[[str], Any] = json.loads,
    **further: Any,
) -> _Layout:
    """A file of lines.

    Args:
        suffix: end of the file's name, such as ``.jsonl``.
        lines: turns a block of rows into lines of text.
        items: gives the ids and vectors of a parsed line; none for a line that holds no row.
        parse: turns a line into what ``items`` takes; by default it reads JSON.
        **further: how rows are updated and removed, see ``_Layout``.
    """

    def write(rows: Rows, names: _Names, footer: _Footer) -> bytes:
        return _to_bytes(lines(rows, names))

    def read(data: bytes, names: _Names) -> tuple[list[str], FloatMatrix]:
        ids: list[str] = []
        vectors: list[npt.NDArray[np.float32]] = []
        # Not splitlines: JSON text may hold other line separators than this one.
        for line in data.decode().rstrip("\n").split("\n"):
            for row_id, numbers in items(parse(line), names):
                ids.append(row_id)
                vectors.append(np.array(numbers, np.float64).astype(np.float32))
        return ids, np.stack(vectors)

    return _Layout(suffix, write, read, **further)


def _texts(rows: Rows, names: _Names, vectors: Iterable[str] | None = None) -> Iterator[str]:
    """Id, bias, and the vector where it belongs to the same object, as the inside of a JSON object."""
    fields = [(names["id"], map(json.dumps, rows.ids)), ("bias", map(str, rows.bias))]
    return rows.records(*fields, *([(names["vector"], vectors)] if vectors is not None else []))


def _vertex(rows: Rows, names: _Names) -> Iterator[str]:
    for row_id, vector, further in zip(rows.ids, _vector_texts(rows.vectors), rows.records(), strict=True):
        metadata = f',"embedding_metadata":{{{further}}}' if rows.payload is not None else ""
        yield f'{{"id":{json.dumps(row_id)},"embedding":{vector}{metadata}}}'


def _document(row_id: str, names: _Names) -> str:
    return json.dumps(f"id:{names['namespace']}:{names['collection']}::{row_id}")


def _vespa(rows: Rows, names: _Names) -> Iterator[str]:
    vectors = (f'{{"values":{vector}}}' for vector in _vector_texts(rows.vectors))
    for row_id, fields in zip(rows.ids, _texts(rows, names, vectors), strict=True):
        yield f'{{"put":{_document(row_id, names)},"fields":{{{fields}}}}}'


def _vespa_update(rows: Rows, names: _Names) -> Iterator[str]:
    for row_id, bias in zip(rows.ids, rows.bias, strict=True):
        yield f'{{"update":{_document(row_id, names)},"fields":{{"bias":{{"assign":{bias}}}}}}}'


def _vespa_delete(ids: Sequence[str], names: _Names, by_field: bool) -> Iterator[str]:
    return (f'{{"remove":{_document(row_id, names)}}}' for row_id in ids)


def _action(name: str, row_id: str, names: _Names) -> str:
    index = f'"_index":{json.dumps(names["collection"])},' if names["collection"] else ""
    return f'{{"{name}":{{{index}"_id":{json.dumps(row_id)}}}}}'


def _bulk(rows: Rows, names: _Names) -> Iterator[str]:
    for row_id, fields in zip(rows.ids, _texts(rows, names, _vector_texts(rows.vectors)), strict=True):
        yield _action("index", row_id, names)
        yield f"{{{fields}}}"


def _bulk_update(rows: Rows, names: _Names) -> Iterator[str]:
    for row_id, bias in zip(rows.ids, rows.bias, strict=True):
        yield _action("update", row_id, names)
        yield f'{{"doc":{{"bias":{bias}}}}}'


def _bulk_delete(ids: Sequence[str], names: _Names, by_field: bool) -> Iterator[str]:
    return (_action("delete", row_id, names) for row_id in ids)


def _requests(head: str, points: Iterator[str]) -> Iterator[str]:
    """Bodies of requests with some points each."""
    return (f'{{"{head}":[{some}]}}' for some in _joined(points))


def _qdrant(rows: Rows, names: _Names) -> Iterator[str]:
    each = zip(rows.points(True), _vector_texts(rows.vectors), _texts(rows, names), strict=True)
    name = names["vector"]
    points = (
        f'{{"id":{point},"vector":{f"{{{json.dumps(name)}:{vector}}}" if name else vector},"payload":{{{fields}}}}}'
        for point, vector, fields in each
    )
    return _requests("points", points)


def _qdrant_update(rows: Rows, names: _Names) -> Iterator[str]:
    steps = (
        f'{{"set_payload":{{"payload":{{"bias":{bias}}},"points":[{point}]}}}}'
        for point, bias in zip(rows.points(True), rows.bias, strict=True)
    )
    return _requests("operations", steps)


def _qdrant_delete(ids: Sequence[str], names: _Names, by_field: bool) -> Iterator[str]:
    if not by_field:
        return _requests("points", (f'"{point_uuid(row_id)}"' for row_id in ids))
    key = json.dumps(names["id"])
    bodies = (f'{{"key":{key},"match":{{"value":{json.dumps(row_id)}}}}}' for row_id in ids)
    return (f'{{"filter":{{"should":[{body}]}}}}' for body in _joined(bodies))


def _joined(texts: Iterator[str]) -> Iterator[str]:
    while some := list(itertools.islice(texts, POINTS_PER_REQUEST)):
        yield ",".join(some)


def _weaviate(rows: Rows, names: _Names) -> Iterator[str]:
    each = zip(rows.points(False), _vector_texts(rows.vectors), _texts(rows, names), strict=True)
    name, kind = names["vector"], json.dumps(names["collection"])
    points = (
        f'{{"class":{kind},"id":{point},"properties":{{{fields}}},'
        + (f'"vectors":{{{json.dumps(name)}:{vector}}}}}' if name else f'"vector":{vector}}}')
        for point, vector, fields in each
    )
    return _requests("objects", points)


def _weaviate_delete(ids: Sequence[str], names: _Names, by_field: bool) -> Iterator[str]:
    # Not by the property of the id, which a tokenised text would match in part.
    return iter(ids) if by_field else map(point_uuid, ids)


#: What PostgreSQL's COPY escapes in text.
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_UNESCAPES = {escaped[1]: char for char, escaped in _ESCAPES.items()}
_ESCAPING = str.maketrans(_ESCAPES)


def _copy_value(value: Any) -> str:
    if value is None:
        return "\\N"
    text = value if isinstance(value, str) else to_json(value)
    return text.translate(_ESCAPING)


def _copy(rows: Rows, names: _Names) -> Iterator[str]:
    each = zip(rows.ids, rows.bias, _vector_texts(rows.vectors), strict=True)
    further = rows.payload_records()
    for (row_id, bias, vector), more in zip(each, further, strict=True):
        if bad := next((name for name, value in more.items() if isinstance(value, str) and "\0" in value), None):
            raise InputError(
                f"--payload {bad} of candidate {row_id!r} has a NUL character, which PostgreSQL's text cannot store. "
                "Clean it, or leave the column out."
            )
        yield "\t".join([_copy_value(row_id), str(bias), vector, *map(_copy_value, more.values())])


def _copy_update(rows: Rows, names: _Names) -> Iterator[str]:
    return (f"{_copy_value(row_id)}\t{bias}" for row_id, bias in zip(rows.ids, rows.bias, strict=True))


def _copy_delete(ids: Sequence[str], names: _Names, by_field: bool) -> Iterator[str]:
    return map(_copy_value, ids)


def _copied(line: str, names: _Names) -> _Items:
    row_id, _, vector = line.split("\t")[:3]
    return [(re.sub(r"\\(.)", lambda escape: _UNESCAPES[escape[1]], row_id), json.loads(vector))]


def _embedding(record: Any, names: _Names) -> _Items:
    return [(record["id"], record["embedding"])]


def _indexed(record: Any, names: _Names) -> _Items:
    return [] if "index" in record else [(record[names["id"]], record[names["vector"]])]


def _points(body: Any, names: _Names) -> _Items:
    name = names["vector"]
    return [
        (point["payload"][names["id"]], point["vector"][name] if name else point["vector"]) for point in body["points"]
    ]


def _objects(body: Any, names: _Names) -> _Items:
    name = names["vector"]
    return [
        (each["properties"][names["id"]], each["vectors"][name] if name else each["vector"]) for each in body["objects"]
    ]


def _fields(record: Any, names: _Names) -> _Items:
    return [(record["fields"][names["id"]], record["fields"][names["vector"]]["values"])]


LAYOUTS: dict[str, _Layout] = {
    "lancedb": _parquet(_bias_column, fixed=True),
    "milvus": _parquet(_bias_column, fixed=False),
    "pinecone": _parquet(_metadata_column, fixed=False),
    "vertex": _lines(".json", _vertex, _embedding),
    "vespa": _lines(".jsonl", _vespa, _fields, update=_vespa_update, delete=_vespa_delete, delete_suffix=".jsonl"),
    "bulk": _lines(".ndjson", _bulk, _indexed, update=_bulk_update, delete=_bulk_delete, delete_suffix=".ndjson"),
    "qdrant": _lines(".jsonl", _qdrant, _points, update=_qdrant_update, delete=_qdrant_delete, delete_suffix=".jsonl"),
    "weaviate": _lines(".jsonl", _weaviate, _objects, delete=_weaviate_delete),
    "pgvector": _lines(
        ".copy", _copy, _copied, parse=str, update=_copy_update, delete=_copy_delete, delete_suffix=".copy"
    ),
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
