"""Embedding: one input shard to checked unit vectors, stored as embedded shards."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import compress

import numpy as np

from nnn_core import storage
from nnn_core.artifacts import keep_bytes
from nnn_core.digests import name_of, sha256
from nnn_core.embedded.profile import VectorSum
from nnn_core.embedded.shards import ROWS_PER_SHARD, EmbeddedInput, EmbeddedShard, write_shard
from nnn_core.encoders import PRECOMPUTED, Encoder
from nnn_core.encoders.encoding import Usage, encode_rows
from nnn_core.encoders.prompts import AS_IS
from nnn_core.errors import InputError
from nnn_core.inputs.keys import positional_keys
from nnn_core.inputs.listing import check_unchanged
from nnn_core.inputs.readers import Columns, Rows, format_of, holds_vectors, read_rows
from nnn_core.inputs.readers.rows import POSITION_ID
from nnn_core.inputs.rejects import Reject, RejectSummary, to_jsonl
from nnn_core.inputs.shards import InputShard, Modality, ShardName
from nnn_core.vectors import NOT_FINITE, ZERO_NORM, FloatMatrix, off_length, unit_vectors

#: A column of an ``Outline`` that could hold vectors.
_LIST_OF_FLOATS = re.compile(r"(.+?): (?:large_|fixed_size_)?list<\w+: (?:double|float|halffloat)\b")


@dataclass(frozen=True)
class EmbeddingRequest:
    """What to read of an input shard, with which encoder, and where artefacts go.

    Attributes:
        modality: ``image`` or ``text``: which side of a sample to read.
        columns: names of the columns or JSON fields to read.
        encoder: digest of the encoder's fingerprint; None when there is no encoder.
        work: URI of the folder of artefacts.
        prompt: template that is filled with each caption, such as ``a photo of {}``.
    """

    modality: Modality
    columns: Columns
    encoder: str | None
    work: str
    prompt: str = AS_IS

    @property
    def folder(self) -> str:
        """Where embedded shards lie."""
        return storage.join(self.work, "embedded")

    @property
    def rejects_folder(self) -> str:
        """Where rejects are listed."""
        return storage.join(self.work, "rejects")

    def plan(self, shard: InputShard) -> PlannedInput:
        """Name the result of embedding ``shard``.

        Raises:
            InputError: the shard needs an encoder and none was given, or it cannot be read.
        """
        precomputed = holds_vectors(shard, self.modality, self.columns)
        check_needs(ShardName(shard.uri, shard.members), precomputed, self)
        # Ids made of the file's name are not those of the same bytes under another name.
        named = {"source": storage.basename(shard.uri)} if self.columns.id == POSITION_ID else {}
        if self.prompt != AS_IS and self.modality == "text" and not precomputed:
            named["prompt"] = self.prompt
        name = name_of(
            "embedded",
            **named,
            input=shard.digest,
            format=format_of(shard).name,
            modality=PRECOMPUTED if precomputed else self.modality,
            columns=self.columns.identity,
            encoder=PRECOMPUTED if precomputed else self.encoder,
            rows=ROWS_PER_SHARD,
        )
        return PlannedInput(shard, name, precomputed)

    def mark_of(self, planned: PlannedInput) -> str:
        """URI of the completion mark of an input shard."""
        return storage.join(self.folder, f"{planned.name}.json")

    def find(self, planned: PlannedInput) -> EmbeddedInput | None:
        """The result of an earlier run; None unless it is complete."""
        mark = self.mark_of(planned)
        return self.read(planned, storage.read_bytes(mark)) if storage.exists(mark) else None

    def read(self, planned: PlannedInput, data: bytes) -> EmbeddedInput:
        """The result that a completion mark describes, whose bytes are ``data``.

        Raises:
            CorruptArtifactError: not a completion mark.
        """
        mark = self.mark_of(planned)
        return EmbeddedInput.from_json(data, self.folder, self.rejects_folder, planned.shard.uri, mark)


@dataclass(frozen=True, slots=True)
class PlannedInput:
    """An input shard that is to be embedded.

    Attributes:
        shard: descriptor of the input shard to embed.
        name: name of the input shard's result, which its files begin with.
        precomputed: whether the input shard holds vectors, so that no model is needed.
    """

    shard: InputShard
    name: str
    precomputed: bool


def check_needs(name: ShardName, precomputed: bool, request: EmbeddingRequest) -> None:
    """Refuse a file that needs an encoder where there is none.

    Raises:
        InputError: naming the columns of which each might hold the vectors, if there are any.
    """
    if precomputed or request.encoder is not None:
        return
    columns = () if name.members else format_of(name).outline(name.uri).columns
    lists = [match[1] for column in columns if (match := _LIST_OF_FLOATS.match(column))]
    hint = f"; if {' or '.join(map(repr, lists))} holds vectors, say so with {request.columns.flag('vector')}"
    raise InputError(
        f"{name.uri!r} holds no vectors that were asked for, so an encoder is needed to embed its {request.modality}s; "
        f"name one with --encoder{hint if lists else ''}."
    )


def embed_shard(
    planned: PlannedInput, request: EmbeddingRequest, encoder: Encoder | None, usage: Usage | None = None
) -> EmbeddedInput:
    """Read, embed, check and store one input shard; its completion mark is written last.

    Args:
        planned: the input shard and the name of its result, from ``EmbeddingRequest.plan``.
        request: what to read of the input shard, and where artefacts go.
        encoder: the loaded model; None when the shard holds vectors.
        usage: how many threads the model may have, to which what it did is added; None for one thread.

    Raises:
        InputError: the file is broken, or changed meanwhile, or the encoder fails.
        StorageError: the work folder cannot be written.
    """
    source = planned.shard.uri
    batches = read_rows(planned.shard, request.modality, request.columns)
    usage = usage or Usage()
    before, whitened = usage.truncated, usage.whitened
    if encoder is not None:
        batches = encode_rows(batches, request.modality, encoder, request.prompt, usage, repr(source))
    collector = _Collector(planned, request)
    for batch in batches:
        collector.add(batch)
    collector.cut(1)
    check_unchanged(planned.shard)
    rejects, shards = collector.rejects, tuple(collector.shards)
    listed = None
    if rejects:
        data = to_jsonl(rejects)
        listed = storage.join(request.rejects_folder, f"{planned.name}-{sha256(data)[:16]}.jsonl")
        storage.create(listed, data)
    rows = len(rejects) + sum(shard.rows for shard in shards)
    result = EmbeddedInput(
        source=source,
        digest=planned.shard.digest,
        shards=shards,
        rejects=RejectSummary.of(rejects, rows, storage.basename(source), listed),
        precomputed=planned.precomputed,
        positional_keys=collector.positional_keys,
        off_length=collector.off_length if planned.precomputed else None,
        truncated=usage.truncated - before,
        whitened=usage.whitened - whitened,
    )
    return request.read(planned, keep_bytes(request.mark_of(planned), result.to_json()))


@dataclass
class _Collector:
    """Checks vectors and cuts them into embedded shards of ``ROWS_PER_SHARD`` rows."""

    planned: PlannedInput
    request: EmbeddingRequest
    rejects: list[Reject] = field(default_factory=list)
    shards: list[EmbeddedShard] = field(default_factory=list)
    positional_keys: bool = False
    off_length: int = 0
    _ids: list[str] = field(default_factory=list)
    _pair_ids: list[str] = field(default_factory=list)
    _vectors: list[FloatMatrix] = field(default_factory=list)

    def add(self, rows: Rows) -> None:
        self.rejects += rows.rejects
        if not rows.ids:
            return
        vectors = np.asarray(rows.items)
        unit, not_finite, zero = unit_vectors(vectors)
        for mask, reason in ((not_finite, NOT_FINITE), (zero, ZERO_NORM)):
            self.rejects += [Reject(rows.ids[row], reason) for row in np.flatnonzero(mask)]
        ids, pair_ids, usable = rows.ids, rows.pair_ids, ~(not_finite | zero)
        if not usable.all():
            ids, pair_ids = list(compress(ids, usable)), list(compress(pair_ids, usable))
            vectors, unit = vectors[usable], unit[usable]
        self.off_length += off_length(vectors)
        self._ids += ids
        self._pair_ids += pair_ids
        self._vectors.append(unit)
        self.cut(ROWS_PER_SHARD)

    def cut(self, least: int) -> None:
        """Write embedded shards while there are at least so many rows."""
        while len(self._ids) >= least:
            self._write(min(len(self._ids), ROWS_PER_SHARD))

    def _write(self, rows: int) -> None:
        vectors = np.concatenate(self._vectors) if len(self._vectors) > 1 else self._vectors[0]
        stem = storage.join(self.request.folder, f"{self.planned.name}-{len(self.shards):05d}")
        source = self.planned.shard.uri
        self.positional_keys = self.positional_keys or positional_keys(self._ids[:rows])
        shard = write_shard(stem, self._ids[:rows], self._pair_ids[:rows], vectors[:rows], source)
        # While they are in memory: most shards are asked for their sum later.
        VectorSum.of_shard(shard, self.request.work, vectors[:rows])
        self.shards.append(shard)
        del self._ids[:rows], self._pair_ids[:rows]
        self._vectors = [vectors[rows:]]
