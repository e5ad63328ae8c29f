"""Malformed and hostile input: hundreds of shards, each with what is known of it.

``python tests/hostile.py FOLDER [--part I/N]`` embeds every one of them with the demo's encoder in
this process, and prints a JSON object for each and one for the whole.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import resource
import signal
import struct
import sys
import tarfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from fakes import make_tar
from PIL import Image, ImageCms
from PIL.ExifTags import Base

from nnn_core.inputs.image_formats import FORMATS

#: No shard may take longer, whatever it is.
SECONDS = 60


@dataclass(frozen=True)
class Case:
    """One shard.

    Attributes:
        name: what is wrong with it.
        file: its file name.
        make: its bytes.
        modality: what to read of it.
        columns: names of columns.
        rows: how many rows there are, where that can be told; None where an error is expected or due.
        accepted: how many of them are good, where that is known.
        beside: other files that belong to it.
    """

    name: str
    file: str
    make: Callable[[], bytes]
    modality: str = "image"
    columns: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None
    accepted: int | None = None
    beside: dict[str, bytes] = field(default_factory=dict)


def pixels(width: int = 48, height: int = 32, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Noise over a slope: no two rows or columns are alike, so that every turn shows."""
    rng = np.random.default_rng(seed)
    slope = np.add.outer(np.arange(height) * 3, np.arange(width) * 2)[..., None]
    return ((slope + rng.integers(0, 90, (height, width, channels))) % 256).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """An image as a file."""
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def rgb(seed: int = 0) -> Image.Image:
    return Image.fromarray(pixels(seed=seed))


def with_orientation(orientation: int) -> bytes:
    """EXIF that says which way up an image is."""
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    return exif.tobytes()


@cache
def good_images() -> Mapping[str, bytes]:
    """Images of every kind that people have, all of which can be decoded."""
    images = {
        "rgb.jpg": encoded(rgb(), "JPEG"),
        "progressive.jpg": encoded(rgb(), "JPEG", progressive=True),
        "grey.jpg": encoded(rgb().convert("L"), "JPEG"),
        "cmyk.jpg": encoded(rgb().convert("CMYK"), "JPEG"),
        "profile.jpg": encoded(
            rgb(), "JPEG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        ),
        "several.jpg": encoded(rgb(), "MPO", save_all=True, append_images=[rgb(1)]),
        "broken-exif.jpg": encoded(rgb(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xff" * 30),
        "rgba.png": encoded(Image.fromarray(pixels(channels=4)), "PNG"),
        "grey-alpha.png": encoded(Image.fromarray(pixels(channels=2), "LA"), "PNG"),
        "palette.png": encoded(rgb().convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        "palette-clear-colour.png": encoded(rgb().convert("P"), "PNG", transparency=3),
        "palette-clear-colours.png": encoded(rgb().convert("P"), "PNG", transparency=bytes(range(256))),
        "rgb-clear-colour.png": encoded(rgb(), "PNG", transparency=(1, 2, 3)),
        "bits.png": encoded(rgb().convert("1"), "PNG"),
        "grey16.png": encoded(Image.fromarray(pixels(channels=1)[..., 0].astype(np.uint16) * 257), "PNG"),
        "animated.png": encoded(rgb(), "PNG", save_all=True, append_images=[rgb(1), rgb(2)]),
        "exif.png": encoded(rgb(), "PNG", exif=with_orientation(6)),
        "plain.webp": encoded(rgb(), "WEBP"),
        "lossless.webp": encoded(Image.fromarray(pixels(channels=4)), "WEBP", lossless=True),
        "animated.webp": encoded(rgb(), "WEBP", save_all=True, append_images=[rgb(1), rgb(2)]),
        "exif.webp": encoded(rgb(), "WEBP", exif=with_orientation(8)),
        "plain.avif": encoded(rgb(), "AVIF"),
        "exif.avif": encoded(rgb(), "AVIF", exif=with_orientation(6)),
        "animated.avif": encoded(rgb(), "AVIF", save_all=True, append_images=[rgb(1), rgb(2)]),
        "one-pixel.png": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
        "thin.png": encoded(Image.fromarray(pixels(900, 2)), "PNG"),
    }
    for orientation in (*range(10), 255):
        images[f"turned-{orientation}.jpg"] = encoded(rgb(), "JPEG", exif=with_orientation(orientation))
    if "HEIF" in FORMATS:
        images |= {
            "plain.heic": encoded(rgb(), "HEIF"),
            "exif.heic": encoded(rgb(), "HEIF", exif=with_orientation(6)),
        }
    return MappingProxyType(images)


def png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 2) -> bytes:
    """A PNG put together by hand."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    whole = [(b"IHDR", head), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in whole
    )


def flat(width: int, height: int, kind: str = "PNG", **options: Any) -> bytes:
    """An image of many pixels in few bytes."""
    return encoded(Image.new("L", (width, height)), kind, **options)


@cache
def bad_images() -> Mapping[str, bytes]:
    """What is called an image and is none, or none that is taken."""
    jpg, webp = encoded(rgb(), "JPEG"), encoded(rgb(), "WEBP")
    wide = encoded(Image.fromarray(pixels(200, 100)), "PNG")
    profile = b"name\0\0" + zlib.compress(bytes(1 << 26))
    images = {
        "empty.jpg": b"",
        "text.jpg": b"404 not found",
        "page.jpg": b"<!DOCTYPE html><html></html>",
        "drawing.jpg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "stars.jpg": b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =                    8".ljust(80) + b"END",
        "gif.jpg": encoded(rgb(), "GIF"),
        "tiff.png": encoded(rgb(), "TIFF"),
        "bitmap.png": encoded(rgb(), "BMP"),
        "icon.png": encoded(rgb(), "ICO"),
        "pcx.jpg": encoded(rgb(), "PCX"),
        "ppm.jpg": encoded(rgb(), "PPM"),
        "pdf.jpg": encoded(rgb(), "PDF"),
        "avif-like.jpg": b"\0\0\0\x1cftypavif" + bytes(200),
        "no-pixels.png": png(0, 0),
        "no-data.png": png(8, 8),
        "short-data.png": png(64, 64, (b"IDAT", zlib.compress(bytes(100)))),
        "not-deflated.png": png(8, 8, (b"IDAT", b"\xff" * 50)),
        "no-such-mode.png": png(8, 8, (b"IDAT", zlib.compress(bytes(300))), depth=3, colour=5),
        "no-palette.png": png(8, 8, (b"IDAT", b""), colour=3),
        "promises-four-terapixels.png": png(1 << 21, 1 << 21, (b"IDAT", zlib.compress(bytes(100)))),
        "promises-400-megapixels.png": png(20000, 20000, (b"IDAT", zlib.compress(bytes(100)))),
        "promises-100-megapixels.png": png(10000, 10000, (b"IDAT", zlib.compress(bytes(100)))),
        "promises-80-megapixels.png": png(9000, 9000, (b"IDAT", zlib.compress(bytes(100)))),
        "profile-bomb.png": png(8, 8, (b"iCCP", profile), (b"IDAT", b"")),
        "text-bomb.png": png(8, 8, *[(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 22)))] * 20, (b"IDAT", b"")),
        "wide-promise.jpg": jpg.replace(struct.pack(">HH", 32, 48), struct.pack(">HH", 65000, 65000), 1),
    }
    for name, data in (("jpg", jpg), ("png", wide), ("webp", webp)):
        for part in range(1, 10):
            images[f"cut-at-{part}-tenths.{name}"] = data[: len(data) * part // 10]
    return MappingProxyType(images)


def large_images() -> dict[str, Callable[[], bytes]]:
    """Fifty megapixels in a few kilobytes: under Pillow's limit, so they are decoded."""
    turned = with_orientation(6)
    return {
        "50-megapixels.png": lambda: flat(7100, 7100),
        "50-megapixels.jpg": lambda: flat(7100, 7100, "JPEG", exif=turned),
        "50-megapixels.webp": lambda: flat(7100, 7100, "WEBP", method=0),
        "50-megapixels-rgba.png": lambda: encoded(Image.new("RGBA", (7100, 7100)), "PNG"),
    }


SAMPLES = [
    ("a.jpg", encoded(rgb(), "JPEG")),
    ("a.txt", b"a red circle"),
    ("long-" * 30 + ".png", encoded(rgb(1), "PNG")),
    ("c.json", b'{"caption": ["one", "two"]}'),
    ("d.webp", encoded(rgb(2), "WEBP")),
]


def header(name: bytes = b"a.jpg", size: int | bytes = 0, kind: bytes = b"0", link: bytes = b"") -> bytes:
    """A header block with a right checksum, whatever it says."""
    stated = size if isinstance(size, bytes) else b"%011o\0" % size
    block = bytearray(512)
    for at, data in (
        (0, name[:100]),
        (100, b"0000644\0"),
        (124, stated),
        (156, kind),
        (157, link),
        (257, b"ustar\x0000"),
    ):
        block[at : at + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def member(data: bytes, name: bytes = b"a.jpg", kind: bytes = b"0") -> bytes:
    """A header and what follows it."""
    return header(name, len(data), kind) + data + bytes(-len(data) % 512)


def sparse() -> bytes:
    """The header of an old sparse file whose map of holes goes on for two blocks."""
    block = bytearray(header(b"b.jpg", 512, b"S"))
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + b"1" * 504 + b"\1" + bytes(7) + b"1" * 504 + bytes(8)


END = bytes(1024)
GOOD = member(encoded(rgb(), "JPEG"), b"good.jpg")


def record(key: bytes, value: bytes) -> bytes:
    """A record of an extended header, which states its own length."""
    size = len(key) + len(value) + 3
    while len(str(size)) + len(key) + len(value) + 3 != size:
        size = len(str(size)) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (size, key, value)


def header_bombs() -> dict[str, tuple[bytes, int | None, int | None]]:
    """(archive, rows, good rows); no rows where the archive cannot be read on."""
    huge = b"x" * (3 << 20)
    two = header(b"b.jpg", b"\x80" + (1 << 60).to_bytes(11, "big"))
    return {
        "a long name of megabytes": (member(huge, kind=b"L") + GOOD + END, None, None),
        "a long link of megabytes": (member(huge, kind=b"K") + GOOD + END, None, None),
        "an extended header of megabytes": (member(record(b"path", huge), kind=b"x") + GOOD + END, None, None),
        "digits without an end": (member(b"1" * (1 << 20), kind=b"x") + GOOD + END, None, None),
        "digits below the limit": (member(b"1" * 1_000_000, kind=b"x") + GOOD + END, None, None),
        "ten thousand extended headers": (member(record(b"path", b"p"), kind=b"x") * 10_000 + GOOD + END, None, None),
        "a thousand extended headers": (member(record(b"path", b"p.jpg"), kind=b"x") * 1000 + GOOD + END, 1, 1),
        "a shared header for every member": (
            (member(record(b"k", b"v" * 9000), kind=b"g") + GOOD) * 300 + END,
            300,
            300,
        ),
        "a header of no member": (GOOD + member(record(b"path", b"p"), kind=b"x") + END, None, None),
        "a record of no length": (member(b"0 path=x\n", kind=b"x") + GOOD + END, None, None),
        "a record that is too long": (member(b"99 path=x\n", kind=b"x") + GOOD + END, None, None),
        "a record without a value": (member(b"7 path\n", kind=b"x") + GOOD + END, None, None),
        "a size of words": (member(record(b"size", b"many"), kind=b"x") + GOOD + END, None, None),
        "a size below zero": (member(record(b"size", b"-512"), kind=b"x") + GOOD + END, None, None),
        "a size beyond all": (member(record(b"size", b"9" * 18), kind=b"x") + GOOD + END, None, None),
        "a size of a thousand digits": (member(record(b"size", b"9" * 1000), kind=b"x") + GOOD + END, None, None),
        "an exabyte": (GOOD + two + b"12345", None, None),
        "a negative size": (GOOD + header(b"b.cls", b"\xff" * 12) + GOOD + END, None, None),
        "a size that is no number": (GOOD + header(b"b.jpg", b"0x10\0") + END, None, None),
        "no checksum": (GOOD + b"b.jpg".ljust(512, b"\0") + END, None, None),
        "an unknown kind": (GOOD + member(b"12345", b"b.jpg", b"Z") + GOOD + END, 3, 2),
        "a name without an end": (member(b"12345", b"n" * 100) + GOOD + END, None, 1),
        "an old sparse file": (GOOD + header(b"b.jpg", 512, b"S") + bytes(512) + GOOD + END, 3, 2),
        "an old sparse file with a long map": (GOOD + sparse() + bytes(512) + GOOD + END, 3, 2),
        "a sparse file": (
            member(record(b"GNU.sparse.realsize", b"9" * 15), kind=b"x") + member(b"5\n") + GOOD + END,
            2,
            1,
        ),
        "a sparse file without a map": (
            member(record(b"GNU.sparse.major", b"1"), kind=b"x") + member(b"5") + END,
            1,
            0,
        ),
        "a tar after a tar": (GOOD + END + GOOD + END, None, None),
        "zeros without an end": (GOOD + bytes(5 << 20), 1, 1),
        "a hole of zeros": (GOOD + bytes(512) + GOOD + END, None, None),
        "a name of a megabyte": (member(b"n" * 1_000_000 + b".jpg\0", kind=b"L") + GOOD + END, 1, 0),
        "a name of nothing": (member(b"12345", b"") + GOOD + END, 2, 1),
        "a name of dots": (member(b"12345", b"....jpg") + GOOD + END, 1, 1),
    }


def odd_members() -> dict[str, tuple[bytes, int, int]]:
    """(archive, rows, good rows): members that are no files, or whose names lead elsewhere."""
    image = encoded(rgb(), "JPEG")
    kinds = {"hard link": b"1", "symbolic link": b"2", "device": b"3", "disk": b"4", "pipe": b"6"}
    found = {
        f"a {what} to /etc/passwd": (header(b"l.jpg", 0, kind, b"/etc/passwd") + GOOD + END, 2, 1)
        for what, kind in kinds.items()
    }
    names = {
        "a name that leads up": b"../../../../tmp/nnn-hostile.jpg",
        "an absolute name": b"/tmp/nnn-hostile.jpg",
        "a name with a drive": b"C:\\nnn-hostile.jpg",
        "a name with line breaks": b"a\nb\x1b[31m.jpg",
    }
    found |= {what: (member(image, name) + GOOD + END, 2, 2) for what, name in names.items()}
    found["a name that is no UTF-8"] = (member(image, b"caf\xe9.jpg") + GOOD + END, 2, 1)
    found["a folder"] = (header(b"folder.jpg/", 0, b"5") + GOOD + END, 1, 1)
    found["a folder of the old kind"] = (header(b"folder.jpg/", 0, b"\0") + GOOD + END, 1, 1)
    found["a pickle"] = (member(pickle.dumps(object), b"x.pkl") + GOOD + END, 2, 1)
    found["only a pickle"] = (member(pickle.dumps(object), b"x.pyd") + END, 1, 0)
    return found


def bomb(size: int, head: bytes = b"", tail: bytes = b"") -> bytes:
    """A gzip file of ``size`` zeros or so, put together from the same piece."""
    step = 16 << 20
    return gzip.compress(head) + gzip.compress(bytes(step), 9) * (size // step) + gzip.compress(tail)


def tar_cases() -> Iterator[Case]:
    whole = make_tar(SAMPLES, tarfile.PAX_FORMAT)
    end = len(whole.rstrip(b"\0")) + 512
    for length in range(0, end - 512, 512):
        for modality in ("image", "text"):
            yield Case(f"{modality}s of a tar cut at {length}", "cut.tar", lambda n=length: whole[:n], modality)
    packed = gzip.compress(whole)
    for length in range(0, len(packed), max(1, len(packed) // 24)):
        yield Case(f"a tar.gz cut at {length}", "cut.tar.gz", lambda n=length: packed[:n])
    yield Case("a whole tar", "whole.tar", lambda: whole, rows=4, accepted=3)
    yield Case("a whole tar.gz", "whole.tgz", lambda: packed, rows=4, accepted=3)
    for name, (data, rows, accepted) in {**header_bombs(), **odd_members()}.items():
        yield Case(name, "odd.tar", lambda d=data: d, rows=rows, accepted=accepted)
        yield Case(f"{name}, gzipped", "odd.tar.gz", lambda d=data: gzip.compress(d), rows=rows, accepted=accepted)
    yield Case("a tar.gz of a gigabyte", "bomb.tar.gz", lambda: bomb(1 << 30, header(b"a.jpg", 1 << 30), END))
    yield Case("a tar.gz with a gigabyte behind it", "bomb.tar.gz", lambda: bomb(1 << 30, GOOD + END))
    yield Case("a tar.gz of headers", "bomb.tar.gz", lambda: gzip.compress(header() * 20_000 + END))
    yield Case("no gzip", "none.tar.gz", lambda: whole)
    yield Case("gzip that is no tar", "none.tgz", lambda: gzip.compress(b"x" * 3000))
    yield Case("a damaged gzip", "bad.tar.gz", lambda: packed[:200] + b"\xff" * 20 + packed[220:])
    texts = {"a.json": b"{", "b.json": b"\xff\xfe", "c.txt": b"\xff", "d.json": b"[" * 200_000, "e.json": b"9" * 9999}
    texts |= {
        "f.json": b'{"caption": NaN}',
        "g.txt": b"",
        "h.json": b'{"caption": {"a": 1}}',
        "i.txt": b"x" * (17 << 20),
    }
    yield Case("texts", "texts.tar", lambda: make_tar(list(texts.items())), "text", rows=9, accepted=0)
    yield Case(
        "ids that are none",
        "ids.tar",
        lambda: make_tar(SAMPLES, tarfile.PAX_FORMAT),
        columns={"id": "url"},
        rows=4,
        accepted=0,
    )


def image_cases() -> Iterator[Case]:
    for name, data in good_images().items():
        yield Case(
            name, "image.tar", lambda n=name, d=data: make_tar([(n.replace(".", "-") + "." + n[-3:], d)]), rows=1
        )
        yield Case(f"file {name}", name, lambda d=data: d, rows=1)
    for name, data in bad_images().items():
        yield Case(name, "image.tar", lambda n=name, d=data: make_tar([(n, d)]), rows=1, accepted=0)
        yield Case(f"file {name}", name, lambda d=data: d, rows=1, accepted=0)
    for name, make in large_images().items():
        yield Case(name, name, make, rows=1, accepted=1)
    everything = {**good_images(), **bad_images()}
    numbered = [(f"{place}.{name.rpartition('.')[2]}", data) for place, (name, data) in enumerate(everything.items())]
    yield Case("all of them", "image.tar", lambda: make_tar(numbered), rows=len(numbered))


def table(columns: dict[str, Any], **options: Any) -> bytes:
    """A Parquet file."""
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


def repeated(column: str, value: Any, rows: int = 600) -> bytes:
    """A table of one value many times, which the file holds once."""
    values = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))
    return table({"id": [str(row) for row in range(rows)], column: values}, store_schema=False)


def parquet_cases() -> Iterator[Case]:
    image = encoded(rgb(), "PNG")
    keys = [str(number) for number in range(8)]
    failed = {
        "key": keys,
        "jpg": [image, None] * 4,
        "status": ["success", "failed"] * 4,
        "error_message": [None, "404"] * 4,
    }
    structs = [
        {"bytes": image, "path": "a.png"},
        {"bytes": None, "path": "/etc/passwd"},
        None,
        {"bytes": b"", "path": None},
    ]
    yield Case("NULL images", "i.parquet", lambda: table(failed), rows=8, accepted=4)
    yield Case(
        "images that are elsewhere", "i.parquet", lambda: table({"id": keys[:4], "image": structs}), rows=4, accepted=1
    )
    yield Case(
        "only NULL images",
        "i.parquet",
        lambda: table({"key": keys, "png": pa.nulls(8, pa.binary())}),
        rows=8,
        accepted=0,
    )
    yield Case("images that are text", "i.parquet", lambda: table({"key": keys, "jpg": keys}))
    yield Case(
        "images that are numbers", "i.parquet", lambda: table({"key": keys, "img": [1] * 8}), columns={"image": "img"}
    )
    yield Case(
        "no rows",
        "i.parquet",
        lambda: table({"key": pa.array([], pa.string()), "jpg": pa.array([], pa.binary())}),
        rows=0,
    )
    yield Case(
        "one large image many times",
        "i.parquet",
        lambda: repeated("jpg", image + bytes(1 << 20)),
        rows=600,
        accepted=600,
    )
    whole = table({"id": keys, "vector": [[1.0, 2.0]] * 8, "caption": ["x"] * 8})
    for part in range(20):
        yield Case(f"a table cut at {part} twentieths", "t.parquet", lambda n=part: whole[: len(whole) * n // 20])
    for place in range(4, 200, 7):
        yield Case(
            f"a footer with a wrong byte {place} from its end",
            "t.parquet",
            lambda n=place: whole[:-n] + bytes([whole[-n] ^ 0x55]) + whole[len(whole) - n + 1 :],
            "text",
            {"vector": "vector"},
        )
    for size in (0, 1, 1 << 20, (1 << 32) - 1):
        yield Case(f"a footer of {size} bytes", "t.parquet", lambda n=size: whole[:-8] + struct.pack("<I", n) + b"PAR1")
    yield Case("vectors and captions", "t.parquet", lambda: whole, "text")
    nulls = {"id": [*keys[:7], None], "vector": [[1.0], None, [None], [float("nan")], [1.0, 2.0], [0.0], [], [1.0]]}
    yield Case("bad vectors", "v.parquet", lambda: table(nulls), rows=8, accepted=1)
    broken = pa.array([b"\xff\xfe"] * 8).view(pa.string())
    yield Case("captions that are no UTF-8", "c.parquet", lambda: table({"id": keys, "caption": broken}), "text")
    yield Case(
        "one large caption many times", "c.parquet", lambda: repeated("caption", "x" * (1 << 20)), "text", rows=600
    )
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    letters = "".join(np.random.default_rng(0).choice(list("abcdefghijklmnopqrstuvwxyz"), 1 << 20))
    yield Case("a word of a megabyte", "c.parquet", lambda: table({"id": ["a"], "caption": [letters]}), "text", rows=1)
    yield Case("deep lists", "c.parquet", lambda: table({"id": ["a"], "caption": [deep]}), "text", rows=1, accepted=0)
    tar = make_tar(SAMPLES, tarfile.PAX_FORMAT)
    yield Case(
        "metadata beside a tar that is none",
        "m.tar",
        lambda: tar,
        columns={"id": "url"},
        beside={"m.parquet": b"PAR1 broken"},
    )
    urls = {"key": ["a", "d", "x"], "url": ["u", None, "w"]}
    yield Case(
        "metadata beside a tar that lacks a key",
        "m.tar",
        lambda: tar,
        columns={"id": "url"},
        rows=4,
        accepted=1,
        beside={"m.parquet": table(urls)},
    )


def arrow(
    columns: dict[str, Any] | pa.Table, compression: str | None = None, stream: bool = False, rows: int = 3
) -> bytes:
    """An Arrow file or stream, so many rows together."""
    sink, made = io.BytesIO(), columns if isinstance(columns, pa.Table) else pa.table(columns)
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, made.schema, options=options) as writer:
        writer.write_table(made, max_chunksize=rows)
    return sink.getvalue()


def arrow_cases() -> Iterator[Case]:
    keys, image = [str(number) for number in range(8)], encoded(rgb(), "PNG")
    columns = {"id": keys, "caption": ["x"] * 8, "image": [{"bytes": image, "path": None}] * 7 + [None]}
    for name, whole in {
        "file": arrow(columns),
        "stream": arrow(columns, stream=True),
        "packed file": arrow(columns, "zstd"),
    }.items():
        yield Case(f"a whole Arrow {name}", "a.arrow", lambda w=whole: w, rows=8, accepted=7)
        for part in range(20):
            yield Case(
                f"an Arrow {name} cut at {part} twentieths", "a.arrow", lambda w=whole, n=part: w[: len(w) * n // 20]
            )
    zeros = pa.array([bytes(64 << 20)])
    wide = {"id": ["a"], "image": zeros} | {f"more {number}": zeros for number in range(16)}
    yield Case("a gigabyte in an Arrow file", "a.arrow", lambda: arrow(wide, "zstd"))
    packed = arrow({"id": keys, "caption": ["x" * 100_000] * 8}, "zstd")
    size = struct.pack("<q", 300_000)
    for promised in (1 << 30, 1 << 40, (1 << 63) - 1, -2):
        lie = packed.replace(size, struct.pack("<q", promised))
        yield Case(f"captions that promise {promised} bytes", "a.arrow", lambda d=lie: d, "text")
    for length in (1 << 30, -1):
        head = b"\xff" * 4 + struct.pack("<i", length)
        yield Case(f"an Arrow header of {length} bytes", "a.arrow", lambda h=head: h + bytes(100))
        yield Case(f"an Arrow file's header of {length} bytes", "a.arrow", lambda h=head: b"ARROW1\0\0" + h + b"ARROW1")
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 600, pa.int32()), pa.array(["x" * (1 << 20)]))
    large = {"id": [str(row) for row in range(600)], "caption": values}
    yield Case("one large caption many times in Arrow", "c.arrow", lambda: arrow(large), "text", rows=600)
    broken = pa.array([b"\xff\xfe"] * 8).view(pa.string())
    yield Case("captions of Arrow that are no UTF-8", "c.arrow", lambda: arrow({"id": keys, "caption": broken}), "text")
    offsets = struct.pack("<9i", *range(9))
    beyond = arrow({"id": keys, "caption": ["x"] * 8}, rows=8).replace(
        offsets, struct.pack("<9i", *range(0, 9000, 1000))
    )
    yield Case("captions beyond their buffer", "c.arrow", lambda: beyond, "text")
    evil = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(Touch())}
    schema = pa.schema([("id", pa.string()), pa.field("caption", pa.string(), metadata=evil)])
    code = pa.table([keys, ["x"] * 8], schema=schema)
    yield Case("a type that is a pickle", "c.arrow", lambda: arrow(code), "text")


class Touch:
    """What leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("/tmp/nnn-hostile.jpg", "w"))


def npy(text: bytes, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + size + text + body


def npy_cases() -> Iterator[Case]:
    ids = table({"id": ["a", "b"]})
    sink = io.BytesIO()
    np.save(sink, np.array([object(), object()], dtype=object), allow_pickle=True)
    good = io.BytesIO()
    np.save(good, np.ones((2, 2), np.float32))
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"
    files = {
        "objects": sink.getvalue(),
        "a pickle": pickle.dumps([1, 2]),
        "nothing": b"",
        "a magic alone": b"\x93NUMPY",
        "no such version": npy(head, bytes(16), b"\x09\x00"),
        "too few values": npy(head, bytes(15)),
        "too many values": npy(head, bytes(17)),
        "negative rows": npy(head.replace(b"(2, 2)", b"(-2, -2)"), bytes(16)),
        "rows beyond all": npy(head.replace(b"(2, 2)", b"(%d, 2)" % (1 << 62)), bytes(16)),
        "no rows": npy(head.replace(b"(2, 2)", b"(0, 2)")),
        "no columns": npy(head.replace(b"(2, 2)", b"(2, 0)")),
        "one dimension": npy(head.replace(b"(2, 2)", b"(4,)"), bytes(16)),
        "rows of no number": npy(head.replace(b"(2, 2)", b"('a', 2)"), bytes(16)),
        "Fortran order": npy(head.replace(b"False", b"True"), bytes(16)),
        "whole numbers": npy(head.replace(b"<f4", b"<i4"), bytes(16)),
        "no such type": npy(head.replace(b"<f4", b"<zz"), bytes(16)),
        "a record type": npy(head.replace(b"'<f4'", b"[('a', '<f4')]"), bytes(16)),
        "complex numbers": npy(head.replace(b"<f4", b"<c8"), bytes(32)),
        "code": npy(b"__import__('os').system('touch /tmp/nnn-hostile')"),
        "deep brackets": npy(b"(" * 60_000),
        "a header of a gigabyte": npy(b"", b"", b"\x02\x00")[:8] + struct.pack("<I", 1 << 30) + b"{",
        "a header that is no text": npy(b"\xff" * 100, bytes(16)),
        "NaN": npy(head, np.full(4, np.nan, "<f4").tobytes()),
        "zeros": npy(head, bytes(16)),
    }
    for name, data in files.items():
        yield Case(f"an array of {name}", "img_emb_0.npy", lambda d=data: d, beside={"metadata_0.parquet": ids})
    for length in range(0, len(good.getvalue()), 16):
        cut = good.getvalue()[:length]
        yield Case(f"an array cut at {length}", "img_emb_0.npy", lambda d=cut: d, beside={"metadata_0.parquet": ids})
    for name, metadata in {"broken": b"PAR1", "short": table({"id": ["a"]}), "none": None}.items():
        beside = {"metadata_0.parquet": metadata} if metadata is not None else {}
        yield Case(f"an array whose metadata is {name}", "img_emb_0.npy", good.getvalue, beside=beside)


def text_cases() -> Iterator[Case]:
    lines = b'{"id": "a", "caption": "x"}\n'
    yield Case(
        "lines", "t.jsonl", lambda: lines + b"{\n[]\n\xff\nnull\n" + lines + b"[" * 100_000, "text", rows=7, accepted=2
    )
    yield Case("a line without an end", "t.jsonl", lambda: b'{"id": "' + b"x" * (20 << 20), "text", rows=1, accepted=0)
    yield Case("zeros", "t.jsonl", lambda: bytes(1 << 20), "text", rows=1, accepted=0)
    yield Case(
        "numbers beyond all", "t.jsonl", lambda: b'{"id": 1' + b"0" * 9000 + b', "caption": "x"}', "text", rows=1
    )
    yield Case("a bomb of lines", "t.jsonl.gz", lambda: bomb(1 << 30), "text")
    yield Case("a bomb in Zstandard", "t.jsonl.zst", lambda: zstandard.compress(bytes(16 << 20)) * 64, "text")
    packed = zstandard.compress(lines * 40)
    for length in range(0, len(packed), 8):
        yield Case(f"lines in Zstandard cut at {length}", "t.jsonl.zst", lambda n=length: packed[:n], "text")
    yield Case("a window of two gigabytes", "t.jsonl.zst", lambda: b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(20), "text")
    picture = '{"id": "a", "image": "' + "A" * (12 << 20) + '"}\n'
    yield Case("an image of zeros in base64", "t.jsonl", picture.encode, columns={"image": "image"}, rows=1, accepted=0)
    for suffix, mark in (("tsv", b"\t"), ("csv", b",")):
        head = mark.join([b"id", b"caption"]) + b"\n"
        good = mark.join([b"a", b"x"]) + b"\n"
        broken = (
            head
            + good
            + b"b\n"
            + mark.join([b"c", b"\xff"])
            + b"\n"
            + mark.join([b"", b"y"])
            + b"\n"
            + mark * 9
            + b"\n"
        )
        yield Case(f"fields as {suffix}", f"t.{suffix}", lambda d=broken: d, "text", rows=5, accepted=1)
        yield Case(f"no header as {suffix}", f"t.{suffix}", lambda: b"", "text")
        yield Case(f"a header of bytes as {suffix}", f"t.{suffix}", lambda d=good: b"\xff\n" + d, "text")
        yield Case(f"a line without an end as {suffix}", f"t.{suffix}", lambda h=head: h + b"x" * (20 << 20), "text")
        yield Case(f"a bomb as {suffix}", f"t.{suffix}.gz", lambda h=head: bomb(1 << 30, h), "text")
    yield Case("a quote without an end", "t.csv", lambda: b'id,caption\na,"x\n' * 50_000, "text")
    for name, data in {
        "nothing": b"",
        "a list": b"[]",
        "no lists": b"{}",
        "half a file": b'{"images": [{"id": 1}], "annotations": [{"image_id": 1, "id": 2, "capt',
        "deep": b'{"images": [' + b"[" * 100_000,
        "an element without an end": b'{"annotations": [{"caption": "' + b"x" * (20 << 20),
        "odd elements": b'{"images": [1, null, {}], "annotations": [{}, 7, {"id": [], "image_id": {}, "caption": 3}]}',
        "bytes": b'{"images": [], "annotations": [{"id": 1, "image_id": 1, "caption": "\xff"}]}',
    }.items():
        yield Case(f"JSON: {name}", "captions.json", lambda d=data: d, "text")


def cases() -> list[Case]:
    """All of them."""
    return [*tar_cases(), *image_cases(), *parquet_cases(), *arrow_cases(), *npy_cases(), *text_cases()]


class _HangError(Exception):
    """A shard took too long."""


def embed(case: Case, folder: Path, encoder: Any) -> dict[str, Any]:
    """What becomes of one shard: rows accepted and rejected, or the error's class."""
    from nnn_core.embedded.embedding import EmbeddingRequest, embed_shard
    from nnn_core.errors import InputError
    from nnn_core.inputs.listing import describe_shard, list_shards
    from nnn_core.inputs.readers import Columns

    folder.mkdir(parents=True)
    for name, data in {case.file: case.make(), **case.beside}.items():
        (folder / name).write_bytes(data)
    request = EmbeddingRequest(case.modality, Columns(**case.columns), "demo", str(folder / "work"))  # type: ignore[arg-type]
    try:
        (shard,) = list_shards(str(folder / case.file), "--candidates")
        planned = request.plan(describe_shard(shard))
        result = embed_shard(planned, request, None if planned.precomputed else encoder)
    except InputError as error:
        return {"outcome": "refused", "message": str(error)}
    reasons = {reason: count for reason, count, _ in result.rejects.reasons}
    rows = sum(shard.rows for shard in result.shards)
    return {"outcome": "read", "accepted": rows, "rejected": result.rejects.rejected, "reasons": reasons}


def attempt(case: Case, folder: Path, encoder: Any) -> dict[str, Any]:
    """``embed`` within ``SECONDS``; what it must not do is an outcome too."""

    def hang(*_: object) -> None:
        raise _HangError

    signal.signal(signal.SIGALRM, hang)
    begin = time.monotonic()
    signal.alarm(SECONDS)
    try:
        outcome = embed(case, folder, encoder)
    except _HangError:
        outcome = {"outcome": "hang"}
    except Exception as error:
        outcome = {"outcome": "crash", "message": repr(error)}
    finally:
        signal.alarm(0)
    return {
        "name": case.name,
        "file": case.file,
        "seconds": round(time.monotonic() - begin, 2),
        **outcome,
        "peak_mib": peak(),
    }


def peak() -> int:
    """The most memory that this process has had in use, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def verdict(case: Case, outcome: dict[str, Any]) -> str | None:
    """What is wrong with an outcome, if anything is."""
    if outcome["outcome"] in ("crash", "hang"):
        return f"{outcome['outcome']}: {outcome.get('message', '')}"
    if outcome["outcome"] == "refused":
        return None if case.rows is None else f"refused: {outcome['message']}"
    read = outcome["accepted"] + outcome["rejected"]
    if case.rows is not None and read != case.rows:
        return f"{read} rows read of {case.rows}: {outcome}"
    if case.accepted is not None and outcome["accepted"] != case.accepted:
        return f"{outcome['accepted']} rows accepted, not {case.accepted}: {outcome}"
    return None


def main(folder: Path, part: int, parts: int) -> None:
    """Every shard, or one in ``parts`` of them."""
    from nnn_core.encoders import load_once, parse_encoder

    warnings.simplefilter("ignore")
    encoder = load_once(parse_encoder(f"open_clip:local-dir:{files('nnn_core') / 'demo' / 'encoder'}"))
    # A sound shard first: what it takes is that of libraries, which are loaded as they are needed.
    embed(next(case for case in cases() if case.name == "a whole tar"), folder / "sound", encoder)
    idle = peak()
    for number, case in enumerate(cases()[part::parts]):
        outcome = attempt(case, folder / str(number), encoder)
        print(json.dumps({**outcome, "wrong": verdict(case, outcome)}), flush=True)
    print(json.dumps({"idle_mib": idle, "peak_mib": peak()}))


if __name__ == "__main__":
    first, count = sys.argv[2].split("/") if len(sys.argv) > 2 else ("0", "1")
    main(Path(sys.argv[1]), int(first), int(count))
