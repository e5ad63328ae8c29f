"""Small pictures of candidates, bounded in size, ready to stand inside a page."""

from __future__ import annotations

import io
import itertools
import warnings
from base64 import b64encode

from PIL import Image

#: Longest side, in pixels: twice what a narrow page shows, for dense screens.
SIDE = 128
#: No thumbnail is larger, in bytes.
MAX_BYTES = 5 * 1024

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_QUALITIES = (70, 45, 20)
_MAGIC = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"RIFF", "image/webp"))


def thumbnail(data: bytes) -> bytes | None:
    """A WebP of at most ``SIDE`` pixels and ``MAX_BYTES``; None where ``data`` is not a picture that can be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
                picture.draft("RGB", (SIDE, SIDE))
                small = _flat(picture)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
    return _encode(small)


def _flat(picture: Image.Image) -> Image.Image:
    """In RGB, on white where it is transparent, at the size of a thumbnail."""
    small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    small.thumbnail((SIDE, SIDE))
    if small.mode == "RGBA":
        ground = Image.new("RGBA", small.size, "white")
        small = Image.alpha_composite(ground, small).convert("RGB")
    return small


def _encode(picture: Image.Image) -> bytes | None:
    for side, quality in itertools.product((SIDE, SIDE // 2), _QUALITIES):
        picture.thumbnail((side, side))
        stream = io.BytesIO()
        picture.save(stream, "WEBP", quality=quality, method=4)
        if stream.tell() <= MAX_BYTES:
            return stream.getvalue()
    return None


def data_uri(data: bytes) -> str | None:
    """``data`` as an address that needs no network; None unless it is a small JPEG, PNG or WebP."""
    kind = next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)
    if kind is None or len(data) > MAX_BYTES:
        return None
    return f"data:{kind};base64,{b64encode(data).decode('ascii')}"
