"""The contract between bank and index: what a table records of its encoder, for ``fingerprints`` to compare."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

from nnn_core import storage
from nnn_core.artifacts import keep_bytes
from nnn_core.digests import name_of
from nnn_core.encoders import EncoderSource, load_once
from nnn_core.encoders.fingerprints import PROBES
from nnn_core.encoders.probes import from_text, measure, to_text
from nnn_core.encoders.prompts import Prompts
from nnn_core.inputs.shards import MODALITIES, Modality


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
        prompts: the prompts of both sides.
        work: folder of artefacts, where the vectors are kept: two runs record the same ones, whatever machine
            each ran on.
        modalities: those of the table's sides, of which probes are encoded.

    Raises:
        InputError: the encoder cannot be loaded.
    """
    parts = static_parts(source, prompts)
    if work is None:
        return {**parts, PROBES: _measured(source, prompts, modalities)}
    uri = storage.join(work, "probes", f"{name_of(PROBES, **parts, modalities=sorted(modalities))}.json")
    if not storage.exists(uri):
        keep_bytes(uri, _measured(source, prompts, modalities).encode())
    text = storage.read_bytes(uri).decode()
    from_text(text, uri)  # raises where it is damaged
    return {**parts, PROBES: text}


def _measured(source: EncoderSource, prompts: Prompts, modalities: Collection[Modality]) -> str:
    return to_text(measure(load_once(source), prompts, modalities))
