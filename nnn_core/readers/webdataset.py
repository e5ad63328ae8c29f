"""webdataset tar shards: consecutive members that share a key are one sample."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from typing import IO

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.readers.formats import Format
from nnn_core.readers.rows import (
    CAPTION_DEFAULT,
    NO_CAPTION,
    NO_ID,
    NOT_UTF8,
    Columns,
    PairField,
    Row,
    Rows,
    batched,
    caption_rows,
)
from nnn_core.rejects import Reject
from nnn_core.shards import InputShard, Modality

LINK = "a link in the tar"

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
_BLOCK = tarfile.BLOCKSIZE
_REST_BYTES = 1 << 20

Sample = tuple[str, dict[str, bytes]]


def read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """Images (``key.jpg|jpeg|png|webp``) or captions (``key.txt`` or ``key.json``) of a tar.

    An image's id is its key. A sample's caption has the key as id; several captions (a list in
    the JSON field) are ``key#0``, ``key#1``, ... and all have the key as their pair id, unless a
    field of ``key.json`` is named for it.

    Raises:
        InputError: the archive is broken or was cut short, or no sample has the pair id that was named.
    """
    return batched(_rows(shard.uri, modality, columns))


def _rows(uri: str, modality: Modality, columns: Columns) -> Iterator[Row | Reject]:
    pairs = PairField(columns.pair_id)
    for sample in _samples(uri):
        if isinstance(sample, Reject):
            yield sample
            continue
        key, members = sample
        if not key:
            yield Reject(f".{next(iter(members))}", NO_ID, "the member's name has no key in front of the dot")
            continue
        try:
            if modality == "image":
                yield from _image_rows(key, members, pairs)
            else:
                yield from _caption_rows(key, members, columns, pairs)
        except UnicodeDecodeError as error:
            yield Reject(key, NOT_UTF8, str(error))
        except (ValueError, RecursionError) as error:
            yield Reject(key, "malformed JSON", str(error))
    pairs.check(uri)


def _samples(uri: str) -> Iterator[Sample | Reject]:
    """Consecutive members of one key; a suffix that comes again starts another sample of that key."""
    with storage.open_input(uri) as stream:
        current, members = "", dict[str, bytes]()
        for member in _members(uri, stream):
            if isinstance(member, Reject):
                yield member
                continue
            key, suffix, data = member
            if members and (key != current or suffix in members):
                yield current, members
                members = {}
            current, members[suffix] = key, data
        if members:
            yield current, members


def _members(uri: str, stream: IO[bytes]) -> Iterator[tuple[str, str, bytes] | Reject]:
    """(key, suffix, content) of every regular file in the archive, in order; links have no content to give."""
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                if member.isreg():
                    key, suffix = split_name(member.name)
                    yield key, suffix, _content(archive, member)
                elif member.islnk() or member.issym():
                    remedy = "pack the files with tar --dereference --hard-dereference"
                    yield Reject(member.name, LINK, f"it leads to {member.linkname!r}; {remedy}")
                # An archive of a million members would keep every header.
                archive.members.clear()  # type: ignore[attr-defined]
            _check_end(archive, stream)
    except (tarfile.TarError, EOFError) as error:
        raise InputError(
            f"{uri!r} is broken: {error}. Its remaining samples cannot be read; restore the file or take it out."
        ) from error


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    reader = archive.extractfile(member)
    data = reader.read() if reader else b""
    if len(data) != member.size:
        raise tarfile.ReadError(f"cut short inside member {member.name!r} ({len(data)} of {member.size} bytes)")
    return data


def _check_end(archive: tarfile.TarFile, stream: IO[bytes]) -> None:
    """Python's tarfile takes a bad header, and an end between two members, for the end of the archive."""
    stream.seek(archive.offset)
    mark = stream.read(_BLOCK)
    if len(mark) < _BLOCK or any(mark):
        what = "a corrupt header" if any(mark) else "no end-of-archive mark, so it was cut short"
        raise tarfile.ReadError(f"{what} at byte {archive.offset}")
    while rest := stream.read(_REST_BYTES):
        if any(rest):
            raise tarfile.ReadError(f"something follows the end-of-archive mark at byte {archive.offset}")


def split_name(name: str) -> tuple[str, str]:
    """``dir/key.seg.png`` -> (``dir/key``, ``seg.png``): the key ends at the first dot of the file name."""
    folder, _, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), suffix.lower()


def _image_rows(key: str, members: dict[str, bytes], pairs: PairField) -> Iterator[Row | Reject]:
    """The sample's image: ``key.jpg`` rather than ``key.depth.png``, else the first."""
    images = [suffix for suffix in members if suffix.rpartition(".")[2] in IMAGE_SUFFIXES]
    images.sort(key=lambda suffix: "." in suffix)
    if not images:
        yield Reject(key, "no image", f"the sample holds only: {', '.join(members)}")
        return
    pair_id = _pair_id(key, members, pairs)
    yield pair_id if isinstance(pair_id, Reject) else Row(key, pair_id, members[images[0]])
    for suffix in images[1:]:
        yield Reject(f"{key}.{suffix}", "a second image under one key", f"{images[0]!r} was used")


def _caption_rows(key: str, members: dict[str, bytes], columns: Columns, pairs: PairField) -> Iterator[Row | Reject]:
    field = columns.caption or CAPTION_DEFAULT
    if "txt" in members and columns.caption is None:
        caption: object = members["txt"].decode("utf-8-sig").strip()
    elif "json" not in members:
        yield Reject(key, NO_CAPTION, f"the sample holds only: {', '.join(members)}")
        return
    elif field in (record := _record(members)):
        caption = record[field]
    else:
        yield Reject(key, NO_CAPTION, f"the JSON has no field {field!r}")
        return
    pair_id = _pair_id(key, members, pairs)
    if isinstance(pair_id, Reject):
        yield pair_id
    else:
        yield from caption_rows(key, pair_id, caption)


def _pair_id(key: str, members: dict[str, bytes], pairs: PairField) -> str | Reject:
    """The key, or the field of the sample's JSON that was asked for."""
    return pairs.of(_record(members) if pairs.name else {}, key)


def _record(members: dict[str, bytes]) -> dict[str, object]:
    """The sample's JSON object; empty where there is none."""
    record = json.loads(members.get("json", b"{}").decode("utf-8-sig"))
    return record if isinstance(record, dict) else {}


FORMAT = Format("tar", (".tar",), read)
