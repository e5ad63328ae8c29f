"""Whether embeddings come from the encoder that a table is valid for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nnn_core import storage
from nnn_core.digests import sha256
from nnn_core.encoders import PRECOMPUTED, Fingerprint
from nnn_core.errors import InputError

#: Key of a Parquet footer under which exported files say what they are.
FOOTER_KEY = b"nnn_export"

#: Name of the probes' vectors among the recorded parts of an encoder.
PROBES = "probes"

_READY_MADE = {"kind": PRECOMPUTED}
_DEFAULTS = {field.name: str(field.default) for field in fields(Fingerprint) if isinstance(field.default, str)}


def embeddings_encoder(uri: str) -> dict[str, str]:
    """What a file of embeddings says of its encoder: the fingerprint by part, as in a table's manifest.

    Args:
        uri: a Parquet file that ``nnn export`` wrote, or its ``export.json``.

    Raises:
        InputError: it cannot be read, or says nothing of an encoder.
    """
    try:
        record: dict[str, Any] = json.loads(storage.read_bytes(uri)) if uri.endswith(".json") else _footer(uri)
        return {str(name): str(value) for name, value in record["encoder"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{uri!r} does not say which encoder made its vectors ({error!r}), so they cannot be checked "
            "against the table. Name a file of nnn export, or pass the fingerprint as encoder=."
        ) from error


def _footer(uri: str) -> dict[str, Any]:
    with storage.open_input(uri) as stream:
        try:
            metadata = pq.read_schema(stream).metadata or {}
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise InputError(f"{uri!r} is not a Parquet file: {error}.") from error
    record: dict[str, Any] = json.loads(metadata[FOOTER_KEY])
    return record


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the parts in which two recorded encoders differ; empty if their vectors can be compared.

    Probes are compared within a tolerance, as their last digits depend on hardware. What one of the two does not
    record, because it is older, is not held against it.
    """
    from nnn_core.encoders.probes import distances, from_text, tolerance_of

    one, other = {**_DEFAULTS, **one}, {**_DEFAULTS, **other}
    names = (one.keys() | other.keys()) - {PROBES}
    changed = {name for name in names if one.get(name) != other.get(name)}
    if PROBES in one and PROBES in other:
        most = tolerance_of([one["precision"], other["precision"]])
        if not all(each <= most for each in distances(from_text(one[PROBES]), from_text(other[PROBES])).values()):
            changed.add(PROBES)
    return tuple(sorted(changed))


def check_encoder(table: Mapping[str, str], embeddings: Mapping[str, str], table_uri: str, where: str) -> None:
    """Refuse vectors of another encoder than the table's.

    Args:
        table: what the table records of its encoder (``manifest.settings.encoder``).
        embeddings: fingerprint by part of the encoder that the vectors come from.
        table_uri: URI of the table, for the message.
        where: what the vectors are, for the message.

    Raises:
        InputError: naming the parts that differ.
    """
    parts = differing(table, embeddings)
    if not parts:
        return
    if _READY_MADE in (dict(table), dict(embeddings)):
        made = "the table" if dict(table) == _READY_MADE else where
        raise InputError(
            f"it is unknown whether {where} and {table_uri!r} come from one encoder: the vectors of {made} were "
            "given without a fingerprint. Use the vectors that the table was computed from."
        )
    shown = ", ".join(f"{name} ({_shown(table, name)} there, {_shown(embeddings, name)} here)" for name in parts)
    raise InputError(
        f"{where} and {table_uri!r} come from different encoders: they differ in {shown}. The biases are not "
        "valid for these vectors. Encode with the table's encoder, or refresh the table."
    )


def check_dimension(table: int, dim: int | None, table_uri: str, where: str) -> None:
    """Refuse vectors of another dimension than the table's.

    Raises:
        InputError: naming both.
    """
    if dim is not None and dim != table:
        raise InputError(
            f"{where} has vectors of dimension {dim}, {table_uri!r} was computed from vectors of dimension "
            f"{table}. They come from different encoders, so these biases are not valid here."
        )


def shown_parts(recorded: Mapping[str, str]) -> dict[str, str]:
    """A recorded encoder for a person: of the probes' vectors, which take kilobytes, only what tells them apart."""
    return {name: _describe_probes(value) if name == PROBES else value for name, value in recorded.items()}


def _describe_probes(text: str) -> str:
    from nnn_core.encoders.probes import from_text

    vectors = from_text(text)
    dim = len(next(iter(vectors.values()))) if vectors else 0
    return f"{len(vectors)} vectors of {dim} dimensions ({', '.join(sorted(vectors))}), SHA-256 {sha256(text.encode())}"


def _shown(parts: Mapping[str, str], name: str) -> str:
    if name == PROBES:
        return "other vectors"
    value = {**_DEFAULTS, **parts}.get(name, "none")
    return value if name in _DEFAULTS else value[:12]
