"""Encoded images to pixels: what is taken for an image, which way up it is, and how much memory it may take."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator

from PIL import ExifTags, Image, UnidentifiedImageError

from nnn_core.errors import INSTALL_EXTRA
from nnn_core.inputs.image_formats import FORMATS

#: Part of an encoder's fingerprint; to be changed with what this module does to pixels.
DECODING = "upright"

#: Images of more pixels than this are decoded one at a time, whatever the number of threads: with the
#: largest that Pillow's limit lets through (``Image.MAX_IMAGE_PIXELS``, 89 million), four bytes a
#: pixel and a second copy while it is turned or converted, each takes up to 0.7 GB.
LARGE_PIXELS = 1 << 23

#: What cameras of phones write, and other formats of images by how they begin.
_HEIF_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"hevc")
_OTHERS = {b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"\0\0\0\x0cJXL ": "JPEG XL"}

_ONE_LARGE = threading.Lock()
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextlib.contextmanager
def upright(data: bytes) -> Iterator[Image.Image]:
    """The decoded image, or its first frame, turned as its EXIF orientation says; pixels as they are stored.

    Args:
        data: bytes of an encoded image in one of ``FORMATS``, whatever its file is called.

    Raises:
        ValueError: it cannot be decoded, is larger than Pillow's safety limit, or the body of the
            ``with`` cannot convert it. Decoders fail in many ways, and all mean the same here.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image)
            with _ONE_LARGE if image.width * image.height > LARGE_PIXELS else contextlib.nullcontext():
                image.load()
                yield _turned(image)
    except UnidentifiedImageError as error:  # its own message names an address in memory
        raise ValueError(f"not one of {', '.join(FORMATS)}{_remedy(data)}") from error
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _remedy(data: bytes) -> str:
    """What helps with an image in a format that people do have; empty for any other."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS and "HEIF" not in FORMATS:
        return f"; it is HEIC, which the package pillow-heif decodes: {INSTALL_EXTRA.format('heif')}"
    return "".join(f"; it is {name}: convert it" for begin, name in _OTHERS.items() if data.startswith(begin))


def turns_white(data: bytes) -> bool:
    """Whether an image is a PNG of grey in 16 bits: Pillow clips its values at 255 where others scale them.

    So does open_clip, whose preprocessing is part of the fingerprint. All such images are one to the model.
    """
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and data[24:26] == b"\x10\0"


def _check_size(image: Image.Image) -> None:
    """Pillow itself refuses twice as much, and only warns here."""
    pixels, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if most is not None and pixels > most:
        raise ValueError(f"image size ({pixels} pixels) exceeds limit of {most} pixels")


def _turned(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    image.close()
    return turned


def _orientation(image: Image.Image) -> int:
    """As in ``ImageOps.exif_transpose``; that also writes EXIF anew, and fails where EXIF is broken."""
    try:
        orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
        hash(orientation)
    except Exception:  # broken EXIF leaves the pixels as good as they were
        return 1
    return orientation
