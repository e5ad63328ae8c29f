"""Images as a column of a table: bytes, or structs of bytes and a path."""

from __future__ import annotations

import pyarrow as pa

from nnn_core.errors import InputError
from nnn_core.inputs.readers._columns import Table, choose_column
from nnn_core.inputs.readers._fields import MISSING, plain, split_path, type_at, value_at
from nnn_core.inputs.readers._images import IMAGE_BYTES, image_of_text, too_large
from nnn_core.inputs.readers._records import UnusableRowError, no_images
from nnn_core.inputs.readers._rows import BATCH_BYTES, IMAGE_DEFAULTS, Columns, Row
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
    if isinstance(data, str):
        try:
            return Row(row_id, pair_id, image_of_text(data))
        except UnusableRowError as error:
            return error.reject(row_id)
    if data is not None:
        if len(data) > IMAGE_BYTES:
            return too_large(len(data), IMAGE_BYTES).reject(row_id)
        return Row(row_id, pair_id, data)
    said = [f"{name} {held!r}" for name in remarks if (held := batch.column(name)[place].as_py()) is not None]
    if isinstance(value, dict) and value.get("path"):
        said.append(f"only its path {str(value['path'])!r} is given, and paths are not followed")
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
                f"{uri!r} has no column of images by a usual name. If {' or '.join(map(repr, names))} holds "
                f"them, name it with {columns.flag('image')}."
            )
        raise no_images(uri)
    if not _holds_images(schema, image, named is not None):
        raise InputError(
            f"{uri!r}: column {image!r} is of type {_types(schema, image)}. Images must be bytes, base64 text, "
            "or structs with a field 'bytes'. Paths and URLs are not followed."
        )
    return image


def _holds_images(schema: pa.Schema, name: str, text: bool = False) -> bool:
    """Whether a column may hold images, or also text that may be images in base64."""
    head, path = split_path(schema.names, name)
    kinds = [type_at(schema.field(place).type, path) for place in schema.get_all_field_indices(head)]
    return all(
        kind is not None and (_is_bytes(kind) or _has_bytes(kind) or (text and _is_text(kind))) for kind in kinds
    )


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


def _is_text(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _is_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(is_kind(kind) for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def rows_within(bound: int, table: Table, column: str) -> int:
    """How many rows of ``column`` fit into ``bound`` bytes, in the group of rows where they are largest."""
    return max(1, int(bound / max(1.0, *(size / max(1, rows) for rows, size in table.sizes(column)), 1.0)))


def images_at_once(table: Table, image: str) -> int:
    """How many rows of images to read at once.

    As many as cannot fill memory if each refers to the largest entry that the dictionary of its group
    of rows could have.
    """
    largest = max((size for _, size in table.sizes(image)), default=0)
    return max(1, min(_IMAGE_ROWS, _MOST_BYTES // max(1, largest), rows_within(BATCH_BYTES, table, image)))


def remark_columns(schema: pa.Schema, image: str) -> list[str]:
    """The columns in which img2dataset says why a row has no image."""
    return [name for name in _REMARKS if schema.names.count(name) == 1 and name != image]
