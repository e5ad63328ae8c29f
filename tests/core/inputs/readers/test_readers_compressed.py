"""Compressed input: the same bytes as decompressed, and nothing that a damaged or hostile file could do."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from fakes import make_tar

from nnn_core.errors import InputError
from nnn_core.inputs.readers import _compressed as compressed
from nnn_core.inputs.readers._compressed import open_decompressed

Pack = Callable[[bytes], bytes]

PACKERS = pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("zst", zstandard.compress)])

TEXT = b"".join(b"line %d\n" % number for number in range(50_000))


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("name", ["a.txt.gz", "A.TXT.GZ"])
def test_a_compressed_file_reads_as_what_it_holds(tmp_path: Path, name: str) -> None:
    with open_decompressed(write(tmp_path / name, gzip.compress(TEXT))) as stream:
        assert list(stream) == TEXT.splitlines(keepends=True)


@PACKERS
def test_a_compressed_file_is_told_by_its_first_bytes(tmp_path: Path, suffix: str, pack: Pack) -> None:
    with open_decompressed(write(tmp_path / "a.txt", pack(TEXT))) as stream:
        assert stream.read() == TEXT


def test_any_other_file_reads_as_it_is(tmp_path: Path) -> None:
    with open_decompressed(write(tmp_path / "a.txt", TEXT)) as stream:
        assert stream.read() == TEXT


def test_zstandard_reads_as_what_it_holds(tmp_path: Path) -> None:
    """Also of several frames, as parallel compressors write them, and from a stream of unknown length."""
    sink = io.BytesIO()
    with zstandard.ZstdCompressor(write_checksum=True).stream_writer(sink, closefd=False) as writer:
        writer.write(TEXT)
    data = sink.getvalue() + zstandard.compress(b"more")
    with open_decompressed(write(tmp_path / "A.TXT.ZST", data)) as stream:
        assert stream.read() == TEXT + b"more"


def test_members_one_after_another_are_one_content(tmp_path: Path) -> None:
    data = gzip.compress(TEXT) + gzip.compress(b"") + gzip.compress(b"more")
    with open_decompressed(write(tmp_path / "a.gz", data)) as stream:
        assert stream.read() == TEXT + b"more"


@PACKERS
@pytest.mark.parametrize("kept", [0.001, 0.5, 0.99, 0.9999])
def test_a_file_cut_short_is_an_error(tmp_path: Path, suffix: str, pack: Pack, kept: float) -> None:
    data = pack(TEXT)
    uri = write(tmp_path / f"cut.{suffix}", data[: int(len(data) * kept)])
    message = rf"cut\.{suffix}' cannot be decompressed .*(ended|Truncated)"
    with open_decompressed(uri) as stream, pytest.raises(InputError, match=message):
        stream.read()


def test_damage_is_an_error_at_its_byte(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(TEXT))
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    with open_decompressed(write(tmp_path / "bad.gz", bytes(data))) as stream:
        assert stream.read(1000) == TEXT[:1000]
        with pytest.raises(InputError, match=r"bad\.gz' cannot be decompressed beyond byte [\d,]+ of its content"):
            stream.read()


def test_a_wrong_checksum_is_an_error(tmp_path: Path) -> None:
    packed = {"gz": gzip.compress(TEXT), "zst": zstandard.ZstdCompressor(write_checksum=True).compress(TEXT)}
    for suffix, data in packed.items():
        bad = data[:-6] + bytes([data[-6] ^ 1]) + data[-5:] if suffix == "gz" else data[:-1] + bytes([data[-1] ^ 1])
        uri = write(tmp_path / f"bad.{suffix}", bad)
        with open_decompressed(uri) as stream, pytest.raises(InputError, match=r"CRC|checksum"):
            stream.read()


@PACKERS
@pytest.mark.parametrize("data", [b"id\tcaption\n", b"\x1f\x8b", b"x"])
def test_what_is_not_as_its_name_says_is_an_error(tmp_path: Path, suffix: str, pack: Pack, data: bytes) -> None:
    uri = write(tmp_path / f"a.{suffix}", data)
    with open_decompressed(uri) as stream, pytest.raises(InputError, match="decompressed"):
        stream.read()


@PACKERS
def test_a_bomb_is_refused_before_it_fills_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, pack: Pack
) -> None:
    monkeypatch.setattr(compressed, "_BOMB_BYTES", 1 << 20)
    uri = write(tmp_path / f"bomb.{suffix}", pack(bytes(64 << 20)))
    pieces: list[int] = []
    message = rf"bomb\.{suffix}' decompresses to more than 200 times"
    with open_decompressed(uri) as stream, pytest.raises(InputError, match=message):
        pieces.extend(len(data) for data in iter(lambda: stream.read(1 << 16), b""))
    assert 0 < sum(pieces) < 5 << 20


def test_a_small_file_may_shrink_as_far_as_it_likes(tmp_path: Path) -> None:
    with open_decompressed(write(tmp_path / "zeros.gz", gzip.compress(bytes(10 << 20), 9))) as stream:
        assert len(stream.read()) == 10 << 20


@PACKERS
def test_tarfile_reads_the_stream_forward(tmp_path: Path, suffix: str, pack: Pack) -> None:
    members = [(f"{number}.jpg", bytes([number]) * 700 * number) for number in range(1, 40)]
    uri = write(tmp_path / f"a.tar.{suffix}", pack(make_tar(members)))
    with open_decompressed(uri) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        assert [(m.name, archive.extractfile(m).read()) for m in archive] == members  # type: ignore[union-attr]


@PACKERS
def test_the_stream_skips_forward_but_not_back(tmp_path: Path, suffix: str, pack: Pack) -> None:
    with open_decompressed(write(tmp_path / f"a.{suffix}", pack(TEXT))) as stream:
        assert stream.seek(400_000) == stream.tell() == 400_000
        assert stream.read(10) == TEXT[400_000:400_010]
        with pytest.raises(io.UnsupportedOperation, match="only be read forward"):
            stream.seek(0)
        assert stream.seek(len(TEXT) + 5) == len(TEXT)
        assert stream.read() == b""
