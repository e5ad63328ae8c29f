"""Which of the columns that a file has are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from nnn_core.errors import InputError
from nnn_core.inputs.readers._fields import split_path
from nnn_core.inputs.readers._rows import CONTENT_ID, ID_DEFAULTS, POSITION_ID, Columns


class Table(Protocol):
    """A file of columns, which is read in stretches of rows."""

    @property
    def schema(self) -> pa.Schema:
        """The columns' names and types."""

    @property
    def rows(self) -> int:
        """How many rows there are."""

    def batches(self, size: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of all rows in file order, at most ``size`` rows at a time."""

    def sizes(self, column: str) -> list[tuple[int, int]]:
        """(rows, bytes that a column has in memory at most) of each group of rows that is stored together."""


def choose_column(
    what: str, present: list[str], wanted: str | None, uri: str, defaults: tuple[str, ...] = (), flag: str = ""
) -> str | None:
    """The column to read, or the path of a field in one: as asked, else the first default that is there, else None.

    Args:
        what: the kind of column, such as ``pair id``; its flag is ``--pair-id-column``.
        present: names of the columns of the file.
        wanted: name of the column that was asked for; None if none was.
        uri: the file, for messages.
        defaults: names of columns that are looked for if none was asked for.
        flag: flag of the kind of column on the side of the file, for messages; by default that of the candidates.

    Raises:
        InputError: the column asked for is not there, or the one to read is there twice.
    """
    flag = flag or f"--{what.replace(' ', '-')}-column"
    if wanted is not None and split_path(present, wanted)[0] is None:
        raise InputError(f"{uri!r} has no column {wanted!r} ({flag}) for the {what}; it has: {_listed(present)}.")
    column = wanted or next((name for name in defaults if name in present), None)
    head = column and split_path(present, column)[0]
    if head and present.count(head) > 1:
        raise InputError(f"{uri!r} has {present.count(head)} columns named {head!r}. Choose another one with {flag}.")
    return column


def require_column(
    what: str, present: list[str], wanted: str | None, uri: str, defaults: tuple[str, ...], flag: str = ""
) -> str:
    """The column to read, as ``choose_column`` finds it.

    Raises:
        InputError: there is no such column.
    """
    flag = flag or f"--{what}-column"
    column = choose_column(what, present, wanted, uri, defaults, flag)
    if column is None:
        raise InputError(f"{uri!r} has no column for the {what}; it has: {_listed(present)}. Name it with {flag}.")
    return column


def _listed(present: list[str]) -> str:
    """The columns that are there, and what is wrong where they are one."""
    if len(present) == 1 and any(separator in present[0] for separator in ";|\t"):
        return f"{present[0]}, one column (fields of a .csv are separated by commas, those of a .tsv by tabs)"
    return ", ".join(present)


def choose_id_columns(present: list[str], columns: Columns, uri: str) -> tuple[str | None, str | None]:
    """The columns of the id and of the pair id, None where there is none and none is needed.

    Raises:
        InputError: a column asked for is not there, or rows need an id and there is no column for it.
    """
    id_column = None
    if not columns.numbered:
        found = columns.id is not None and split_path(present, columns.id)[0] is not None
        named = columns.id if found else columns.named("id", ())
        id_column = choose_column("id", present, named, uri, ID_DEFAULTS, columns.flag("id"))
    if columns.require_id and id_column is None:
        raise InputError(
            no_ids_message(f"{uri!r} has no column for the id; it has: {_listed(present) or 'none'}", columns)
        )
    return id_column, choose_column("pair id", present, columns.pair_id, uri, flag=columns.flag("pair_id"))


def no_ids_message(fact: str, columns: Columns) -> str:
    """``fact`` (that there are no ids) with what can be done about it."""
    who, flag = "Held-out queries" if columns.side == "validation-" else "Candidates", columns.flag("id")
    return (
        f"{fact}. {who} need ids. Name their column with {flag}, or make them with {flag} {CONTENT_ID} (digest "
        f"of a row's content). {flag} {POSITION_ID} (file name and position) works too, but changes when the "
        "files are written again."
    )
