"""Digests: names of artefacts, of bytes, and of sets whose parts add up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np

#: Part of every artefact's name; raised when the meaning or layout of an artefact changes.
FORMAT = 5


def name_of(kind: str, **inputs: object) -> str:
    """A digest of everything an artefact is computed from (40 hex digits).

    Args:
        kind: the kind of artefact, so that two kinds never share a name.
        inputs: what it depends on, as JSON values.
    """
    text = json.dumps([FORMAT, kind, inputs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def sha256(data: bytes | memoryview) -> str:
    """Hex digest of ``data``."""
    return hashlib.sha256(data).hexdigest()


def set_digest(items: Iterable[bytes | memoryview], start: str = "0") -> str:
    """A digest of a multiset that does not depend on order or on how it was cut.

    The sum of the items' SHA-256 modulo 2**256, so that digests of parts add up
    (``add_set_digests``) to the digest of the whole. Guards against accidents, not attackers.
    """
    digests = b"".join([hashlib.sha256(item).digest() for item in items])
    # Column by column, in words of 32 bits: 2**32 digests fit into the sums.
    columns = np.frombuffer(digests, ">u4").reshape(-1, 8).sum(axis=0, dtype=np.uint64)
    total = int(start, 16)
    for place, column in enumerate(reversed(columns.tolist())):
        total += column << (32 * place)
    return f"{total % (1 << 256):064x}"


def add_set_digests(digests: Iterable[str]) -> str:
    """The digest of the union of multisets whose digests are given."""
    return f"{sum(int(digest, 16) for digest in digests) % (1 << 256):064x}"
