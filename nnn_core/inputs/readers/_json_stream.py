"""Large JSON files, element by element: only the one that is being read is held."""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterator
from typing import Any, Protocol

import ijson
from ijson.common import ObjectBuilder

from nnn_core.errors import InputError
from nnn_core.inputs.readers._compressed import open_decompressed

#: The largest element, and the deepest nesting, that any caption file could need.
ELEMENT_BYTES = 16 << 20
_DEPTH = 200
_CHUNK_BYTES = 1 << 16

#: What stands for the name of a list that is the whole file.
OUTERMOST = ""

#: Strings, and everything else between them and punctuation.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\\Z)?|[^\s"\[\]{}:,]+', re.S)
_NO_NUMBERS = (b"NaN", b"Infinity", b"-Infinity")

_OPENING, _CLOSING = ("start_map", "start_array"), ("end_map", "end_array")


def elements_of(uri: str, *names: str) -> Iterator[tuple[str, Any]]:
    """(name, element) of the lists that the file's outermost object has under ``names``, in file order.

    Python's ``NaN`` and ``Infinity``, which are no JSON, are nulls; a file that has them is begun a second time.

    Raises:
        InputError: not JSON, cut short, or an element beyond all bounds.
    """
    done = 0
    try:
        for element in _parsed(uri, names):
            yield element
            done += 1
    except ijson.JSONError:
        try:
            yield from itertools.islice(_parsed(uri, names, lenient=True), done, None)
        except ijson.JSONError as error:
            raise InputError(
                f"{uri!r} is not readable JSON: {_first_line(error)}. Restore the file, or leave it out."
            ) from error


def items_of(uri: str) -> Iterator[Any]:
    """The elements of the file's outermost list, see ``elements_of``."""
    return (element for _, element in elements_of(uri, OUTERMOST))


def _parsed(uri: str, names: tuple[str, ...], lenient: bool = False) -> Iterator[tuple[str, Any]]:
    with open_decompressed(uri) as stream:
        yield from _elements(_Bounded(_Lenient(stream) if lenient else stream, uri), uri, names)


def _elements(stream: _Bounded, uri: str, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    depth, name, listed = 0, OUTERMOST, False
    place = 2  # the depth of elements
    builder: ObjectBuilder | None = None
    for event, value in ijson.basic_parse(stream, use_float=True, buf_size=_CHUNK_BYTES):
        if builder is None:
            stream.forget()
        depth -= event in _CLOSING
        if depth == 0 and event == "start_array":
            listed, place = OUTERMOST in names, 1
        elif depth == 1 and event == "map_key" and place == 2:
            name = value
        elif depth == 1 and builder is None and place == 2:
            listed = event == "start_array" and name in names
        elif depth == place and builder is None and listed and event not in _CLOSING:
            builder = ObjectBuilder()
        if builder is not None:
            builder.event(event, value)
            if depth == place and event not in _OPENING:
                yield name, builder.value
                builder = None
        depth += event in _OPENING
        if depth > _DEPTH:
            raise InputError(
                f"{uri!r} is nested more than {_DEPTH} levels deep, so it is not a caption file. Leave it out."
            )


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Lenient:
    """The stream, without a byte order mark, and with nulls for numbers that JSON does not have."""

    def __init__(self, stream: _Readable) -> None:
        self._stream, self._held = stream, stream.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8)

    def read(self, size: int = -1) -> bytes:
        """Some of it, of about that size; nothing at its end."""
        while True:
            data = self._stream.read(size)
            text, self._held = self._held + data, b""
            if data:
                # What may go on in the next piece waits for it: the last token, or a string without an end.
                end = max((match.start() for match in _TOKENS.finditer(text)), default=0)
                text, self._held = text[:end], text[end:]
            if text or not data:
                return _TOKENS.sub(lambda match: b"null" if match[0] in _NO_NUMBERS else match[0], text)


class _Bounded:
    """The stream, which refuses to go on when an element has no end."""

    def __init__(self, stream: _Readable, uri: str) -> None:
        self._stream, self._uri, self._bytes = stream, uri, 0

    def forget(self) -> None:
        """What was read so far is not held any more."""
        self._bytes = 0

    def read(self, size: int = -1) -> bytes:
        if self._bytes > ELEMENT_BYTES:
            raise InputError(
                f"{self._uri!r} has an element of more than {ELEMENT_BYTES:,} bytes, so it is not a caption "
                "file. Nothing after it was read. Leave the file out."
            )
        data = self._stream.read(size)
        self._bytes += len(data)
        return data


def _first_line(error: Exception) -> str:
    text = error.args[0] if error.args else str(error)
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return str(text).strip().partition("\n")[0]
