"""Single image files, many of which are read as one shard."""

from __future__ import annotations

from collections.abc import Iterator

from nnn_core import storage
from nnn_core.errors import InputError
from nnn_core.inputs.readers._formats import Format
from nnn_core.inputs.readers._records import UnusableRowError
from nnn_core.inputs.readers.rows import Columns, Row, Rows, batched
from nnn_core.inputs.rejects import Reject
from nnn_core.inputs.shards import InputShard, Modality

#: An encoded image, or any other content that is read into memory as a whole, may have this many bytes.
IMAGE_BYTES = 256 << 20

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")


def _read(shard: InputShard, modality: Modality, columns: Columns) -> Iterator[Rows]:
    """One image a file; its id is its path below the folder in front of the pattern's first wildcard, with its suffix.

    Raises:
        InputError: captions were asked for, or a file cannot be read.
    """
    uri = shard.uri
    if modality != "image":
        raise InputError(
            f"{uri!r} holds image files, but captions are expected there; check --candidate-modality, "
            "--reference-modality and which glob was given to --candidates and --references. If captions lie beside "
            "the images, a file each, name those files (*.txt)."
        )
    return batched(_image_of(member, storage.join(uri, member)) for member in shard.members)


def _image_of(member: str, uri: str) -> Row | Reject:
    if (size := storage.size(uri)) > IMAGE_BYTES:
        return too_large(size, IMAGE_BYTES).reject(member)
    return Row(member, member, storage.read_bytes(uri))


def too_large(size: int, most: int, what: str = "") -> UnusableRowError:
    """The error that stands for content that was not read.

    Args:
        size: bytes that the content has.
        most: bytes that it may have.
        what: names the content, if the row has several, and ends in a colon and a space.
    """
    return UnusableRowError("too large", f"{what}{size:,} bytes, and no more than {most:,} are read")


FORMAT = Format("image", tuple(f".{suffix}" for suffix in IMAGE_SUFFIXES), _read, names=frozenset(), grouped=True)
