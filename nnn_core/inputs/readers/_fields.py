"""Fields of nested records by their path, ``captions.0.text``, in JSON and in Arrow alike."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

#: What ``value_at`` gives where there is no such field; a field that is there may well be null.
MISSING: Final = object()


def value_at(record: object, path: str) -> object:
    """The value at ``path``, or ``MISSING``.

    Dots descend into objects, and numbers index lists; any other name is looked up in every element
    of a list. A key that has dots itself comes before a path.

    Args:
        record: a value such as ``json.loads`` gives.
        path: where the value lies, such as ``caption``, ``meta.caption``, ``captions.0.text`` or ``captions.text``.
    """
    if isinstance(record, list):
        return _in_list(record, path)
    if not isinstance(record, Mapping):
        return MISSING
    head, rest = split_path(record, path)
    if head is None:
        return MISSING
    return value_at(record[head], rest) if rest else record[head]


def type_at(kind: pa.DataType, path: str) -> pa.DataType | None:
    """The type of what lies at ``path`` in values of an Arrow type; None if there is no such field."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if not path:
        return kind
    head, _, rest = path.partition(".")
    if pa.types.is_struct(kind):
        names = [kind.field(place).name for place in range(kind.num_fields)]
        found, rest = split_path(names, path)
        return None if found is None else type_at(kind.field(names.index(found)).type, rest)
    if pa.types.is_map(kind):
        return type_at(kind.item_type, rest)
    if _is_list(kind):
        return type_at(kind.value_type, rest if head.isdecimal() else path)
    return None


def array_at(array: pa.Array, path: str) -> pa.Array:
    """What lies at ``path`` in each value of an Arrow array, null where there is nothing.

    Args:
        array: structs, maps or lists.
        path: where the values lie, of which ``type_at`` knows the type.
    """
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    kind = type_at(array.type, path)
    if path and pa.types.is_struct(array.type):
        head, rest = split_path([array.type.field(place).name for place in range(array.type.num_fields)], path)
        return array_at(pc.struct_field(array, head), rest)
    if not path:
        return array
    values = (value_at(plain(value), path) for value in array.to_pylist())
    return pa.array([None if value is MISSING else value for value in values], kind)


def plain(value: object) -> object:
    """A value as JSON would have it: Arrow gives maps as lists of pairs."""
    pairs = isinstance(value, list) and value and all(isinstance(each, tuple) and len(each) == 2 for each in value)
    return dict(value) if pairs else value  # type: ignore[call-overload]


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def split_path(present: Container[str], path: str) -> tuple[str | None, str]:
    """(the longest beginning of ``path`` that is ``present``, the rest); None where there is none."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        if (head := ".".join(parts[:length])) in present:
            return head, ".".join(parts[length:])
    return None, path


def _in_list(items: list[object], path: str) -> object:
    head, _, rest = path.partition(".")
    if not (head.isascii() and head.isdigit()):
        values = [value_at(item, path) for item in items]
        return [None if value is MISSING else value for value in values]
    if len(head) > len(str(len(items))) or int(head) >= len(items):
        return MISSING
    return value_at(items[int(head)], rest) if rest else items[int(head)]
