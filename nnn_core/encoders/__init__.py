"""Encoders: what turns images and captions into vectors, named by a SPEC and known by a fingerprint."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from typing import Any, Protocol

from nnn_core.encoders.prompts import NO_PROMPTS
from nnn_core.errors import ConfigError, InputError
from nnn_core.vectors import FloatMatrix

#: Fingerprint of a side whose vectors were computed elsewhere.
PRECOMPUTED = "precomputed"


class Encoder(Protocol):
    """A loaded model."""

    batch_size: int

    @property
    def concurrent(self) -> bool:
        """Whether several threads may encode at the same time, each on a processor core of its own."""

    @property
    def truncated(self) -> int:
        """Captions of which the calling thread has encoded a part only, because the model takes no more."""

    def preprocess_image(self, data: bytes) -> Any:
        """One encoded image to what ``encode_images`` takes; called from several threads.

        Raises:
            ValueError: not an image that can be decoded; the row is rejected with this message.
        """

    def encode_images(self, images: Sequence[Any]) -> FloatMatrix:
        """(n, dim) float32 of up to ``batch_size`` preprocessed images, not necessarily unit."""

    def encode_texts(self, texts: Sequence[str]) -> FloatMatrix:
        """(n, dim) float32 of up to ``batch_size`` captions, not necessarily unit."""


FLOAT32 = "float32"

#: What a model may compute in.
PRECISIONS = (FLOAT32, "bfloat16", "float16")


@dataclass(frozen=True)
class Fingerprint:
    """What a vector depends on besides its input. Two equal fingerprints give comparable vectors.

    A manifest records it by part, together with the vectors of the probes (see ``encoders.probes``).

    Attributes:
        weights: SHA-256 of the checkpoint.
        architecture: SHA-256 of the model's configuration.
        preprocessing: SHA-256 of the image preprocessing.
        tokenizer: SHA-256 of the tokenizer's settings and files.
        precision: precision of the model's arithmetic, one of ``PRECISIONS``; vectors are float32 in any case.
        prompts: what is written around captions, as JSON from ``Prompts.to_json``.
    """

    weights: str
    architecture: str
    preprocessing: str
    tokenizer: str
    precision: str = FLOAT32
    prompts: str = NO_PROMPTS

    @property
    def digest(self) -> str:
        """One digest over the loaded model (40 hex digits); prompts are not its own, but each side's.

        The precision that was once the only one is left out, so that vectors of that time are found again.
        """
        parts = {name: value for name, value in asdict(self).items() if name != "prompts"}
        if self.precision == FLOAT32:
            del parts["precision"]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]

    @classmethod
    def from_parts(cls, recorded: Mapping[str, str]) -> Fingerprint:
        """The fingerprint that a manifest records, which may say more, or have been written before there were prompts.

        Raises:
            InputError: a part is missing.
        """
        known = {field.name: recorded[field.name] for field in fields(cls) if field.name in recorded}
        try:
            return cls(**known)
        except TypeError as error:
            raise InputError(f"the recorded fingerprint of the encoder is incomplete: {error}.") from error

    def check_same(self, spec: str, planned: Fingerprint) -> None:
        """Compare an encoder's files on this machine with those that the job was planned with.

        Raises:
            InputError: they differ.
        """
        if self != planned:
            raise InputError(
                f"encoder {spec!r} on this worker differs from the one that the job was started with ({self} "
                f"here, {planned} there). Give every worker the same files."
            )


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


_LOADED: dict[tuple[EncoderSource, int], Encoder] = {}
_LOADING = threading.Lock()


def load_once(source: EncoderSource, copy: int = 0) -> Encoder:
    """The loaded model of ``source``, one for this process, whoever asks; models of other sources are let go.

    Args:
        source: the model to load, by name and fingerprint.
        copy: number of the copy of the model, from 0, if a process is to have several.

    Raises:
        InputError: see ``EncoderSource.load``.
    """
    source = getattr(source, "bare", source)  # of ``generations.SettledSource``
    with _LOADING:
        for other in [key for key in _LOADED if key[0] != source]:
            del _LOADED[other]
        if (source, copy) not in _LOADED:
            _LOADED[source, copy] = source.load()
        return _LOADED[source, copy]


#: Scheme of a spec: module and class of its source, and how the rest of the spec is written.
_SCHEMES = {
    "open_clip": ("nnn_core.encoders._open_clip", "OpenClipSource", "MODEL/TAG, MODEL//path/to/file or local-dir:DIR"),
    "transformers": ("nnn_core.encoders._transformers", "TransformersSource", "DIR or ORGANISATION/MODEL[@REVISION]"),
    "albef": ("nnn_core.encoders._albef", "AlbefSource", "DIR"),
    "beit3": ("nnn_core.encoders._beit3", "Beit3Source", "DIR"),
}


def parse_encoder(spec: str, precision: str = FLOAT32) -> EncoderSource:
    """The encoder that ``--encoder`` names.

    Args:
        spec: ``SCHEME:REST``; the schemes are those of ``_SCHEMES``, ``python``, and those of installed packages
            (see ``nnn_core.encoders._foreign``).
        precision: what the model computes in, one of ``PRECISIONS``.

    Raises:
        ConfigError: an unknown scheme or an incomplete spec.
        InputError: the files it names cannot be found.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"--precision {precision} is none of {', '.join(PRECISIONS)}.")
    scheme, _, rest = spec.partition(":")
    if rest and scheme in _SCHEMES:
        module, name, _ = _SCHEMES[scheme]
        source: EncoderSource = getattr(import_module(module), name).parse(rest, precision)
        return source
    from nnn_core.encoders._foreign import ForeignSource, known_schemes

    if rest and scheme in ("python", *known_schemes()):
        return ForeignSource.parse(scheme, rest, precision)
    built_in = [f"{name}:{form}" for name, (_, _, form) in _SCHEMES.items()]
    known = "; ".join([*built_in, "python:package.module:factory[:argument]", *(f"{n}:..." for n in known_schemes())])
    raise ConfigError(f"--encoder {spec!r} is not understood. Write one of {known}.")
