"""Embedding: one input shard to checked unit vectors, stored as embedded shards."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np

from nnn_core import storage
from nnn_core.artifacts import keep, lost
from nnn_core.digests import name_of, sha256
from nnn_core.embedded._known import Found, KnownImages, keep_keys, keys_of
from nnn_core.embedded.profile import VectorSum
from nnn_core.embedded.shards import ROWS_PER_SHARD, EmbeddedInput, EmbeddedShard, VectorBlock, read_shard
from nnn_core.encoders import PRECOMPUTED, Encoder
from nnn_core.encoders.encoding import Usage, encode_rows, turns_white
from nnn_core.encoders.prompts import AS_IS
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.inputs.keys import positional_keys
from nnn_core.inputs.listing import check_unchanged
from nnn_core.inputs.readers import POSITION_ID, Columns, Rows, format_of, holds_vectors, outline_of, read_rows
from nnn_core.inputs.rejects import Reject, RejectSummary, to_jsonl
from nnn_core.inputs.shards import InputShard, Modality, ShardName
from nnn_core.vectors import NOT_FINITE, ZERO_NORM, FloatMatrix, off_length, unit_vectors


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

    def recognise(self, planned: PlannedInput) -> PlannedInput:
        """The same with what is known of its members, if it is a group of single images."""
        if not planned.shard.contents:
            return planned
        found = KnownImages.below(self.work).find(planned.shard, self.encoder)
        return replace(planned, known=len(planned.shard.members) - found.missing)

    def mark_of(self, planned: PlannedInput) -> str:
        """URI of the completion mark of an input shard."""
        return storage.join(self.folder, f"{planned.name}.json")

    def find(self, planned: PlannedInput, mend: bool = True) -> EmbeddedInput | None:
        """The result of an earlier run; None unless it is complete.

        Args:
            planned: the input shard and the name of its result.
            mend: whether a completion mark that is damaged goes, for it to be written anew.
        """
        mark = self.mark_of(planned)
        if not storage.exists(mark):
            return None
        try:
            return self.read(planned, storage.read_bytes(mark))
        except CorruptArtifactError as error:
            if mend:
                lost(mark, str(error))
        except InputError:  # it went in between
            pass
        return None

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
        precomputed: whether the input shard holds vectors.
        known: of how many members of a group the vectors are known from other groups.
    """

    shard: InputShard
    name: str
    precomputed: bool
    known: int = 0

    @property
    def ready(self) -> bool:
        """Whether no model is needed."""
        return self.precomputed or 0 < self.known == len(self.shard.members)

    @property
    def new_rows(self) -> int | None:
        """Rows whose vectors are not known yet; None where only reading all of the file would tell."""
        members = len(self.shard.members)
        return members - self.known if members else outline_of(self.shard).rows


def check_needs(name: ShardName, precomputed: bool, request: EmbeddingRequest) -> None:
    """Refuse a file that needs an encoder where there is none.

    Raises:
        InputError: naming the columns of which each might hold the vectors, if there are any.
    """
    if precomputed or request.encoder is not None:
        return
    lists = outline_of(name).lists
    hint = f". If {' or '.join(map(repr, lists))} holds vectors, name it with {request.columns.flag('vector')}"
    raise InputError(
        f"{name.uri!r} has no column of vectors, so its {request.modality}s must be embedded. Name an encoder "
        f"with --encoder{hint if lists else ''}."
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
    return collector.finish(usage.truncated - before, usage.whitened - whitened)


def embed_groups(
    groups: Sequence[PlannedInput], request: EmbeddingRequest, encoder: Encoder | None, usage: Usage | None = None
) -> list[EmbeddedInput]:
    """``embed_shard`` of groups of single images, each put together from the vectors that are known and new ones.

    New images of all groups are encoded together, so that batches are full.

    Args:
        groups: the groups and the names of their results, in any number.
        request: what to read of them, and where artefacts go.
        encoder: the loaded model; None when all vectors are known.
        usage: how many threads the model may have, to which what it did is added; None for one thread.

    Raises:
        InputError: a file is broken, or changed meanwhile, or the encoder fails.
        CorruptArtifactError: what is known of an image is damaged.
        StorageError: the work folder cannot be written.
    """
    known = KnownImages.below(request.work)
    collectors = [_GroupCollector(each, request, found=known.find(each.shard, request.encoder)) for each in groups]
    batches: Iterable[Rows] = itertools.chain.from_iterable(each.read(number) for number, each in enumerate(collectors))
    if encoder is not None:
        batches = encode_rows(batches, request.modality, encoder, usage=usage, where=repr(groups[0].shard.uri))
    for batch in batches:
        for number, rows in _by_group(batch):
            collectors[number].add(rows)
    return [collector.put_together() for collector in collectors]


#: Between the number of a row's group and the row's own id, while rows of several groups are encoded together.
_OF = " "


def _of_group(rows: Rows, number: int) -> Rows:
    rejects = [replace(reject, id=f"{number}{_OF}{reject.id}") for reject in rows.rejects]
    return replace(rows, ids=[f"{number}{_OF}{row_id}" for row_id in rows.ids], rejects=rejects)


def _by_group(rows: Rows) -> Iterator[tuple[int, Rows]]:
    """The rows, and the rejects, of each group with their own ids again."""
    names = [row_id.partition(_OF) for row_id in rows.ids]
    numbers = np.array([int(number) for number, _, _ in names], np.int64)
    vectors = np.asarray(rows.items)
    for number in np.unique(numbers).tolist():
        kept = np.flatnonzero(numbers == number).tolist()
        yield number, Rows([names[row][2] for row in kept], [rows.pair_ids[row] for row in kept], vectors[kept])
    for reject in rows.rejects:
        owner, _, row_id = reject.id.partition(_OF)
        yield int(owner), Rows([], [], [], [replace(reject, id=row_id)])


def unit_rows(rows: Rows) -> tuple[Rows, FloatMatrix]:
    """Rows of vectors, those that cannot be normalised as rejects, and (rows, dim) unit vectors of the others."""
    if not rows.ids:
        return rows, np.empty((0, 0), np.float32)
    vectors = np.asarray(rows.items)
    unit, not_finite, zero = unit_vectors(vectors)
    usable = ~(not_finite | zero)
    if usable.all():
        return rows, unit
    masks = ((not_finite, NOT_FINITE), (zero, ZERO_NORM))
    rejects = [Reject(rows.ids[row], reason) for mask, reason in masks for row in np.flatnonzero(mask)]
    kept = replace(
        rows,
        ids=list(compress(rows.ids, usable)),
        pair_ids=list(compress(rows.pair_ids, usable)),
        items=vectors[usable],
        rejects=[*rows.rejects, *rejects],
    )
    return kept, unit[usable]


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
        rows, unit = unit_rows(rows)
        self.rejects += rows.rejects
        if not rows.ids:
            return
        self.off_length += off_length(np.asarray(rows.items))
        self._ids += rows.ids
        self._pair_ids += rows.pair_ids
        self._vectors.append(unit)
        self.cut(ROWS_PER_SHARD)

    def cut(self, least: int) -> None:
        """Write embedded shards while there are at least so many rows."""
        while len(self._ids) >= least:
            self._write(min(len(self._ids), ROWS_PER_SHARD))

    def finish(self, truncated: int, whitened: int) -> EmbeddedInput:
        """Write the completion mark, once all is written."""
        planned, request = self.planned, self.request
        check_unchanged(planned.shard)
        rejects, shards = self.rejects, tuple(self.shards)
        listed = None
        if rejects:
            data = to_jsonl(rejects)
            listed = storage.join(request.rejects_folder, f"{planned.name}-{sha256(data)[:16]}.jsonl")
            storage.create(listed, data)
        rows = len(rejects) + sum(shard.rows for shard in shards)
        result = EmbeddedInput(
            source=planned.shard.uri,
            digest=planned.shard.digest,
            shards=shards,
            rejects=RejectSummary.of(rejects, rows, storage.basename(planned.shard.uri), listed),
            precomputed=planned.precomputed,
            positional_keys=self.positional_keys,
            off_length=self.off_length if planned.precomputed else None,
            truncated=truncated,
            whitened=whitened,
        )
        mark = request.mark_of(planned)
        return keep(mark, lambda: result.to_json(mark), lambda data: request.read(planned, data))[0]

    def _write(self, rows: int) -> None:
        vectors = np.concatenate(self._vectors) if len(self._vectors) > 1 else self._vectors[0]
        self._vectors = [vectors[rows:].copy()]  # no other copy is held while the file is made
        stem = storage.join(self.request.folder, f"{self.planned.name}-{len(self.shards):05d}")
        source = self.planned.shard.uri
        self.positional_keys = self.positional_keys or positional_keys(self._ids[:rows])
        shard = EmbeddedShard.write(stem, self._ids[:rows], self._pair_ids[:rows], vectors[:rows], source)
        # While they are in memory: most shards are asked for their sum later.
        VectorSum.of_shard(shard, self.request.work, vectors[:rows])
        self.shards.append(shard)
        del self._ids[:rows], self._pair_ids[:rows]


@dataclass
class _GroupCollector(_Collector):
    """Checks vectors of new members of a group, and puts them where they belong among those that are known.

    The pair id of a member is its path in any case; so is its id, unless it is made of the content. Images that turn
    white are read each time, so that they are counted.
    """

    found: Found = field(kw_only=True)
    white: set[str] = field(default_factory=set)

    def read(self, number: int) -> Iterator[Rows]:
        """The members whose vectors are not known, marked as those of a group."""
        shard = self.planned.shard
        members = tuple(shard.members[at] for at in np.flatnonzero(self.found.inputs < 0))
        if members:
            for rows in read_rows(replace(shard, members=members), self.request.modality, self.request.columns):
                self.white.update(
                    name for name, item in zip(rows.pair_ids, rows.items, strict=True) if turns_white(item)
                )
                yield _of_group(rows, number)

    def put_together(self) -> EmbeddedInput:
        members = self.planned.shard.members
        for name, positions in self.found.by_input():
            block = self._load(name)
            rows = self.found.rows[positions]
            for position, row in zip(positions.tolist(), rows.tolist(), strict=True):
                path = block.pair_ids[row].as_py()
                row_id = block.ids[row].as_py()
                self._ids.append(members[position] if row_id == path else row_id)
                self._pair_ids.append(members[position])
            self._vectors.append(block.vectors[rows])
        place = {member: at for at, member in enumerate(members)}
        order = sorted(range(len(self._ids)), key=lambda row: place[self._pair_ids[row]])
        self._ids, self._pair_ids = ([each[row] for row in order] for each in (self._ids, self._pair_ids))
        if order:
            self._vectors = [np.concatenate(self._vectors)[order]]
        keys = keys_of(self.planned.shard, self.request.encoder)[[place[pair_id] for pair_id in self._pair_ids]]
        keys[[pair_id in self.white for pair_id in self._pair_ids]] = b""
        self.cut(1)
        # Members were not rejected in their order, but those of one reason were.
        self.rejects.sort(key=lambda reject: reject.reason)
        keep_keys(keys, self.planned.name, self.request.work)
        return self.finish(truncated=0, whitened=len(self.white))

    def _load(self, name: str) -> VectorBlock:
        """The rows of an earlier input."""
        planned = replace(self.planned, name=name)
        earlier = self.request.find(planned)
        if earlier is None:
            raise lost(self.request.mark_of(planned), "is gone")
        return VectorBlock.together([read_shard(shard) for shard in earlier.shards])
