"""Encoders: what turns images and captions into vectors, named by a SPEC and known by a fingerprint."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from nnn_core.errors import ConfigError
from nnn_core.vectors import FloatMatrix

#: Fingerprint of a side whose vectors were computed elsewhere.
PRECOMPUTED = "precomputed"


class Encoder(Protocol):
    """A loaded model."""

    batch_size: int

    def preprocess_image(self, data: bytes) -> Any:
        """One encoded image to what ``encode_images`` takes; called from several threads.

        Raises:
            ValueError: not an image that can be decoded; the row is rejected with this message.
        """

    def encode_images(self, images: Sequence[Any]) -> FloatMatrix:
        """(n, dim) float32 of up to ``batch_size`` preprocessed images, not necessarily unit."""

    def encode_texts(self, texts: Sequence[str]) -> FloatMatrix:
        """(n, dim) float32 of up to ``batch_size`` captions, not necessarily unit."""


@dataclass(frozen=True)
class Fingerprint:
    """What a vector depends on besides its input. Two equal fingerprints give comparable vectors.

    Attributes:
        weights: SHA-256 of the checkpoint.
        architecture: SHA-256 of the model's configuration.
        preprocessing: SHA-256 of the image preprocessing.
        tokenizer: SHA-256 of the tokenizer's settings and files.
    """

    weights: str
    architecture: str
    preprocessing: str
    tokenizer: str

    @property
    def digest(self) -> str:
        """One digest over all parts (40 hex digits)."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:40]


class EncoderSource(Protocol):
    """A model that is named but not loaded: small, hashable, picklable, built on the driver."""

    @property
    def fingerprint(self) -> Fingerprint:
        """Computed from the checkpoint's files, without loading the model."""

    def load(self) -> Encoder:
        """Load the model in this process.

        Raises:
            InputError: the files here are not those of ``fingerprint``.
        """


_LOADED: dict[EncoderSource, Encoder] = {}
_LOADING = threading.Lock()


def load_once(source: EncoderSource) -> Encoder:
    """The loaded model of ``source``, one for this process, whoever asks.

    Raises:
        InputError: see ``EncoderSource.load``.
    """
    with _LOADING:
        if source not in _LOADED:
            _LOADED.clear()
            _LOADED[source] = source.load()
        return _LOADED[source]


def parse_encoder(spec: str) -> EncoderSource:
    """The encoder that ``--encoder`` names.

    Args:
        spec: ``open_clip:MODEL/PRETRAINED`` (a pretrained tag or the path of a checkpoint) or
            ``open_clip:local-dir:DIR``.

    Raises:
        ConfigError: an unknown scheme or an incomplete spec.
        InputError: the files it names cannot be found.
    """
    scheme, _, rest = spec.partition(":")
    if scheme != "open_clip" or not rest:
        raise ConfigError(
            f"--encoder {spec!r} is not understood; write open_clip:MODEL/PRETRAINED_TAG, "
            "open_clip:MODEL//path/to/checkpoint, or open_clip:local-dir:DIRECTORY."
        )
    from nnn_core.encoders.open_clip import OpenClipSource

    return OpenClipSource.parse(rest)
