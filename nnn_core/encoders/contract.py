"""The contract between bank and index: what a table records of its encoder, and who may use the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields

from nnn_core import storage
from nnn_core.artifacts import keep_bytes, name_of
from nnn_core.encoders import PRECOMPUTED, EncoderSource, Fingerprint, load_once
from nnn_core.encoders.probes import Vectors, distances, from_text, measure, to_text, tolerance_of
from nnn_core.encoders.prompts import Prompts
from nnn_core.errors import InputError

#: Name of the probes' vectors among the parts of a fingerprint.
PROBES = "probes"

_DEFAULTS = {field.name: str(field.default) for field in fields(Fingerprint) if isinstance(field.default, str)}


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


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the parts in which two recorded encoders differ; empty if their vectors can be compared.

    Probes are compared within a tolerance, as their last digits depend on hardware. What an older table does not
    record is not held against it.
    """
    one, other = {**_DEFAULTS, **one}, {**_DEFAULTS, **other}
    names = sorted((one.keys() | other.keys()) - {PROBES})
    changed = [name for name in names if one.get(name) != other.get(name)]
    if PROBES in one and PROBES in other:
        most = tolerance_of([one["precision"], other["precision"]])
        if too_far(from_text(one[PROBES]), from_text(other[PROBES]), most):
            changed.append(PROBES)
    return tuple(changed)


def too_far(one: Vectors, other: Vectors, most: float) -> dict[str, float]:
    """The probes whose vectors lie further apart than ``most``, and how far."""
    return {name: distance for name, distance in distances(one, other).items() if not distance <= most}


def refuse_other(table: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Check that an encoder is the one a table was made with.

    Args:
        table: its name, for the message.
        theirs: what the table's manifest records.
        ours: ``static_parts`` or ``recorded`` of the encoder at hand.

    Raises:
        InputError: naming each part that differs.
    """
    if theirs.get("kind") == PRECOMPUTED:
        raise InputError(
            f"{table!r} was made of vectors that were computed elsewhere, so it records no encoder to compare with."
        )
    if changed := differing(theirs, ours):
        listed = "".join(f"\n  {name}: {_short(theirs, name)} there, {_short(ours, name)} here" for name in changed)
        raise InputError(
            f"this encoder is not the one of {table!r}, so its vectors must not be used with that table; they differ "
            f"in {', '.join(changed)}:{listed}\nUse the table's encoder, or refresh the table with this one."
        )


def _short(parts: Mapping[str, str], name: str) -> str:
    if name == PROBES:
        return f"{len(from_text(parts[PROBES]))} vectors"
    value = {**_DEFAULTS, **parts}.get(name, "nothing")
    return value if name in ("precision", "prompts") else value[:16]
