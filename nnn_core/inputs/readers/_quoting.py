"""How a file of delimited text quotes its fields, told from the file itself."""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import islice

from nnn_core.inputs.readers._records import lines_of

#: What is looked at: no more bytes, and no more fields that tell.
_MOST_BYTES = 64 << 20
_ENOUGH = 100

#: A quoted field that has not ended by then is none.
_RECORD_LINES = 100
_RECORD_BYTES = 1 << 20

_NUMBER = re.compile(r"[-+.\d][-+.,eE\d]*\Z")


class Quoting(Enum):
    """What a quotation mark in front of a field means."""

    NONE = "nothing"
    DOUBLED = "that the field is quoted, with quotes inside doubled"
    ESCAPED = "that the field is quoted, with a backslash before quotes inside"


#: What a field shows: how marks inside are kept, None for quotes around something else.
_Vote = Quoting | None


def quoting_of(uri: str, separator: str, default: Quoting) -> Quoting:
    """How the fields of a file are quoted, as most of those fields say that can tell.

    Writers of quoted text quote what holds the separator, a quotation mark or a line break. So a field that is quoted
    for such a reason speaks for quotes, and a bare one that they would have quoted speaks against them.

    Args:
        uri: the file, which may be compressed.
        separator: what stands between fields.
        default: what is taken where nothing tells, or as much for quotes as against them.
    """
    votes = Counter(islice(_Head(uri, separator).votes(), _ENOUGH))
    bare = votes[Quoting.NONE]
    if votes[Quoting.ESCAPED] > max(bare, votes[Quoting.DOUBLED]):
        return Quoting.ESCAPED
    return default if 2 * bare == votes.total() else Quoting.NONE if 2 * bare > votes.total() else Quoting.DOUBLED


def first_fields(lines: Sequence[str], separator: str) -> list[str]:
    """Fields of the record that ``lines`` begin with; of the first line where that is none, for example too long."""
    try:
        return next(csv.reader(lines, delimiter=separator), [])
    except csv.Error:
        return lines[0].split(separator)


class _Head:
    """The beginning of a file, whose next lines can be looked at before they are left behind."""

    def __init__(self, uri: str, separator: str) -> None:
        self._lines, self._ahead, self._read, self._held = lines_of(uri), deque[str](), 0, 0
        mark, end = re.escape(separator), rf"(?={re.escape(separator)}|\n|\Z)"
        self._doubled = re.compile(rf'"([^"]*(?:""[^"]*)*)"{end}')
        self._escaped = re.compile(rf'"[^"\\]*(?:(?:\\.|"")[^"\\]*)*"{end}')
        self._kinds = (self._doubled, self._escaped, re.compile(rf"[^{mark}\n]*"))
        self._separator = separator
        self._columns = len(first_fields(self._next(_RECORD_LINES), separator))

    def votes(self) -> Iterator[_Vote]:
        """What every field with a quotation mark says, if it says anything."""
        first = [field for field in self._fields("".join(self._next(1))) if not _NUMBER.match(field)]
        if any(first) and all(self._doubled.match(field) for field in first):
            # Some writers quote all that is no number; a name of a column has no quotes of its own.
            yield from [None] * (_ENOUGH // 2)
        while line := self._next(1):
            lines = 1
            if '"' in line[0]:
                lines = self._lines_of_quoted(line[0])
                yield from [None] if lines > 1 else self._votes_of(self._fields(line[0]))
            for _ in range(lines):
                self._held -= len(self._ahead.popleft())

    def _next(self, count: int) -> list[str]:
        while len(self._ahead) < count and self._read <= _MOST_BYTES and self._held <= _RECORD_BYTES:
            if (line := next(self._lines, None)) is None:
                break
            text = (line[1] or b"").decode("utf-8", "surrogateescape").rstrip("\r\n")
            self._read += len(text) + 1
            self._held += len(text)
            self._ahead.append(text)
        return [self._ahead[place] for place in range(min(count, len(self._ahead)))]

    def _fields(self, text: str) -> list[str]:
        """The fields of the record that ``text`` begins with, quoted ones with their quotes."""
        fields, at = list[str](), 0
        while True:
            found = next(filter(None, (each.match(text, at) for each in self._kinds)), None)
            fields.append(found[0] if found else "")
            at += len(fields[-1]) + 1
            if at > len(text) or text[at - 1] == "\n":
                return fields

    def _votes_of(self, fields: list[str]) -> Iterator[_Vote]:
        for field in fields:
            if found := self._doubled.fullmatch(field):
                if '""' in found[1]:
                    yield Quoting.DOUBLED
                elif self._separator in found[1]:
                    yield None
            elif '"' in field:
                yield Quoting.ESCAPED if self._escaped.fullmatch(field) else Quoting.NONE

    def _closed(self, field: str) -> bool:
        return any(kind.fullmatch(field) for kind in (self._doubled, self._escaped))

    def _lines_of_quoted(self, line: str) -> int:
        """How many lines a record takes whose quoted fields hold line breaks; 1 if it is no such record."""
        if not any(field.startswith('"') and not self._closed(field) for field in self._fields(line)):
            return 1
        block = self._next(_RECORD_LINES)
        fields = self._fields("\n".join(block))
        lines = 1 + sum(field.count("\n") for field in fields)
        # Where each line would do as a record of its own, their quotes just happen to match.
        whole = all(each.count(self._separator) + 1 == self._columns for each in block[:lines])
        return 1 if whole or len(fields) != self._columns else lines
