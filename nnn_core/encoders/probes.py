"""Probes: a few fixed inputs whose vectors tell whether two services run the same model in the same way.

Digests of files say that two encoders were loaded from the same bytes. Only vectors say that a service
written in another language, or converted to another format, treats pixels and words in the same way. A table records
both of its encoder (``recorded``), for ``fingerprints`` to compare.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import numpy as np
from PIL import Image

from nnn_core import storage
from nnn_core.artifacts import from_sealed, keep, to_sealed
from nnn_core.digests import name_of
from nnn_core.encoders import FLOAT32, Encoder, EncoderSource, load_once
from nnn_core.encoders._calls import guarded, vectors_of
from nnn_core.encoders.fingerprints import PROBES
from nnn_core.encoders.prompts import Prompts
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.inputs.shards import MODALITIES, Modality
from nnn_core.vectors import FloatMatrix, unit_vectors

Vectors = Mapping[str, FloatMatrix]

#: How far apart two unit vectors of the same probe may lie, by precision. No inner product with a unit vector
#: then differs by more. Other hardware and batch sizes stay well below; see ``tests/core/encoders/test_contract.py``.
TOLERANCES = {FLOAT32: 2e-3, "float16": 1e-2, "bfloat16": 5e-2}

#: Recorded coordinates are multiples of 1 / STEPS, far finer than any tolerance.
STEPS = 32767

#: Case, punctuation, accents and an emoji for the tokenizer; more words than any model takes for the truncation.
_TEXTS = (
    "A small RED bicycle, leaning on a caf\u00e9's wall \u2014 25% off! \U0001f6b2",
    " ".join(f"{count} grey stones beside the {colour} river," for count in range(1, 61) for colour in ("Blue", "old")),
)
#: One wider than high, one higher than wide, both larger than most models take, so that resizing and cropping show.
_SIZES = ((640, 440), (360, 520))


def probe_texts(prompts: Prompts = Prompts()) -> dict[str, str]:  # noqa: B008
    """The captions by id, each in its prompt.

    ``text-1`` and ``text-2`` carry the prompt of the references, which is that of live queries;
    ``candidate-text-1`` and so on are there only if candidates have another.
    """
    texts = {f"text-{n}": Prompts.fill(prompts.reference, text) for n, text in enumerate(_TEXTS, 1)}
    if prompts.candidate != prompts.reference:
        texts |= {f"candidate-text-{n}": Prompts.fill(prompts.candidate, text) for n, text in enumerate(_TEXTS, 1)}
    return texts


@cache
def probe_images() -> Mapping[str, bytes]:
    """The pictures by id, as PNG."""
    return {f"image-{n}": _picture(width, height) for n, (width, height) in enumerate(_SIZES, 1)}


def _picture(width: int, height: int) -> bytes:
    """Slopes, stripes that become finer, and blocks: nothing that two resize filters agree on."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    red = (x * 255) // width
    green = ((x * x) // (width // 2)) % 256
    blue = ((x // 7 + y // 5) % 2) * 180 + (y * 75) // height
    pixels = np.stack([red, green, blue], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _measure(
    encoder: Encoder,
    prompts: Prompts = Prompts(),  # noqa: B008
    modalities: Collection[Modality] = MODALITIES,
) -> dict[str, FloatMatrix]:
    """The probes' unit vectors (dim,) by id.

    Args:
        encoder: the loaded model to measure.
        prompts: prompts of candidates and references.
        modalities: what to encode: a model of images alone can encode no captions.

    Raises:
        InputError: the encoder fails, or gives vectors without length, or not finite.
    """
    texts = probe_texts(prompts) if "text" in modalities else {}
    images = probe_images() if "image" in modalities else {}
    found = dict(zip(texts, _encoded(list(texts.values()), encoder.encode_texts, encoder.batch_size), strict=True))
    pixels = [guarded(partial(encoder.preprocess_image, data), "a probe") for data in images.values()]
    return _unit(found | dict(zip(images, _encoded(pixels, encoder.encode_images, encoder.batch_size), strict=True)))


def _encoded(items: list[Any], encode: Callable[[Sequence[Any]], FloatMatrix], size: int) -> list[FloatMatrix]:
    batches = (items[first : first + size] for first in range(0, len(items), size))
    return [vector for batch in batches for vector in vectors_of(encode, batch, "probes")]


def _unit(vectors: Vectors) -> dict[str, FloatMatrix]:
    for name, vector in vectors.items():
        unit, not_finite, zero = unit_vectors(np.asarray(vector)[None])
        if not_finite.any() or zero.any():
            raise InputError(f"the vector of probe {name!r} is zero or not finite, so it cannot be compared.")
        vectors = {**vectors, name: unit[0]}
    return dict(vectors)


def _to_text(vectors: Vectors) -> str:
    """Unit vectors as one line, rounded to 1 / STEPS."""
    rounded = {name: np.rint(vector * STEPS).astype("<i2").tobytes() for name, vector in vectors.items()}
    return json.dumps({name: base64.b64encode(data).decode() for name, data in sorted(rounded.items())})


def from_text(text: str, uri: str | None = None) -> dict[str, FloatMatrix]:
    """The unit vectors behind ``_to_text``.

    Args:
        text: the line that ``_to_text`` gave.
        uri: URI of the file that the line was read from; None if it has none of its own.

    Raises:
        CorruptArtifactError: not such a line.
    """
    try:
        packed = {name: base64.b64decode(data, validate=True) for name, data in json.loads(text).items()}
        return {name: (np.frombuffer(data, "<i2") / STEPS).astype(np.float32) for name, data in packed.items()}
    except (ValueError, TypeError, AttributeError) as error:
        remedy = f" {uri!r} can be deleted; the next run measures them again." if uri else ""
        raise CorruptArtifactError(f"the recorded vectors of probes are damaged: {error}.{remedy}") from error


def distances(one: Vectors, other: Vectors) -> dict[str, float]:
    """How far apart the vectors of the probes lie that both have; infinite where dimensions differ."""
    one, other = _unit(one), _unit(other)
    return {name: _distance(one[name], other[name]) for name in sorted(one.keys() & other.keys())}


def _distance(one: FloatMatrix, other: FloatMatrix) -> float:
    return float(np.linalg.norm(one.astype(np.float64) - other)) if one.shape == other.shape else float("inf")


def tolerance_of(precisions: Sequence[str]) -> float:
    """The tolerance between encoders of these precisions: that of the coarser."""
    return max(TOLERANCES.get(precision, TOLERANCES[FLOAT32]) for precision in precisions)


def static_parts(source: EncoderSource, prompts: Prompts = Prompts()) -> dict[str, str]:  # noqa: B008
    """The fingerprint by part, without the probes; loads no model."""
    return {**asdict(source.fingerprint), "prompts": prompts.to_json()}


def recorded(
    source: EncoderSource,
    prompts: Prompts = Prompts(),  # noqa: B008
    work: str | None = None,
    modalities: Collection[Modality] = MODALITIES,
) -> dict[str, str]:
    """What a manifest says of an encoder: its fingerprint by part, and the vectors of the probes.

    Args:
        source: the encoder; loaded unless the vectors lie in the work folder already.
        prompts: prompts of candidates and references.
        work: URI of the folder of artefacts that keeps the vectors, so that two runs record the same ones, whatever
            machine each ran on; None keeps nothing.
        modalities: modalities of the table's sides, for which probes are encoded.

    Raises:
        InputError: the encoder cannot be loaded.
    """
    parts = static_parts(source, prompts)
    if work is None:
        return {**parts, PROBES: _measured(source, prompts, modalities)}
    later = [each.digest for each in getattr(source, "generations", ()) if each.number]  # see ``generations``
    named = {"generations": later} if later else {}
    uri = storage.join(work, "probes", f"{name_of(PROBES, **parts, **named, modalities=sorted(modalities))}.json")
    text, _ = keep(
        uri,
        lambda: to_sealed(json.loads(_measured(source, prompts, modalities)), uri),
        lambda data: json.dumps(from_sealed(data, uri), sort_keys=True),
    )
    return {**parts, PROBES: text}


def _measured(source: EncoderSource, prompts: Prompts, modalities: Collection[Modality]) -> str:
    return _to_text(_measure(load_once(source), prompts, modalities))
