"""The contract between bank and index: what a table records of its encoder, for ``fingerprints`` to compare."""

from __future__ import annotations

from dataclasses import asdict

from nnn_core import storage
from nnn_core.artifacts import keep_bytes, name_of
from nnn_core.encoders import EncoderSource, load_once
from nnn_core.encoders.probes import from_text, measure, to_text
from nnn_core.encoders.prompts import Prompts
from nnn_core.fingerprints import PROBES


def static_parts(source: EncoderSource, prompts: Prompts = Prompts()) -> dict[str, str]:  # noqa: B008
    """The fingerprint by part, without the probes; loads no model."""
    return {**asdict(source.fingerprint), "prompts": prompts.to_json()}


def recorded(source: EncoderSource, prompts: Prompts = Prompts(), work: str | None = None) -> dict[str, str]:  # noqa: B008
    """What a manifest says of an encoder: its fingerprint by part, and the vectors of the probes.

    Args:
        source: the encoder; loaded unless the vectors lie in the work folder already.
        prompts: of both sides.
        work: folder of artefacts, where the vectors are kept: two runs record the same ones, whatever machine
            each ran on.

    Raises:
        InputError: the encoder cannot be loaded.
    """
    parts = static_parts(source, prompts)
    if work is None:
        return {**parts, PROBES: to_text(measure(load_once(source), prompts))}
    uri = storage.join(work, "probes", f"{name_of(PROBES, **parts)}.json")
    if not storage.exists(uri):
        keep_bytes(uri, to_text(measure(load_once(source), prompts)).encode())
    text = storage.read_bytes(uri).decode()
    from_text(text)  # raises where it is damaged
    return {**parts, PROBES: text}
