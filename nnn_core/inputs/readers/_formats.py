"""What a format is to the rest of the program."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nnn_core.inputs.readers._rows import Columns, Rows
from nnn_core.inputs.shards import InputShard, Modality

#: A column of an ``Outline`` that could hold vectors.
_LIST_OF_FLOATS = re.compile(r"(.+?): (?:large_|fixed_size_)?list<\w+: (?:double|float|halffloat)\b")
_BYTES = re.compile(r"(.+?): (?:large_)?binary(?:_view)?\b")

#: The attributes of ``Columns`` that name a column each.
NAMES = frozenset({"id", "pair_id", "caption", "vector", "image"})


@dataclass(frozen=True)
class Outline:
    """What a file says of itself, from its footer or header alone.

    Attributes:
        rows: how many rows the file holds; None if only reading all of it would tell.
        columns: names of the file's columns or fields, with their types if they have any.
    """

    rows: int | None = None
    columns: tuple[str, ...] = ()

    @property
    def lists(self) -> list[str]:
        """Names of the columns of lists of floats, which may be vectors."""
        return [match[1] for column in self.columns if (match := _LIST_OF_FLOATS.match(column))]

    @property
    def blobs(self) -> list[str]:
        """Names of the columns of bytes, which may be images."""
        return [match[1] for column in self.columns if (match := _BYTES.match(column))]


@dataclass(frozen=True)
class Format:
    """One kind of file.

    A package of your own adds one by an entry point in the group ``nnn_core.formats`` that leads to
    a ``Format``; it must be installed wherever the job runs.

    Attributes:
        name: a short name, which becomes part of the names of what is computed from such files.
        suffixes: how names of such files end, in lower case, each with its dot. The longest that fits decides.
        read: rows of a shard in file order, in batches of bounded size (see ``nnn_core.inputs.readers._rows.batched``).
            Raises InputError for what makes the whole file unusable; a bad row is a Reject in its batch.
        holds_vectors: whether the file's embeddings are to be read, from the file's head or footer.
        companion: finds the URI of the file with the ids or further fields that lies elsewhere, None if there is none;
            raises InputError if one is needed and missing.
        outline: reads what a file's footer or header tells, for ``nnn inspect``.
        begins: how such files begin, each as (position, bytes there): what tells files whose names say nothing.
        names: the attributes of ``Columns`` that mean something in such files; a name that was given for another one of
            them is refused.
        grouped: whether a file is a single row, so that many are read together as one shard.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[InputShard, Modality, Columns], Iterator[Rows]]
    holds_vectors: Callable[[str, Modality, Columns], bool] = lambda uri, modality, columns: False
    companion: Callable[[str], str | None] = lambda uri: None
    outline: Callable[[str], Outline] = lambda uri: Outline()
    begins: tuple[tuple[int, bytes], ...] = ()
    names: frozenset[str] = NAMES
    grouped: bool = False

    def fits(self, head: bytes) -> bool:
        """Whether a file with these first bytes begins as such files do."""
        return any(head[place : place + len(mark)] == mark for place, mark in self.begins)
