"""Canaries: the first candidates of fixed queries, kept from version to version.

The ranking of a version is an artefact named by what it follows from, so the next refresh finds it by
the previous version's manifest, whatever became of its candidates.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from nnn_core import storage
from nnn_core.artifacts import keep_exactly
from nnn_core.digests import name_of
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.evaluation.rankings import DEPTH
from nnn_core.table.manifest import Manifest

Rows = list[list[str]]


def store_canaries(manifest: Manifest, queries: str, rows: Rows, work: str) -> None:
    """Keep the first candidates of each query under a version's biases.

    Args:
        manifest: of the version.
        queries: digest of the queries.
        rows: ids, best first, for each query.
        work: folder of artefacts.
    """
    keep_exactly(_uri(manifest, queries, work), json.dumps(rows, ensure_ascii=False).encode())


def find_canaries(manifest: Manifest, queries: str, work: str) -> Rows | None:
    """The first candidates of each query under a published version; None if nobody kept them.

    Raises:
        CorruptArtifactError: what was kept is damaged.
    """
    uri = _uri(manifest, queries, work)
    try:
        rows: Rows = json.loads(storage.read_bytes(uri))
    except InputError:
        return None
    except ValueError as error:
        raise CorruptArtifactError(f"{uri!r} is damaged: {error}. Delete it and run the same command again.") from error
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
