"""A block of rows on its way into a file of an engine: ids, vectors, biases, and what travels along."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nnn_core.errors import InputError
from nnn_core.vectors import FloatMatrix


@dataclass(frozen=True)
class Rows:
    """A block of what is exported.

    Attributes:
        ids: (rows,) candidate ids, as text.
        vectors: (rows, dimensions) float32, as the engine stores them.
        bias: (rows,) float32 biases of the table, for recipes that subtract an attribute.
        payload: (rows,) further columns under their own names; None for none.
        uuids: (rows,) ids of the points in an engine whose ids are UUIDs; None for those that follow from ``ids``.
    """

    ids: Sequence[str]
    vectors: FloatMatrix
    bias: npt.NDArray[np.float32]
    payload: pa.Table | None = None
    uuids: Sequence[str] | None = None

    def take(self, rows: npt.NDArray[np.bool_]) -> Rows:
        """Those of the rows that are true in a mask."""
        if rows.all():
            return self
        return Rows(
            [*compress(self.ids, rows)],
            self.vectors[rows],
            self.bias[rows],
            None if self.payload is None else self.payload.filter(pa.array(rows)).combine_chunks(),
            None if self.uuids is None else [*compress(self.uuids, rows)],
        )

    def columns(self) -> dict[str, pa.Array]:
        """The further columns, of Parquet files."""
        return {} if self.payload is None else dict(zip(self.payload.column_names, self.payload.columns, strict=True))

    def payload_records(self) -> list[dict[str, Any]]:
        """The further columns of each row, by name; None where there is nothing, or what is no number."""
        return [{}] * len(self.ids) if self.payload is None else _finite(self.payload.to_pylist())

    def records(self, *first: tuple[str, Iterable[str]]) -> Iterator[str]:
        """The fields of each row as the inside of a JSON object: those that are given, then the further columns.

        Args:
            first: (name, JSON text for each row) of the first fields.
        """
        heads: Iterable[tuple[str, ...]] = zip(*(texts for _, texts in first), strict=True)
        if not first:
            heads = [()] * len(self.ids)
        for head, more in zip(heads, self.payload_records(), strict=True):
            fields = [f"{json.dumps(name)}:{text}" for (name, _), text in zip(first, head, strict=True)]
            fields += (f"{json.dumps(name)}:{to_json(value)}" for name, value in more.items() if value is not None)
            yield ",".join(fields)

    def points(self, as_given: bool) -> Iterator[str]:
        """The id of each point, as JSON.

        Args:
            as_given: whether a whole number will do as well as a UUID.

        Raises:
            InputError: one of those that were given is none.
        """
        if self.uuids is None:
            return (f'"{point_uuid(row_id)}"' for row_id in self.ids)
        return (_point(name, as_given) for name in self.uuids)


def point_uuid(row_id: str) -> str:
    """The id of an object in engines whose ids are UUIDs; what Weaviate's ``generate_uuid5(id)`` gives."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, row_id))


def _point(name: str, as_given: bool) -> str:
    """An id that the engine has already, as JSON."""
    if as_given and name.isascii() and name.isdecimal():
        return name
    try:
        return f'"{uuid.UUID(name)}"'
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{name!r} in --uuid-column is not a UUID. Leave the flag out, and each point gets a UUID made from its id."
        ) from error


def to_json(value: Any) -> str:
    """A value of a further column as JSON text."""
    return json.dumps(value, ensure_ascii=False)


def _finite(value: Any) -> Any:
    """A value without what is no number, which JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value
