"""Generations of an encoder: its files stay as they are, and the libraries that run them change its vectors.

A fingerprint says which files an encoder is made of. What they compute follows from libraries too, which only vectors
tell. So whenever a process embeds something, its model's vectors of the probes are held against those of the folder:

    WORK/probes/ENCODER-NNN.json          the vectors of a modality's probes, of each generation
    WORK/probes/ENCODER-lib-DIGEST.json   the generation that such libraries give, so that no model is loaded to know it

Vectors of a later generation have other names than those of the first, so none is taken for one of another.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any

from nnn_core import storage
from nnn_core.artifacts import from_sealed, keep, to_sealed
from nnn_core.digests import name_of
from nnn_core.encoders import Encoder, EncoderSource, Fingerprint, load_once
from nnn_core.encoders.probes import _measure, _to_text, distances, from_text, tolerance_of
from nnn_core.errors import InputError
from nnn_core.inputs.shards import Modality
from nnn_core.vectors import FloatMatrix

_LOG = logging.getLogger("nnn")

#: What a vector may depend on besides the encoder's files.
_LIBRARIES = (
    *("torch", "torchvision", "open_clip_torch", "timm", "transformers", "tokenizers", "sentencepiece", "ftfy"),
    *("pillow", "numpy", "onnxruntime", "tensorflow", "jax", "openvino"),
)


@dataclass(frozen=True)
class _Generation:
    """Vectors of one modality that can be compared.

    Attributes:
        modality: what is encoded.
        number: number of the generation in the work folder, from 0.
        digest: digest of the encoder by which artefacts are named; of the first generation that of its fingerprint.
    """

    modality: Modality
    number: int
    digest: str

    @classmethod
    def of(cls, fingerprint: Fingerprint, modality: Modality, number: int) -> _Generation:
        """The generation of this number."""
        digest = name_of("generation", encoder=fingerprint.digest, modality=modality, number=number)
        return cls(modality, number, digest if number else fingerprint.digest)


@dataclass(frozen=True)
class SettledSource:
    """An encoder of which is known what its vectors on this machine can be compared with.

    Attributes:
        bare: the encoder itself.
        work: URI of the folder of artefacts.
        generations: the generation of each modality.
    """

    bare: EncoderSource
    work: str
    generations: tuple[_Generation, ...]

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the encoder's files."""
        return self.bare.fingerprint

    def load(self) -> Encoder:
        """See ``EncoderSource.load``."""
        return self.bare.load()

    def check_vectors(self, modality: Modality) -> None:
        """Hold the vectors of this process against those of the generation, which they become if there are none.

        Raises:
            InputError: they differ.
        """
        _check_vectors(self, modality)


def digest_of(source: EncoderSource | None, modality: Modality) -> str | None:
    """The digest by which artefacts of an encoder's vectors are named; None without an encoder."""
    if source is None:
        return None
    generations: tuple[_Generation, ...] = getattr(source, "generations", ())
    found = {each.modality: each.digest for each in generations}
    return found.get(modality, source.fingerprint.digest)


def settle(source: EncoderSource, work: str, modalities: Collection[Modality], remember: bool = True) -> SettledSource:
    """Find out which vectors below a work folder those of this encoder can be compared with, here and now.

    The model is loaded only where libraries changed since it was last used with this folder.

    Args:
        source: the encoder, not loaded.
        work: URI of the folder of artefacts.
        modalities: what is to be encoded.
        remember: whether to note what was found, so that no model is loaded for it again.

    Raises:
        InputError: the encoder cannot be loaded.
        CorruptArtifactError: what was measured before is damaged.
    """
    found = [_settle(source, work, modality, remember) for modality in sorted(set(modalities))]
    return SettledSource(source, work, tuple(found))


def _libraries() -> dict[str, str]:
    """Versions of what is installed of the libraries that run models."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _settle(source: EncoderSource, work: str, modality: Modality, remember: bool) -> _Generation:
    fingerprint = source.fingerprint
    note = _note(fingerprint, work, modality)
    if storage.exists(note):
        return _Generation.of(fingerprint, modality, int(from_sealed(storage.read_bytes(note), note)["generation"]))
    known = _recorded(fingerprint, work, modality)
    if not known:
        return _Generation.of(fingerprint, modality, 0)
    own = from_text(_measured(source, modality))  # type: ignore[arg-type]  # sources are hashable
    for number, text in known.items():
        if _farthest(own, text) <= tolerance_of([fingerprint.precision]):
            if remember:
                _write_note(note, number)
            return _Generation.of(fingerprint, modality, number)
    number = max(known) + 1
    _LOG.warning(
        "the encoder's %s vectors differ from those below %s, because a library changed (probes up to %.2g "
        "away; now %s). They count as vectors of a new encoder, and no earlier vector is reused.",
        modality,
        work,
        min(_farthest(own, text) for text in known.values()),
        _words(_libraries()),
    )
    return _Generation.of(fingerprint, modality, number)


@lru_cache(maxsize=64)  # once a process, whatever it embeds
def _check_vectors(source: SettledSource, modality: Modality) -> None:
    (own,) = (each for each in source.generations if each.modality == modality)
    uri = _place(source.fingerprint, source.work, modality, own.number)
    text = _measured(source.bare, modality)  # type: ignore[arg-type]
    recorded, _ = keep(uri, lambda: to_sealed(json.loads(text), uri), lambda data: _parse(data, uri))
    most = tolerance_of([source.fingerprint.precision])
    note = _note(source.fingerprint, source.work, modality)
    if not (distance := _farthest(from_text(text), recorded)) <= most:
        raise InputError(
            f"the encoder's {modality} vectors in this process differ from those that {uri!r} records: probes "
            f"lie {distance:.2g} away (limit: {most:g}). None were stored, so that vectors of two kinds are not "
            f"mixed. Give all machines the same libraries (here {_words(_libraries())}). If they have the same "
            f"already, delete {note!r} and run the same command again: it embeds everything again."
        )
    _write_note(note, own.number)


@lru_cache(maxsize=64)
def _measured(source: Any, modality: Modality) -> str:
    """The vectors of a modality's probes; a model that can takes few rows at a time for them."""
    encoder = load_once(source)
    small = getattr(encoder, "small", None)
    return _to_text(_measure(small() if small else encoder, modalities=[modality]))


def _farthest(own: Mapping[str, FloatMatrix], other: Mapping[str, FloatMatrix]) -> float:
    found = distances(own, other)
    return max(found.values(), default=float("inf"))


def _stem(fingerprint: Fingerprint, modality: Modality) -> str:
    return name_of("probes of a modality", encoder=fingerprint.digest, modality=modality)


def _place(fingerprint: Fingerprint, work: str, modality: Modality, number: int) -> str:
    return storage.join(work, "probes", f"{_stem(fingerprint, modality)}-{number:03d}.json")


def _note(fingerprint: Fingerprint, work: str, modality: Modality) -> str:
    versions = name_of("libraries", **_libraries())[:16]
    return storage.join(work, "probes", f"{_stem(fingerprint, modality)}-lib-{versions}.json")


def _write_note(uri: str, number: int) -> None:
    storage.create(uri, to_sealed({"generation": number, "libraries": _libraries()}, uri))


def _parse(data: bytes, uri: str) -> dict[str, FloatMatrix]:
    return from_text(json.dumps(from_sealed(data, uri)), uri)


def _recorded(fingerprint: Fingerprint, work: str, modality: Modality) -> dict[int, dict[str, FloatMatrix]]:
    """The vectors of every generation by its number, the newest first."""
    stem = f"{_stem(fingerprint, modality)}-"
    names = sorted(storage.list_names(storage.join(work, "probes")), reverse=True)
    numbers = [name.removeprefix(stem).removesuffix(".json") for name in names if name.startswith(stem)]
    places = {int(each): _place(fingerprint, work, modality, int(each)) for each in numbers if each.isdecimal()}
    return {number: _parse(storage.read_bytes(uri), uri) for number, uri in places.items()}


def _words(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "none of the known ones"
