"""Encoders of other people: by a function's name, and by an entry point."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from nnn_core.encoders import _foreign as foreign
from nnn_core.encoders import load_once, parse_encoder
from nnn_core.encoders.fingerprints import PROBES, differing
from nnn_core.encoders.probes import from_text, recorded
from nnn_core.errors import ConfigError, InputError

MODULE = """
import hashlib

import numpy as np


class Hashes:
    batch_size = 1

    def __init__(self, salt="", version="1"):
        self.salt, self.version = salt, version

    def _vector(self, data):
        digest = hashlib.sha256(self.salt.encode() + data).digest()
        return np.frombuffer(digest, np.uint8).astype(np.float32)

    def preprocess_image(self, data):
        return data

    def encode_images(self, images):
        assert len(images) <= self.batch_size
        return np.stack([self._vector(data) for data in images])

    def encode_texts(self, texts):
        assert len(texts) <= self.batch_size
        return np.stack([self._vector(text.encode()) for text in texts])


def load(argument=""):
    salt, _, version = argument.partition(",")
    return Hashes(salt, version or "1")


def empty():
    return object()


def unversioned():
    return Hashes("", "")


def broken():
    raise RuntimeError("no weights")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "their_encoder.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_encoder", raising=False)
    return "their_encoder"


def install(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    points = [EntryPoint("theirs", value, foreign.ENTRY_POINTS) for value in values]

    def entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
        return [point for point in points if group == point.group and name in (None, point.name)]

    monkeypatch.setattr(foreign, "entry_points", entry_points)


def test_a_function_by_its_name(module: str) -> None:
    source = parse_encoder(f"python:{module}:load")
    vectors = load_once(source).encode_texts(["a red circle"])
    assert vectors.shape == (1, 32)
    assert len(from_text(recorded(source)[PROBES])) == 4


def test_what_an_encoder_leaves_out_is_said_for_it(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = parse_encoder(f"python:{module}:load").load()
    assert (loaded.concurrent, loaded.truncated) == (False, 0)
    monkeypatch.setattr(sys.modules[module].Hashes, "concurrent", True, raising=False)
    monkeypatch.setattr(sys.modules[module].Hashes, "truncated", property(lambda self: 3), raising=False)
    assert (loaded.concurrent, loaded.truncated) == (True, 3)


def test_an_argument_may_hold_colons_and_is_no_part_of_the_fingerprint(module: str) -> None:
    one, other = (recorded(parse_encoder(f"python:{module}:load:{salt}")) for salt in ("", "s3://b/x"))
    assert differing(one, other) == (PROBES,)


def test_another_version_is_another_encoder(module: str) -> None:
    one, other = (parse_encoder(f"python:{module}:load:,{version}").fingerprint for version in "12")
    assert one.digest != other.digest


def test_an_entry_point_has_a_scheme_of_its_own(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, f"{module}:load")
    assert parse_encoder("theirs:salt").load().encode_texts(["x"]).shape == (1, 32)
    with pytest.raises(ConfigError, match=r"theirs:\.\.\."):
        parse_encoder("other:salt")
    with pytest.raises(ConfigError, match="is not understood"):
        parse_encoder("theirs:")


def test_two_packages_with_one_scheme_are_refused(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, f"{module}:load", f"{module}:empty")
    with pytest.raises(ConfigError, match="several installed packages"):
        parse_encoder("theirs:x")


def test_a_broken_entry_point_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "no_such_module:load")
    with pytest.raises(ConfigError, match="'no_such_module:load' cannot be loaded"):
        parse_encoder("theirs:x")


def test_a_worker_with_another_version_refuses(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = parse_encoder(f"python:{module}:load")
    monkeypatch.setattr(sys.modules[module].Hashes, "batch_size", 2)
    source.load()
    monkeypatch.setattr(sys.modules[module], "load", lambda: sys.modules[module].Hashes("", "2"))
    with pytest.raises(InputError, match="differs from the one that the job was started with"):
        source.load()


@pytest.mark.parametrize(
    ("rest", "error", "message"),
    [
        ("their_encoder", ConfigError, "names no function"),
        ("their_encoder:", ConfigError, "names no function"),
        ("no_such_module:load", ConfigError, "No module named"),
        ("their_encoder:nothing", ConfigError, "'nothing' of 'their_encoder' cannot be imported"),
        ("their_encoder:broken", InputError, "no weights"),
        ("their_encoder:empty", ConfigError, "without preprocess_image, encode_images, encode_texts, batch_size"),
        ("their_encoder:unversioned", ConfigError, r"without version \(a string"),
    ],
)
def test_what_cannot_work(module: str, rest: str, error: type[Exception], message: str) -> None:
    assert module
    with pytest.raises(error, match=message):
        parse_encoder(f"python:{rest}")


def test_precision_is_the_encoders_own_matter(module: str) -> None:
    with pytest.raises(ConfigError, match="through the encoder's argument"):
        parse_encoder(f"python:{module}:load", "float16")
