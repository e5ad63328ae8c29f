"""Images as a column of a Parquet table: bytes, or structs of bytes and a path."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from nnn_core.errors import InputError
from nnn_core.inputs.readers._columns import choose_column
from nnn_core.inputs.readers._fields import MISSING, plain, split_path, type_at, value_at
from nnn_core.inputs.readers._images import IMAGE_BYTES, too_large
from nnn_core.inputs.readers._records import no_images
from nnn_core.inputs.readers.rows import BATCH_BYTES, IMAGE_DEFAULTS, Columns, Row
from nnn_core.inputs.rejects import Reject

_REMARKS = ("status", "error_message")

#: Images that Arrow reads at once, and the most memory that they may take whatever the file does.
_IMAGE_ROWS = 64
_MOST_BYTES = 256 << 20


def image_row(
    row_id: str, pair_id: str, batch: pa.RecordBatch, place: int, image: str, remarks: list[str]
) -> Row | Reject:
    """The image in one cell, which is taken out of Arrow alone: others may be as large."""
    head, path = split_path(batch.schema.names, image)
    value = batch.column(head)[place].as_py()
    if path:
        found = value_at(plain(value), path)
        value = None if found is MISSING else found
    data = value.get("bytes") if isinstance(value, dict) else value
    if data is not None:
        if len(data) > IMAGE_BYTES:
            return too_large(len(data), IMAGE_BYTES).reject(row_id)
        return Row(row_id, pair_id, data)
    said = [f"{name} {held!r}" for name in remarks if (held := batch.column(name)[place].as_py()) is not None]
    if isinstance(value, dict) and value.get("path"):
        said.append(f"only its path {str(value['path'])!r} is there, which is not followed")
    return Reject(row_id, "image is null", ", ".join(said))


def default_image_column(schema: pa.Schema) -> str | None:
    """The first column with the name and the type of one of images."""
    return next((name for name in IMAGE_DEFAULTS if name in schema.names and _holds_images(schema, name)), None)


def choose_image_column(schema: pa.Schema, columns: Columns, uri: str) -> str:
    """The column of images to read.

    Raises:
        InputError: there is none, or it holds no bytes.
    """
    default = default_image_column(schema)
    present = [columns.image] if columns.image and split_path(schema.names, columns.image)[0] else []
    named = columns.named("image", present)
    image = choose_column("image", schema.names, named, uri, (default,) if default else (), columns.flag("image"))
    if image is None:
        names = [name for name in schema.names if _holds_images(schema, name) and not _is_null(schema, name)]
        if names:
            raise InputError(
                f"{uri!r} has no column of images by a usual name; if {' or '.join(map(repr, names))} holds them, say "
                f"so with {columns.flag('image')}."
            )
        raise no_images(uri)
    if not _holds_images(schema, image):
        raise InputError(
            f"{uri!r}: column {image!r} is of type {_types(schema, image)}; images must be bytes, or structs with a "
            "field 'bytes'. Paths and URLs are not followed."
        )
    return image


def _holds_images(schema: pa.Schema, name: str) -> bool:
    head, path = split_path(schema.names, name)
    kinds = [type_at(schema.field(place).type, path) for place in schema.get_all_field_indices(head)]
    return all(kind is not None and (_is_bytes(kind) or _has_bytes(kind)) for kind in kinds)


def _is_null(schema: pa.Schema, name: str) -> bool:
    return all(pa.types.is_null(schema.field(place).type) for place in schema.get_all_field_indices(name))


def _types(schema: pa.Schema, name: str) -> str:
    head, path = split_path(schema.names, name)
    return str(type_at(schema.field(head).type, path) or f"{schema.field(head).type}, in which there is no {path!r}")


def _has_bytes(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return bool(pa.types.is_null(kind))  # a column without any value has no type of its own
    place = kind.get_field_index("bytes")
    return place >= 0 and _is_bytes(kind.field(place).type)


def _is_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(is_kind(kind) for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def column_bytes(metadata: pq.FileMetaData, column: str) -> list[int]:
    """Uncompressed bytes of a column, with the fields below it if it is nested, in each row group."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    chunks = ([group.column(place) for place in range(group.num_columns)] for group in groups)
    return [
        sum(
            max(0, each.total_uncompressed_size) for each in group if f"{each.path_in_schema}.".startswith(f"{column}.")
        )
        for group in chunks
    ]


def rows_within(bound: int, metadata: pq.FileMetaData, column: str) -> int:
    """How many rows of ``column`` fit into ``bound`` bytes, in the row group where they are largest."""
    rows = [max(1, metadata.row_group(number).num_rows) for number in range(metadata.num_row_groups)]
    sizes = [size / count for size, count in zip(column_bytes(metadata, column), rows, strict=True)]
    return max(1, int(bound / max(1.0, *sizes, 1.0)))


def images_at_once(metadata: pq.FileMetaData, image: str) -> int:
    """How many rows of images to read at once.

    As many as cannot fill memory if each refers to the largest entry that the dictionary of its row
    group could have.
    """
    largest = max(column_bytes(metadata, image), default=0)
    return max(1, min(_IMAGE_ROWS, _MOST_BYTES // max(1, largest), rows_within(BATCH_BYTES, metadata, image)))


def remark_columns(schema: pa.Schema, image: str) -> list[str]:
    """The columns in which img2dataset says why a row has no image."""
    return [name for name in _REMARKS if schema.names.count(name) == 1 and name != image]
