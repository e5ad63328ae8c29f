"""Records: dataclasses as JSON, and back. What a record holds is declared once, as the fields of its class."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def to_json(record: Any, **style: Any) -> bytes:
    """A record as JSON: the same bytes for the same content.

    Args:
        record: a dataclass, or plain values that JSON can hold.
        style: keyword arguments of ``json.dumps``; one line of ASCII unless told otherwise.
    """
    return json.dumps(asdict(record) if is_dataclass(record) else record, sort_keys=True, **style).encode()  # type: ignore[arg-type]


def to_page(record: Any) -> bytes:
    """A record as JSON that people read too: indented, in UTF-8, with an end of line."""
    return to_json(record, indent=1, ensure_ascii=False) + b"\n"


def build(kind: type[T], values: Any) -> T:
    """A record of its class from JSON values; what an earlier release did not know yet takes its default.

    Args:
        kind: class of the record: a dataclass, or any type that pydantic knows.
        values: as ``json.loads`` gives them; unknown keys are ignored.

    Raises:
        ValueError: a key is missing, or a value is of another type, in one line that names the place.
    """
    try:
        record: T = _adapter(kind).validate_python(values)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{first['msg']}{f' ({place})' if place else ''}") from error
    return record


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Made when it is first needed, as it takes longer than most records do."""
    return TypeAdapter(kind)
