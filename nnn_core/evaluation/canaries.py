"""Canaries: the first candidates of fixed queries, kept from version to version.

The ranking of a version is an artefact named by what it follows from, so the next refresh finds it by
the previous version's manifest, whatever became of its candidates.
"""

from __future__ import annotations

from dataclasses import asdict

from nnn_core import storage
from nnn_core.artifacts import from_sealed, keep_exactly, to_sealed
from nnn_core.digests import name_of
from nnn_core.errors import InputError
from nnn_core.evaluation.rankings import DEPTH
from nnn_core.table.manifest import Manifest

_Rows = list[list[str]]


def store_canaries(manifest: Manifest, queries: str, rows: _Rows, work: str) -> None:
    """Keep the first candidates of each query under a version's biases.

    Args:
        manifest: manifest of the version whose biases ranked the candidates.
        queries: digest of the held-out queries, as ``StoredQueries`` has it.
        rows: for each query the ids of its first candidates, best first.
        work: URI of the folder of artefacts, which keeps the canaries.
    """
    uri = _uri(manifest, queries, work)
    keep_exactly(uri, to_sealed(rows, uri))


def find_canaries(manifest: Manifest, queries: str, work: str) -> _Rows | None:
    """The first candidates of each query under a published version; None if nobody kept them.

    Raises:
        CorruptArtifactError: what was kept is damaged.
    """
    uri = _uri(manifest, queries, work)
    try:
        data = storage.read_bytes(uri)
    except InputError:
        return None
    rows: _Rows = from_sealed(data, uri)
    return rows


def _uri(manifest: Manifest, queries: str, work: str) -> str:
    name = name_of(
        "canaries",
        queries=queries,
        depth=DEPTH,
        settings=asdict(manifest.settings),
        candidates=manifest.candidates.digest,
        inputs=manifest.candidates.inputs,
        files=[part.sha256 for part in manifest.files],
    )
    return storage.join(work, "evaluation", f"canaries-{name}.json")
