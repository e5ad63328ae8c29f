"""Readers: one input file in, batches of rows and rejects out. One format a module.

``read_rows`` reads a shard in whatever format it has, as ``Columns`` say, into ``Rows``; ``holds_vectors`` says
whether these are ready-made vectors. ``format_of`` finds the ``Format`` of a file by its name, among them those that
packages add. An ``Outline`` is what a file's footer tells.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace

from nnn_core import storage
from nnn_core.errors import ConfigError, InputError, StorageError
from nnn_core.inputs.readers import _caption_files
from nnn_core.inputs.readers._compressed import PlaceholderError, first_bytes
from nnn_core.inputs.readers._formats import Format, Outline
from nnn_core.inputs.readers._known import formats, suffix_of
from nnn_core.inputs.readers._rows import (
    BATCH_BYTES,
    CAPTION_DEFAULT,
    CONTENT_ID,
    HEAD_ROWS,
    POSITION_ID,
    Columns,
    Rows,
)
from nnn_core.inputs.readers._unread import remedy_for, suffix_told_by
from nnn_core.inputs.shards import InputShard, Modality, ShardName

__all__ = [
    "BATCH_BYTES",
    "CAPTION_DEFAULT",
    "POSITION_ID",
    "Columns",
    "Format",
    "Outline",
    "Rows",
    "format_of",
    "holds_vectors",
    "outline_of",
    "read_head",
    "read_rows",
]

_KINDS: dict[Modality, str] = {"image": "images", "text": "captions"}
_NUMBERED = re.compile(r"(?:row|line) (\d+(?:#\d+)?)\Z")


def format_of(shard: InputShard | ShardName | str) -> Format:
    """The format of a shard by the end of its name, or of that of any file of a group of single files.

    A file whose name says nothing is told by its first bytes.

    Args:
        shard: the shard, or the URI of a file.

    Raises:
        InputError: no reader for such a file.
    """
    if not isinstance(shard, str) and shard.members and shard.members[0].endswith(_caption_files.SUFFIX):
        return _caption_files.FORMAT
    uri = shard if isinstance(shard, str) else _first_file(shard)
    if suffix := suffix_of(uri):
        return formats()[suffix]
    remedy = remedy_for(uri)
    if not remedy:
        with contextlib.suppress(InputError, ConfigError):
            suffix = _suffix_by_bytes(uri)
            if suffix in formats():
                return formats()[suffix]
            remedy = remedy_for(uri, suffix)
    known = ", ".join(sorted(formats()))
    raise InputError(remedy or f"{uri!r} has no known format. Its suffix must be one of {known}.")


def _first_file(shard: InputShard | ShardName) -> str:
    return storage.join(shard.uri, shard.members[0]) if shard.members else shard.uri


def _suffix_by_bytes(uri: str) -> str:
    """A suffix of the format of which a file's first bytes are; empty where they tell of none.

    Raises:
        InputError: the file cannot be read.
    """
    head, compressed = first_bytes(uri)
    fitting = (each for each in dict.fromkeys(formats().values()) if each.fits(head))
    found = next((each for each in fitting if not compressed or ".gz" in "".join(each.suffixes)), None)
    return found.suffixes[0] if found else suffix_told_by(head)


@contextlib.contextmanager
def _explained(shard: InputShard | ShardName, format: Format) -> Iterator[None]:
    """Add to what is wrong with a file that its bytes are those of another format than its name says."""
    try:
        yield
    except InputError as error:
        uri = _first_file(shard)
        if suffix := _other_suffix(uri, format):
            hint = remedy_for(uri, suffix) or f"name it {suffix}, if it is one."
            raise InputError(f"{error} Its first bytes are those of a {suffix} file: {hint}") from error
        raise


def _other_suffix(uri: str, format: Format) -> str:
    """The suffix that a file should have whose bytes are not of the format; empty where they are, or tell nothing.

    Raises:
        PlaceholderError: something else lies where the file should.
    """
    try:
        return "" if format.fits(first_bytes(uri)[0]) else _suffix_by_bytes(uri)
    except PlaceholderError:
        raise
    except (InputError, StorageError):
        return ""


def holds_vectors(shard: InputShard, modality: Modality, columns: Columns) -> bool:
    """Whether embeddings are to be read from the shard, rather than images or captions.

    Raises:
        InputError: an unknown format, a file from which both could be read, or a name of a column that means nothing in
            files of this format.
    """
    _check_names(shard, modality, columns)
    format = format_of(shard)
    with _explained(shard, format):
        return format.holds_vectors(shard.uri, modality, columns)


def outline_of(name: InputShard | ShardName) -> Outline:
    """What the footer or header of a file tells; nothing for single images.

    Raises:
        InputError: an unknown format, or a file that is broken.
    """
    format = format_of(name)
    with _explained(name, format):
        return Outline() if name.members else format.outline(name.uri)


def _check_names(shard: InputShard, modality: Modality, columns: Columns) -> None:
    """Refuse a name that the reader would never look at; one that was given for another side says nothing here."""
    format = format_of(shard)
    asked = {"id", "pair_id", "vector", "image" if modality == "image" else "caption"}
    for what in sorted(asked - format.names - ({*columns.inherited, *dict(columns.lent)} - {"pair_id"})):
        name = getattr(columns, what)
        if name is None or (what == "id" and name.startswith("@")):
            continue
        flags = " and ".join(columns.flag(each) for each in sorted(format.names & asked))
        others = sorted({each.name for each in formats().values() if what in each.names})
        raise InputError(
            f"{shard.uri!r}: {columns.flag(what)} {name} has no effect for the format {format.name!r}, in which "
            f"{flags or 'no column'} can be named. Leave the flag out, or give the rows in a format with such "
            f"names: {', '.join(others)}."
        )


def read_rows(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """Rows of one shard in file order, in batches of bounded size.

    Args:
        shard: the file or group of images to read.
        modality: which side of an image-caption sample to read.
        columns: the names of the columns or JSON fields to read.

    Raises:
        InputError: an unknown format, a broken file, a missing column.
    """
    _check_names(shard, modality, columns)
    format = format_of(shard)
    with _explained(shard, format):
        rows = _identified(format, shard, modality, columns)

    def explained() -> Iterator[Rows]:
        with _explained(shard, format):
            yield from rows

    return explained()


def _identified(format: Format, shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """The rows, with the ids that are made where they are asked for in place of a column."""
    read = format.read
    if columns.id not in (CONTENT_ID, POSITION_ID):
        return read(shard, modality, columns)
    if "id" in columns.inherited:  # how candidates are to be told apart says nothing of the bank
        return read(shard, modality, replace(columns, id=None))
    identify = _by_content if columns.id == CONTENT_ID else _by_position
    plain = replace(columns, id=None, require_id=False, numbered=columns.id == POSITION_ID)
    return (identify(rows, shard) for rows in read(shard, modality, plain))


def read_head(name: ShardName, modality: Modality, columns: Columns) -> tuple[str, Rows]:
    """(``images``, ``captions`` or ``vectors``; the first rows of a shard), from few bytes.

    Raises:
        InputError: as ``read_rows``.
    """
    companion = None if name.members else format_of(name).companion(name.uri)
    shard = InputShard(name.uri, "", 0, companion, name.members[:HEAD_ROWS], HEAD_ROWS)
    holds = "vectors" if holds_vectors(shard, modality, columns) else _KINDS[modality]
    return holds, next(iter(read_rows(shard, modality, columns)), Rows([], [], []))


def _by_content(rows: Rows, shard: InputShard) -> Rows:
    """Ids that are the SHA-256 of the image's bytes, of the caption in UTF-8, or of the vector as it is stored."""
    contents = (item.encode() if isinstance(item, str) else item for item in rows.items)
    return replace(rows, ids=[hashlib.sha256(content).hexdigest() for content in contents])


def _by_position(rows: Rows, shard: InputShard) -> Rows:
    """Ids that are the name of the file and the number of the row or line, such as ``img_emb_3.npy#17``."""
    numbers = [_NUMBERED.match(row_id) for row_id in rows.ids]
    if not all(numbers):
        keyed = rows.ids[numbers.index(None)]
        raise InputError(
            f"{shard.uri!r} has keys, such as {keyed!r}, so --id-column {POSITION_ID} cannot number its rows. "
            "Leave the flag out."
        )
    name = storage.basename(shard.uri)
    return replace(rows, ids=[f"{name}#{number.group(1)}" for number in numbers if number])
