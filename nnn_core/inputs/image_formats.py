"""The formats of images that are decoded here, by Pillow's names."""

from __future__ import annotations

import contextlib

from PIL import features


def _known() -> tuple[str, ...]:
    known = ["JPEG", "PNG", "WEBP", *(["AVIF"] if features.check("avif") else [])]
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
        known.append("HEIF")
    return tuple(known)


#: AVIF where Pillow was built with it, and HEIF (HEIC) where the package pillow-heif is installed.
FORMATS = _known()
