"""webdataset tar shards: consecutive members that share a key are one sample."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from typing import IO

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.inputs.readers import _tar as tar
from nnn_core.inputs.readers._compressed import open_decompressed
from nnn_core.inputs.readers._fields import MISSING, value_at
from nnn_core.inputs.readers._formats import Format
from nnn_core.inputs.readers._images import IMAGE_BYTES, IMAGE_SUFFIXES, too_large
from nnn_core.inputs.readers._metadata import Metadata
from nnn_core.inputs.readers._records import LINE_BYTES
from nnn_core.inputs.readers.rows import (
    CAPTION_DEFAULT,
    MALFORMED_JSON,
    NO_CAPTION,
    NO_ID,
    NOT_UTF8,
    Columns,
    PairField,
    Row,
    Rows,
    batched,
    caption_rows,
    text_of,
)
from nnn_core.inputs.rejects import Reject
from nnn_core.inputs.shards import InputShard, Modality

LINK = "a link in the tar"
NOT_A_FILE = "not a file"
NAME_TOO_LONG = "name too long"
NO_IMAGE = "no image"
SECOND_IMAGE = "a second image under one key"

#: No file system has longer paths, so no files were packed under them.
_NAME_BYTES = 4096

#: A sample is handed on with this many members, so that a tar of a single key is not held whole.
_SAMPLE_MEMBERS = 10_000

_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_TEXTS = ("txt", "json")
_SHOWN = 8

#: What a member holds, or its size where that was not read: it is not needed, or too large.
Content = bytes | int
Sample = tuple[str, dict[str, Content]]


def read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """Images (``key.jpg|jpeg|png|webp``) or captions (``key.txt`` or ``key.json``) of a tar, which may be gzipped.

    A row's id is the sample's key, or a field of ``key.json`` that is named for it; its pair id is
    the key, unless a field is named for that. Numbered members are rows of their own: ``key.0.jpg``
    and ``key.1.jpg`` (or ``.txt``) have the ids ``key.0`` and ``key.1`` and the pair id ``key``.
    Of other images under one key, ``key.jpg`` is taken rather than ``key.depth.png``, else the
    first, and the others are rejects. Several captions in a JSON list are ``key#0``, ``key#1``, ...

    Fields are named by path, such as ``meta.caption`` or ``captions.0.text``. What ``key.json``
    lacks is looked up by key in the table that img2dataset writes beside the tar.

    Only what is needed is read into memory, and nothing is unpacked: names such as ``../x`` are ids
    like any others. Links, devices and members of more than ``IMAGE_BYTES`` are rejects.

    Raises:
        InputError: the archive is broken or was cut short, or no sample has the pair id that was named.
    """
    return batched(_rows(shard, modality, columns))


def _rows(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Row | Reject]:
    reader = _ImageReader(shard, columns) if modality == "image" else _CaptionReader(shard, columns)
    for sample in _samples(shard.uri, reader.needs):
        if isinstance(sample, Reject):
            yield sample
        elif not sample[0]:
            yield Reject(f".{next(iter(sample[1]))}", NO_ID, "the member's name has no key in front of the dot")
        else:
            yield from reader.rows(*sample)
    reader.pairs.check(shard.uri)


def _samples(uri: str, needs: dict[str, int]) -> Iterator[Sample | Reject]:
    """Consecutive members of one key; a suffix that comes again starts another sample of that key.

    Args:
        uri: the tar.
        needs: for the last part of each suffix that is read, up to how many bytes.
    """
    current, members, held = "", dict[str, Content](), 0
    for member in _members(uri):
        if isinstance(member, Reject):
            yield member
            continue
        key, suffix = split_name(member.name)
        if members and (key != current or suffix in members or len(members) >= _SAMPLE_MEMBERS):
            yield current, members
            members, held = {}, 0
        most = min(needs.get(suffix.rpartition(".")[2], -1), IMAGE_BYTES - held)
        content: Content = _read(uri, member) if member.size <= most else member.size
        held += member.size if isinstance(content, bytes) else 0
        current, members[suffix] = key, content
    if members:
        yield current, members


def _members(uri: str) -> Iterator[tar.Member | Reject]:
    """Every file in the archive, in order; what is neither file nor folder has no content to give."""
    with open_decompressed(uri) as stream:
        archive = _unbroken(uri, stream)
        for member in archive:
            if len(member.name) > _NAME_BYTES:
                length = f"{len(member.name):,} characters, and no file system has more than {_NAME_BYTES:,}"
                yield Reject(f"{member.name[:100]}...", NAME_TOO_LONG, length)
            elif member.kind == "file":
                yield member
            elif member.kind == "link":
                remedy = "pack the files with tar --dereference --hard-dereference"
                yield Reject(member.name, LINK, f"it leads to {member.target[:_NAME_BYTES]!r}; {remedy}")
            elif member.kind == "other":
                yield Reject(member.name, NOT_A_FILE, "a device, a pipe, a sparse file, or of no known kind")


def _unbroken(uri: str, stream: IO[bytes]) -> Iterator[tar.Member]:
    try:
        yield from tar.members(stream)
    except tarfile.TarError as error:
        raise _broken(uri, error) from error


def _read(uri: str, member: tar.Member) -> bytes:
    try:
        return member.read()
    except tarfile.TarError as error:
        raise _broken(uri, error) from error


def _broken(uri: str, error: tarfile.TarError) -> InputError:
    return InputError(
        f"{uri!r} is broken: {error}. Its remaining samples cannot be read; restore the file or take it out."
    )


def split_name(name: str) -> tuple[str, str]:
    """``dir/key.seg.png`` -> (``dir/key``, ``seg.png``): the key ends at the first dot of the file name."""
    folder, _, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), suffix.lower()


class _TooLargeError(Exception):
    """A text that is needed has too many bytes."""


class _Reader:
    """What rows of images and of captions have in common: the fields of their samples.

    Attributes:
        pairs: the pair ids of the samples that were read.
    """

    def __init__(self, shard: InputShard, columns: Columns, fields: tuple[str | None, ...]) -> None:
        self._columns = columns
        self._asked = [name for name in dict.fromkeys((columns.id, columns.pair_id, *fields)) if name]
        self._metadata = Metadata(shard.companion, self._asked)
        self.pairs = PairField(columns.pair_id)

    def _fields(self, key: str, members: dict[str, Content], *more: str) -> dict[str, object] | Reject:
        """Those of the fields that were asked for, and of ``more``, which the sample has."""
        asked = [*self._asked, *more]
        try:
            record = _record(members) if asked else {}
        except UnicodeDecodeError as error:
            return Reject(key, NOT_UTF8, str(error))
        except (ValueError, RecursionError) as error:
            return Reject(key, MALFORMED_JSON, str(error))
        except _TooLargeError:
            return _too_large(key, "json", members)
        found = {name: value_at(record, name) for name in asked}
        missing = {name: self._metadata.value(key, name) for name, value in found.items() if value is MISSING}
        return {name: value for name, value in (found | missing).items() if value is not MISSING}

    def _identity(self, key: str, fields: dict[str, object] | Reject) -> tuple[str, str] | Reject:
        """(id, pair id) of the sample."""
        if isinstance(fields, Reject):
            return fields
        named = self._columns.named("id", fields)
        row_id = text_of(fields.get(named)) if named else key
        if row_id is None and self._columns.require_id:
            return Reject(key, NO_ID, f"the field {named!r} is absent, empty, or neither text nor a whole number")
        pair_id = self.pairs.of(fields, key)
        return pair_id if isinstance(pair_id, Reject) else (row_id or key, pair_id)


class _ImageReader(_Reader):
    def __init__(self, shard: InputShard, columns: Columns) -> None:
        super().__init__(shard, columns, ())
        self.needs = dict.fromkeys(IMAGE_SUFFIXES, IMAGE_BYTES) | ({"json": LINE_BYTES} if self._asked else {})

    def rows(self, key: str, members: dict[str, Content]) -> Iterator[Row | Reject]:
        """The sample's images: ``key.jpg`` and the numbered ones, else the first of any name."""
        images = [suffix for suffix in members if suffix.rpartition(".")[2] in IMAGE_SUFFIXES]
        images.sort(key=lambda suffix: "." in suffix)
        if not images:
            yield Reject(key, NO_IMAGE, _holds_only(members))
            return
        taken = _one_a_number(images)
        identity = self._identity(key, self._fields(key, members))
        for suffix in taken:
            yield _image_row(key, suffix, members, identity)
        for suffix in images:
            if suffix not in taken:
                yield Reject(f"{key}.{suffix}", SECOND_IMAGE, f"{taken[0]!r} was used")


def _one_a_number(images: list[str]) -> list[str]:
    """Of the suffixes of a sample's images, those that are rows: a plain one and the first of each number."""
    numbered: dict[str, str] = {}
    for suffix in images:
        if number := _number(suffix):
            numbered.setdefault(number, suffix)
    plain = [] if _number(images[0]) or ("." in images[0] and numbered) else images[:1]
    return plain + list(numbered.values())


def _image_row(key: str, suffix: str, members: dict[str, Content], identity: tuple[str, str] | Reject) -> Row | Reject:
    content, number = members[suffix], _number(suffix)
    if isinstance(identity, Reject):
        return replace(identity, id=key + number)
    if isinstance(content, int):
        return too_large(key + number, content)
    return Row(identity[0] + number, identity[1], content)


class _CaptionReader(_Reader):
    def __init__(self, shard: InputShard, columns: Columns) -> None:
        super().__init__(shard, columns, (columns.caption,))
        self._caption = columns.caption or CAPTION_DEFAULT
        self.needs = dict.fromkeys(_TEXTS, LINE_BYTES)

    def rows(self, key: str, members: dict[str, Content]) -> Iterator[Row | Reject]:
        """The sample's captions: the field that was named, else ``key.txt`` and numbered ones, else the JSON's."""
        texts = [suffix for suffix in members if suffix == "txt" or (suffix.endswith(".txt") and _number(suffix))]
        if texts and self._columns.caption is None:
            identity = self._identity(key, self._fields(key, members))
            for suffix in texts:
                yield from _text_rows(key, suffix, members, identity)
        elif "json" in members or self._columns.caption is not None:
            yield from self._field_rows(key, members)
        else:
            yield Reject(key, NO_CAPTION, _holds_only(members))

    def _field_rows(self, key: str, members: dict[str, Content]) -> Iterator[Row | Reject]:
        fields = self._fields(key, members, self._caption)
        if not isinstance(fields, Reject) and self._caption not in fields:
            held = f"the JSON has no field {self._caption!r}" if "json" in members else _holds_only(members)
            yield Reject(key, NO_CAPTION, held)
            return
        identity = self._identity(key, fields)
        if isinstance(identity, Reject) or isinstance(fields, Reject):
            yield identity if isinstance(identity, Reject) else Reject(key, NO_CAPTION)
        else:
            yield from caption_rows(*identity, fields[self._caption])


def _text_rows(
    key: str, suffix: str, members: dict[str, Content], identity: tuple[str, str] | Reject
) -> Iterator[Row | Reject]:
    number = _number(suffix)
    if isinstance(identity, Reject):
        yield replace(identity, id=key + number)
        return
    try:
        caption = _text(members, suffix).strip()
    except UnicodeDecodeError as error:
        yield Reject(key + number, NOT_UTF8, str(error))
    except _TooLargeError:
        yield _too_large(key + number, suffix, members)
    else:
        yield from caption_rows(identity[0] + number, identity[1], caption)


def _number(suffix: str) -> str:
    """``.0`` of ``0.jpg``: what tells numbered members of one key apart; empty for any other."""
    number, dot, _ = suffix.partition(".")
    return f".{number}" if dot and number.isascii() and number.isdigit() and suffix.count(".") == 1 else ""


def _record(members: dict[str, Content]) -> dict[str, object]:
    """The sample's JSON object; empty where there is none."""
    record = json.loads(_text(members, "json")) if "json" in members else {}
    return record if isinstance(record, dict) else {}


def _text(members: dict[str, Content], suffix: str) -> str:
    content = members[suffix]
    if isinstance(content, int):
        raise _TooLargeError
    return content.decode("utf-8-sig")


def _too_large(row_id: str, suffix: str, members: dict[str, Content]) -> Reject:
    content = members[suffix]
    size = content if isinstance(content, int) else len(content)
    return replace(
        too_large(row_id, size), detail=f"{suffix}: {size:,} bytes, and no more than {LINE_BYTES:,} are read"
    )


def _holds_only(members: dict[str, Content]) -> str:
    more = f" and {len(members) - _SHOWN:,} more" if len(members) > _SHOWN else ""
    return f"the sample holds only: {', '.join(list(members)[:_SHOWN])}{more}"


def find_metadata(uri: str) -> str | None:
    """The table that img2dataset wrote beside the tar, if there is one."""
    stem = re.sub(r"\.(tar|tar\.gz|tgz)\Z", "", uri, flags=re.IGNORECASE)
    place = f"{stem}.parquet"
    return place if storage.exists(place) else None


FORMAT = Format("tar", _SUFFIXES, read, companion=find_metadata)
