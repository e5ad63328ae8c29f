"""Where ids stand: a hash table that is built once, and can lie on disk and be mapped into memory."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nnn_core.errors import ConfigError, InputError
from nnn_core.table._hashing import fill_slots, find_rows

#: Ids as callers have them: texts or whole numbers, which stand for their decimal digits.
Ids: TypeAlias = "Sequence[str] | Sequence[int] | npt.NDArray[Any] | pa.Array | pa.ChunkedArray"

#: What to do about an id that is not in the table: refuse all, or take the mean of all biases for it.
Missing = Literal["error", "mean"]

#: A row is held in half of a slot.
_MOST_ROWS = 2**32 - 2


def id_texts(ids: Ids) -> pa.StringArray:
    """Ids as one Arrow column of texts.

    Raises:
        InputError: an id is neither a text nor a whole number.
    """
    try:
        if isinstance(ids, pa.Array | pa.ChunkedArray):
            column = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
        else:
            # Said at once, the type need not be found out, which is half of the time for a list of texts.
            column = pa.array(ids, None if isinstance(ids, np.ndarray) else pa.string())
        if not column.null_count and (pa.types.is_integer(column.type) or _is_text(column.type)):
            return column if column.type == pa.string() else column.cast(pa.string())
    except (pa.ArrowException, TypeError, ValueError):
        pass
    return pa.array([_text_of(row_id) for row_id in ids], pa.string())


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _text_of(row_id: object) -> str:
    value = row_id.as_py() if isinstance(row_id, pa.Scalar) else row_id
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"{value!r} is not an id: ids are strings or whole numbers, not {type(value).__name__}.")


@dataclass(frozen=True)
class IdIndex:
    """Rows by id.

    Attributes:
        data: (bytes,) uint8, all ids in UTF-8, one after the other.
        offsets: (rows + 1,) int64, where each id begins and the last one ends.
        slots: (power of two,) uint64, the hash table, see ``_hashing``.
    """

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    slots: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, ids: pa.Array | pa.ChunkedArray) -> IdIndex:
        """Built of a column of ids, which takes 8 to 24 bytes an id beside the ids themselves.

        Raises:
            InputError: more rows than it can count.
        """
        if len(ids) > _MOST_ROWS:
            raise InputError(f"{len(ids):,} ids are too many for one lookup (limit: {_MOST_ROWS:,}). Use several.")
        chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
        pieces = [chunk.cast(pa.large_string()) for chunk in chunks if len(chunk)]
        whole = pa.concat_arrays(pieces) if pieces else pa.array([], pa.large_string())
        _, offsets, data = whole.buffers()
        edges = (
            np.frombuffer(offsets, np.int64, len(whole) + 1, 8 * whole.offset) if len(whole) else np.zeros(1, np.int64)
        )
        letters = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
        slots = np.zeros(1 << max(3, (len(whole) * 3 // 2).bit_length()), np.uint64)
        fill_slots(letters, edges, slots)
        slots.flags.writeable = False  # as when it is mapped, for which numba would compile the loops once more
        return cls(letters, edges, slots)

    def find(self, ids: Ids) -> npt.NDArray[np.int64]:
        """The row of each of ``ids``, -1 where there is none.

        Raises:
            InputError: an id is neither a text nor a whole number.
        """
        letters, edges = _letters_of(ids)
        rows = np.empty(len(edges) - 1, np.int64)
        if len(rows):
            find_rows(self.data, self.offsets, self.slots, letters, edges, rows)
        return rows

    def look_up(self, ids: Ids, missing: Missing, where: str) -> npt.NDArray[np.int64]:
        """``find``, which refuses an id that is not there unless ``missing`` is ``mean``.

        Args:
            ids: what is looked up.
            missing: ``error`` or ``mean``.
            where: what it is looked up in, for the message.

        Raises:
            InputError: some id is not there, or is none.
            ConfigError: ``missing`` is another word.
        """
        if missing not in ("error", "mean"):
            raise ConfigError(f"missing={missing!r}: choose 'error' or 'mean'.")
        rows = self.find(ids)
        if missing == "error" and len(lost := np.flatnonzero(rows < 0)):
            first = id_texts(ids)[int(lost[0])].as_py()
            raise InputError(
                f"{len(lost)} of {len(rows)} candidates have no bias in {where} (first: {first!r}), so they cannot "
                "be ranked. Score them with nnn score or a refresh, or leave them out. Until then, missing='mean' "
                "gives them the mean bias."
            )
        return rows

    def texts(self, rows: slice) -> pa.LargeStringArray:
        """The ids of some rows, without a copy."""
        first, last, _ = rows.indices(len(self.offsets) - 1)
        edges = np.ascontiguousarray(self.offsets[first : last + 1])
        return pa.LargeStringArray.from_buffers(last - first, pa.py_buffer(edges), pa.py_buffer(self.data))

    def to_arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """What it consists of, by name; ``IdIndex(**arrays)`` is the same again."""
        return {"data": self.data, "offsets": self.offsets, "slots": self.slots}


_NO_LETTERS = np.zeros(0, np.uint8)


def _letters_of(ids: Ids) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """All ids in UTF-8, one after the other; and (ids + 1,) where each begins and the last one ends.

    Raises:
        InputError: an id is neither a text nor a whole number.
    """
    if isinstance(ids, list):  # the hits of a query: joined they are there three times as fast as through Arrow
        try:
            joined = "".join(ids)
        except TypeError:
            pass
        else:
            if joined.isascii():
                ends = np.fromiter(itertools.accumulate(map(len, ids), initial=0), np.int32, len(ids) + 1)
                return np.frombuffer(joined.encode(), np.uint8), ends
    asked = id_texts(ids)
    _, edges, data = asked.buffers()
    letters = np.frombuffer(data, np.uint8) if data is not None and data.size else _NO_LETTERS
    ends = np.frombuffer(edges, np.int32)[asked.offset :] if len(asked) else np.zeros(1, np.int32)
    return letters, ends[: len(asked) + 1]
