"""Captions in a file each, beside the images that they describe: ``key.txt`` beside ``key.jpg``."""

from __future__ import annotations

from collections.abc import Iterator

from nnn_core import storage
from nnn_core.inputs.readers._formats import Format
from nnn_core.inputs.readers._images import IMAGE_SUFFIXES, NEWER_SUFFIXES, too_large
from nnn_core.inputs.readers._records import LINE_BYTES, caption_rows, no_images
from nnn_core.inputs.readers._rows import NO_PAIR, Columns, Row, Rows, batched
from nnn_core.inputs.rejects import NOT_UTF8, Reject
from nnn_core.inputs.shards import InputShard, Modality

SUFFIX = ".txt"


def image_beside(uri: str) -> str | None:
    """The image whose name differs from that of a caption's file in the suffix only; None if there is none."""
    stem = uri.removesuffix(SUFFIX)
    images = (f"{stem}.{suffix}" for suffix in (*IMAGE_SUFFIXES, *NEWER_SUFFIXES))
    return next(filter(storage.exists, images), None) if stem != uri else None


def _read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """The lines of each file, which are captions of one image; a row's pair id is the path of that image.

    As with images, an id is the path below the folder in front of the pattern's first wildcard, with its suffix.

    Raises:
        InputError: images were asked for, or a file cannot be read.
    """
    if modality != "text":
        raise no_images(shard.uri)
    return batched(row for member in shard.members for row in _captions_of(shard.uri, member))


def _captions_of(folder: str, member: str) -> Iterator[Row | Reject]:
    uri = storage.join(folder, member)
    if (size := storage.size(uri)) > LINE_BYTES:
        yield too_large(size, LINE_BYTES).reject(member)
        return
    image = image_beside(uri)
    pair_id = NO_PAIR if image is None else member.removesuffix(SUFFIX) + image[image.rindex(".") :]
    try:
        lines = [line.strip() for line in storage.read_bytes(uri).decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        yield Reject(member, NOT_UTF8, str(error))
    else:
        yield from caption_rows(member, pair_id, lines if len(lines) > 1 else "".join(lines))


FORMAT = Format("caption files", (), _read, names=frozenset(), grouped=True)
