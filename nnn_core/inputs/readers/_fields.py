"""Fields of nested records by their path: ``captions.0.text``."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

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
