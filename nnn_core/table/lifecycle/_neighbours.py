"""The bank queries that are nearest to one candidate, found again among the artefacts of the refresh."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from nnn_core.digests import add_set_digests
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedShard, VectorBlock, read_shard
from nnn_core.encoders import PRECOMPUTED, Fingerprint
from nnn_core.encoders.prompts import NO_PROMPTS, Prompts
from nnn_core.errors import InputError
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.readers import CAPTION_DEFAULT, Columns, read_rows
from nnn_core.inputs.shards import InputShard
from nnn_core.scoring.nearest import find_vectors, nearest_in
from nnn_core.table.manifest import Manifest


@dataclass(frozen=True)
class Sources:
    """Where a refresh read from, as its flags said.

    Attributes:
        work: URI of the refresh's folder of artefacts.
        candidates: pattern of the candidates' input shards; those with the candidate asked about will do.
        references: pattern of the bank's input shards, which must name all of the bank.
        candidate_columns: names of the columns in the candidates' input shards.
        reference_columns: names of the columns in the bank's input shards.
        top: how many of the nearest bank queries to name.
    """

    work: str
    candidates: str
    references: str
    candidate_columns: Columns
    reference_columns: Columns
    top: int = 10


@dataclass(frozen=True)
class Neighbour:
    """A bank query near a candidate.

    Attributes:
        id: id of the bank query.
        score: inner product with the candidate, computed in float64 and rounded to float32.
        source: URI of the input shard that the bank query came from.
        text: text of the bank query; None for images, and for shards of vectors alone.
    """

    id: str
    score: float
    source: str
    text: str | None = None


#: An embedded shard, and the input that it was made from.
_Embedded = tuple[EmbeddedShard, InputShard]


def find_neighbours(manifest: Manifest, row_id: str, sources: Sources) -> tuple[tuple[Neighbour, ...], float]:
    """Score one candidate against the whole bank, in float64, and read the nearest queries' texts.

    Args:
        manifest: manifest of the version that is asked about.
        row_id: id of the candidate.
        sources: input shards, columns and work folder of the refresh.

    Returns:
        The nearest queries, the nearest first and of equal scores the lower id first; and the mean of the k nearest,
        k being that of the table.

    Raises:
        InputError: the candidate or some shard has not been embedded under ``sources.work``, or the bank is another
            one than that of the version.
    """
    settings = manifest.settings
    candidate = _find_candidate(manifest, row_id, sources)
    bank = list(_embedded(manifest, sources, "reference"))
    digest = add_set_digests(shard.vector_digest for shard, _ in bank)
    if digest != settings.bank_digest:
        raise InputError(
            f"--references {sources.references!r} is not the bank of version {manifest.version}: its digest is "
            f"{digest[:16]}..., the version's {settings.bank_digest[:16]}.... Name the files that were its bank."
        )
    found: list[tuple[float, str, int]] = []
    wanted = max(sources.top, settings.k)
    for number, (shard, _) in enumerate(bank):
        (nearest,) = nearest_in(read_shard(shard), candidate, settings.exclude_own_pairs, wanted)
        found += [(score, name, number) for score, name in nearest]
        found = sorted(found, key=lambda one: (-one[0], *one[1:]))[:wanted]
    mean = float(np.mean([score for score, _, _ in found[: settings.k]]))
    found = found[: sources.top]
    texts: dict[int, dict[str, str]] = {}
    if settings.reference_modality == "text":
        for number in {number for _, _, number in found}:
            names = {name for _, name, where in found if where == number}
            texts[number] = _read_texts(bank[number][1], sources.reference_columns, names)
    near = (
        Neighbour(name, score, bank[number][0].source, texts.get(number, {}).get(name)) for score, name, number in found
    )
    return tuple(near), mean


def _find_candidate(manifest: Manifest, row_id: str, sources: Sources) -> VectorBlock:
    """The one row that it is."""
    for shard, _ in _embedded(manifest, sources, "candidate"):
        if (found := find_vectors(shard, [row_id])) is not None:
            return found.take(np.zeros(1, np.int64))
    raise InputError(
        f"no shard of --candidates {sources.candidates!r} has the candidate {row_id!r}. Name the shards that it is in."
    )


def _embedded(manifest: Manifest, sources: Sources, side: str) -> Iterator[_Embedded]:
    """The embedded shards of a side, as the refresh left them."""
    encoder, columns = manifest.settings.encoder, getattr(sources, f"{side}_columns")
    prompt = getattr(Prompts.from_json(encoder.get("prompts", NO_PROMPTS)), side)
    digest = None if encoder.get("kind") == PRECOMPUTED else Fingerprint.from_parts(encoder).digest
    request = EmbeddingRequest(getattr(manifest.settings, f"{side}_modality"), columns, digest, sources.work, prompt)
    for name in list_shards(getattr(sources, f"{side}s"), f"--{side}s"):
        shard = describe_shard(name)
        found = request.find(request.plan(shard))
        if found is None:
            raise InputError(
                f"{shard.uri!r} has no vectors below --work {sources.work!r} for version {manifest.version}. "
                "Either the file, the column flags or the work folder changed. Give the flags of the refresh "
                "that published the version."
            )
        yield from ((each, shard) for each in found.shards)


def _read_texts(shard: InputShard, columns: Columns, ids: set[str]) -> dict[str, str]:
    """Captions of some rows by id, also from a file whose vectors were used, if it has captions beside them."""
    as_text = replace(columns, vector=None, caption=columns.caption or CAPTION_DEFAULT)
    texts: dict[str, dict[str, None]] = {}
    for tried in dict.fromkeys((columns, as_text)):
        with contextlib.suppress(InputError):  # no captions in it
            for rows in read_rows(shard, "text", tried):
                for row_id, item in zip(rows.ids, rows.items, strict=True):
                    if row_id in ids and isinstance(item, str):
                        texts.setdefault(row_id, {})[item] = None
        if texts:
            break
    # Rows of a bank may share an id; which of them it was is then not known.
    several = " (or another of {} with this id)"
    return {
        row_id: next(iter(found)) + (several.format(len(found)) if len(found) > 1 else "")
        for row_id, found in texts.items()
    }
