"""Large JSON files, element by element: only the one that is being read is held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import ijson
from ijson.common import ObjectBuilder

from nnn_core.errors import InputError
from nnn_core.inputs.readers._compressed import open_decompressed

#: The largest element, and the deepest nesting, that any caption file could need.
ELEMENT_BYTES = 16 << 20
_DEPTH = 200
_CHUNK_BYTES = 1 << 16

_OPENING, _CLOSING = ("start_map", "start_array"), ("end_map", "end_array")


def elements_of(uri: str, *names: str) -> Iterator[tuple[str, Any]]:
    """(name, element) of the lists that the file's outermost object has under ``names``, in file order.

    Raises:
        InputError: not JSON, cut short, or an element beyond all bounds.
    """
    with open_decompressed(uri) as stream:
        try:
            yield from _elements(_Bounded(stream, uri), uri, names)
        except ijson.JSONError as error:
            raise InputError(
                f"{uri!r} is not readable JSON: {_first_line(error)}. Restore the file or take it out."
            ) from error


def _elements(stream: _Bounded, uri: str, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    depth, name, listed = 0, "", False
    builder: ObjectBuilder | None = None
    for event, value in ijson.basic_parse(stream, use_float=True, buf_size=_CHUNK_BYTES):
        if builder is None:
            stream.forget()
        depth -= event in _CLOSING
        if depth == 1 and event == "map_key":
            name = value
        elif depth == 1 and builder is None:
            listed = event == "start_array" and name in names
        elif depth == 2 and builder is None and listed and event not in _CLOSING:
            builder = ObjectBuilder()
        if builder is not None:
            builder.event(event, value)
            if depth == 2 and event not in _OPENING:
                yield name, builder.value
                builder = None
        depth += event in _OPENING
        if depth > _DEPTH:
            raise InputError(f"{uri!r} is nested more than {_DEPTH} deep, as no caption file is; take it out.")


class _Bounded:
    """The stream, which refuses to go on when an element has no end."""

    def __init__(self, stream: IO[bytes], uri: str) -> None:
        self._stream, self._uri, self._bytes = stream, uri, 0

    def forget(self) -> None:
        """What was read so far is not held any more."""
        self._bytes = 0

    def read(self, size: int = -1) -> bytes:
        if self._bytes > ELEMENT_BYTES:
            raise InputError(
                f"{self._uri!r} has an element of more than {ELEMENT_BYTES:,} bytes, as no caption file has; nothing "
                "behind it was read. Take the file out."
            )
        data = self._stream.read(size)
        self._bytes += len(data)
        return data


def _first_line(error: Exception) -> str:
    text = error.args[0] if error.args else str(error)
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return str(text).strip().partition("\n")[0]
