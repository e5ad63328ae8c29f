"""Single image files, many of which are read as one shard."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.inputs.readers._formats import Format
from nnn_core.inputs.readers._records import Record, UnusableRowError, rows_of_records
from nnn_core.inputs.readers._rows import Columns, Row, Rows, batched
from nnn_core.inputs.rejects import NO_IMAGE, Reject
from nnn_core.inputs.shards import InputShard, Modality

#: An encoded image, or any other content that is read into memory as a whole, may have this many bytes.
IMAGE_BYTES = 256 << 20

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")

#: Suffixes that were not always known: in a tar, images under them count where a sample has no other.
NEWER_SUFFIXES = ("avif", "heic", "heif")

#: The alphabet of URLs to that of mail.
_STANDARD = str.maketrans("-_", "+/")

_BEGINS = (
    (0, b"\xff\xd8\xff"),
    (0, b"\x89PNG\r\n\x1a\n"),
    (8, b"WEBP"),
    *((4, b"ftyp" + brand) for brand in (b"avif", b"avis", b"heic", b"heix", b"mif1")),
)


def _read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """One image a file; its id is its path below the folder in front of the pattern's first wildcard, with its suffix.

    Raises:
        InputError: captions were asked for, or a file cannot be read.
    """
    uri = shard.uri
    if modality != "image":
        raise InputError(
            f"{uri!r} holds images, but captions are expected. Check --candidate-modality and "
            "--reference-modality, and that --candidates and --references are not swapped. If each image has a "
            "caption file beside it, name those files (*.txt)."
        )
    return batched(_image_of(member, storage.join(uri, member)) for member in shard.members)


def _image_of(member: str, uri: str) -> Row | Reject:
    if (size := storage.size(uri)) > IMAGE_BYTES:
        return too_large(size, IMAGE_BYTES).reject(member)
    return Row(member, member, storage.read_bytes(uri))


def image_of_text(text: str) -> bytes:
    """The image in base64, of either alphabet, or in a ``data:`` URL.

    Raises:
        UnusableRowError: it is no base64: a path or URL, which is never followed.
    """
    _, _, packed = text.rpartition(";base64,")
    if len(packed) > IMAGE_BYTES * 4 // 3 + 4:
        raise too_large(len(packed) * 3 // 4, IMAGE_BYTES)
    packed = "".join(packed.split()).translate(_STANDARD)
    try:
        data = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except ValueError:
        data = b""
    if not data:
        raise UnusableRowError(
            "it is not an image in base64",
            f"it begins with {text[:40]!r}; paths and URLs are not followed" if text else "",
        )
    return data


def rows_of_images(records: Iterable[Record | Reject], columns: Columns, uri: str) -> Iterator[Row | Reject]:
    """The rows of records that have images as text."""
    return rows_of_records(records, columns, uri, images=_rows_of_text)


def _rows_of_text(row_id: str, pair_id: str, value: object) -> Iterator[Row | Reject]:
    if not isinstance(value, str):
        yield Reject(row_id, NO_IMAGE, "" if value is None else f"the image is of type {type(value).__name__}")
        return
    try:
        yield Row(row_id, pair_id, image_of_text(value))
    except UnusableRowError as error:
        yield error.reject(row_id)


def too_large(size: int, most: int, what: str = "") -> UnusableRowError:
    """The error that stands for content that was not read.

    Args:
        size: bytes that the content has.
        most: bytes that it may have.
        what: names the content, if the row has several, and ends in a colon and a space.
    """
    return UnusableRowError("too large", f"{what}{size:,} bytes (limit: {most:,})")


FORMAT = Format(
    "image",
    tuple(f".{suffix}" for suffix in (*IMAGE_SUFFIXES, *NEWER_SUFFIXES)),
    _read,
    begins=_BEGINS,
    names=frozenset(),
    grouped=True,
)
