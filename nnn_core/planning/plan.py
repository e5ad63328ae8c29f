"""What a refresh would compute and why, from listings, footers and the marks of finished work.

Nothing is embedded or scored. Where only reading a file would tell its rows, they are estimated from the
bytes that a row takes in the side's other files, and the plan says so.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nnn_core import storage
from nnn_core.embedded.embedding import EmbeddingRequest, PlannedInput
from nnn_core.embedded.shards import ROWS_PER_SHARD, EmbeddedInput, EmbeddedShard
from nnn_core.embedded.side import Side
from nnn_core.errors import BankTooSmallError
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.readers import read_head
from nnn_core.inputs.shards import InputShard, ShardName
from nnn_core.scoring.bank import Grouping, ReferenceShard, shard_references
from nnn_core.scoring.scorer import Scorer
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.table.manifest import Manifest

#: Bytes a row where nothing tells: a small photograph, a caption.
_BYTES_A_ROW = {"image": 50_000, "text": 100}

#: Bytes of a file of text whose lines are counted.
_HEAD_BYTES = 1 << 18

#: Files whose beginnings are looked at for lines; further ones are taken to be like them.
_SAMPLED = 32

FIRST = "first refresh of this table"
NEW = "new or changed"
GONE = "seen before, but its result is not below --work (or columns changed)"


@dataclass(frozen=True)
class SidePlan:
    """One side of the input.

    Attributes:
        flag: ``candidates``, ``references`` or ``validation``.
        modality: modality of the side's rows, ``image`` or ``text``.
        files: number of input files, groups of single images counted as one.
        bytes: bytes of all input files together.
        embedded: results of the input files that are embedded already.
        todo: input files that are still to be embedded.
        why: reason why each file of ``todo`` is to be embedded, in the same order.
        removed: number of input files of the previous version that are gone.
        rows_known: number of rows of ``embedded``, without rejects.
        rows_todo: number of rows of ``todo`` to embed, estimated if only reading a file would tell.
        rows_reused: number of further rows of ``todo``: single images whose vectors are known from other groups.
        estimated: whether ``rows_todo`` is an estimate.
        model: whether a model is needed to embed ``todo``.
        hashed_bytes: bytes of input files that were fetched for their digests, which their store does not tell.
        largest: number of rows of the largest file of ``todo``, estimated as ``rows_todo`` is.
        dim: dimension of the vectors, of those that are embedded or in a file of ``todo``; None if nothing tells.
        grouped: number of ``files`` that are groups of single images.
    """

    flag: str
    modality: str
    files: int
    bytes: int
    embedded: tuple[EmbeddedInput, ...]
    todo: tuple[PlannedInput, ...]
    why: tuple[str, ...]
    removed: int
    rows_known: int
    rows_todo: int
    rows_reused: int
    estimated: bool
    model: bool
    hashed_bytes: int = 0
    largest: int = 0
    dim: int | None = None
    grouped: int = 0

    @property
    def reasons(self) -> dict[str, int]:
        """Why files are to be embedded, with how many of them."""
        return dict(Counter(self.why))

    @property
    def rows(self) -> int:
        """All of them."""
        return self.rows_known + self.rows_new

    @property
    def rows_new(self) -> int:
        """Those of ``todo``, which no score is kept of."""
        return self.rows_todo + self.rows_reused

    @property
    def shards_todo(self) -> int:
        """Embedded shards that ``todo`` will become, at least."""
        return max(len(self.todo), -(-self.rows_new // ROWS_PER_SHARD))

    @property
    def shards(self) -> list[EmbeddedShard]:
        """Of what is embedded."""
        return [shard for each in self.embedded for shard in each.shards]

    @classmethod
    def of(
        cls, flag: str, pattern: str, request: EmbeddingRequest, before: Side | None, changed: Sequence[str]
    ) -> SidePlan:
        """Look at one side's files.

        Args:
            flag: ``candidates``, ``references`` or ``validation``.
            pattern: what the user typed: a URI with globs and brace ranges.
            request: how the input files are read and embedded, and where results lie.
            before: what the previous version records of the side; None for a first version.
            changed: parts of the encoder's fingerprint that differ from the previous version's.

        Raises:
            InputError: no such file, or one that needs an encoder where none was named.
        """
        planned = [request.plan(describe_shard(name)) for name in list_shards(pattern, f"--{flag}")]
        found = [(each, request.find(each, mend=False)) for each in planned]
        done = {each: result for each, result in found if result is not None}
        todo = tuple(request.recognise(each) for each in planned if each not in done)
        rows, estimated = _count_rows(todo, done, request.modality)
        dims = [shard.dim for result in done.values() for shard in result.shards]
        inputs = {each.shard.digest for each in planned}
        return cls(
            flag,
            request.modality,
            len(planned),
            sum(each.shard.bytes for each in planned),
            tuple(done.values()),
            todo,
            tuple(_reason(each, before, changed) for each in todo),
            len(set(before.inputs) - inputs) if before else 0,
            sum(shard.rows for result in done.values() for shard in result.shards),
            sum(rows),
            sum(each.known for each in todo),
            estimated,
            any(not each.ready for each in todo),
            sum(each.shard.bytes for each in planned if _is_hashed(each)),
            max(rows, default=0),
            dims[0] if dims else _dim_of(todo, request),
            sum(bool(each.shard.members) for each in planned),
        )


def _dim_of(todo: Sequence[PlannedInput], request: EmbeddingRequest) -> int | None:
    """The dimension of the first file of ready-made vectors, by the beginning of it; None if there is none."""
    for each in todo:
        if each.precomputed:
            name = ShardName(each.shard.uri, each.shard.members)
            _, rows = read_head(name, request.modality, request.columns)
            return int(np.shape(rows.items)[1]) if len(rows.ids) else None
    return None


def _is_hashed(planned: PlannedInput) -> bool:
    """Whether a file had to be fetched to know its digest."""
    return planned.shard.digest.startswith("sha256:") and not storage.is_local(planned.shard.uri)


def _reason(planned: PlannedInput, before: Side | None, changed: Sequence[str]) -> str:
    if before is None:
        return FIRST
    if planned.shard.digest not in before.inputs:
        return NEW
    return f"the encoder changed: {', '.join(changed)}" if changed and not planned.precomputed else GONE


def _count_rows(
    todo: Sequence[PlannedInput], done: Mapping[PlannedInput, EmbeddedInput], modality: str
) -> tuple[list[int], bool]:
    """Rows of each file that is not embedded yet, and whether that is an estimate."""
    read, size = sum(each.rejects.rows for each in done.values()), sum(each.shard.bytes for each in done)
    a_row = size / read if read else _BYTES_A_ROW[modality]
    counted, sampled = list[int](), list[tuple[int, int]]()
    looked = 0
    for each in todo:
        rows = each.new_rows
        if rows is None:
            looked += 1
            if looked <= _SAMPLED and (lines := _lines(each.shard)):
                sampled.append((each.shard.bytes, lines))
                a_row = sum(size for size, _ in sampled) / sum(lines for _, lines in sampled)
                rows = lines
            else:
                rows = max(1, round(each.shard.bytes / a_row))
        counted.append(rows)
    return counted, looked > 0


def _lines(shard: InputShard) -> int | None:
    """About how many lines a file of text has, by its beginning; None for other files."""
    with storage.open_input(shard.uri) as stream:
        head = stream.read(_HEAD_BYTES)
    whole = head.rfind(b"\n") + 1
    lines = head.count(b"\n")
    if lines < 2 or b"\0" in head:
        return None
    return lines + (whole < len(head)) if len(head) == shard.bytes else round(lines * shard.bytes / whole)


@dataclass(frozen=True)
class Plan:
    """What a refresh would do.

    Attributes:
        candidates: what is to be embedded of the candidates.
        references: what is to be embedded of the bank.
        dim: dimension of the vectors; None if nothing is embedded yet that could tell.
        groups: number of reference shards, estimated for references that are not embedded yet.
        partials: number of partials of the whole table, estimated for rows that are not embedded yet.
        partials_todo: number of partials that are to be computed.
        pairs: number of (candidate, reference) pairs of a full computation.
        pairs_todo: number of (candidate, reference) pairs that are to be scored.
        merging: number of candidates whose scores are to be merged: all if the bank changes, else those that get some.
        reasons: reason to how many (candidate, reference) pairs are to be scored for it.
        changed: parts of the encoder's fingerprint that differ from the previous version's.
        previous: number of the current version; None for a first refresh.
        grouping: how files of the bank become reference shards.
        validation: what is to be embedded of the validation queries; None if there are none.
    """

    candidates: SidePlan
    references: SidePlan
    dim: int | None
    groups: int
    partials: int
    partials_todo: int
    pairs: int
    pairs_todo: int
    merging: int
    reasons: dict[str, int] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    previous: int | None = None
    grouping: Grouping = field(default_factory=lambda: Grouping.of(0, None))
    validation: SidePlan | None = None

    def largest_group(self, dim: int) -> int:
        """Rows of a reference shard of vectors of that dimension, at most, as far as the bank has so many."""
        return max(1, min(self.grouping.most_of(dim), self.references.rows))

    @property
    def slots(self) -> int:
        """Files or candidate shards that are worked on at the same time, at most; more workers would wait."""
        scored = len(self.candidates.shards) + self.candidates.shards_todo
        return max(1, sum(len(side.todo) for side in self.sides), scored)

    @property
    def largest_shard(self) -> int:
        """Candidates of an embedded shard, at most."""
        todo = min(ROWS_PER_SHARD, self.candidates.largest)
        return max([1, todo, *(shard.rows for shard in self.candidates.shards)])

    @property
    def sides(self) -> tuple[SidePlan, ...]:
        """All that is embedded."""
        sides = (self.candidates, self.references, self.validation)
        return tuple(side for side in sides if side is not None)

    @classmethod
    def of(
        cls,
        candidates: SidePlan,
        references: SidePlan,
        scorer: Scorer,
        rows_per_shard: int | None,
        previous: Manifest | None,
        changed: Sequence[str],
        before: Needs | None = None,
    ) -> Plan:
        """Which pairs of shards have no partial yet.

        Args:
            candidates: what is to be embedded of the candidates.
            references: what is to be embedded of the bank.
            scorer: what is asked of the scores, and where finished partials lie.
            rows_per_shard: references that are scored together, at most; None for what suits the bank.
            previous: manifest of the current version; None for a first refresh.
            changed: parts of the encoder's fingerprint that differ from the previous version's.
            before: what the current version was made of; None where that is not known.
        """
        shards = [shard for shard in candidates.shards if shard.rows]
        groups: tuple[ReferenceShard, ...] = ()
        grouping = Grouping.of(references.rows, rows_per_shard, before.reference_shard_rows if before else None)
        with contextlib.suppress(BankTooSmallError):
            groups = shard_references(references.shards, grouping)
        missing = _missing(shards, groups, references.rows, scorer)
        reasons = _explain(missing, before)
        if candidates.rows_new:
            reasons["candidates to embed"] = candidates.rows_new * references.rows
        if references.rows_new and candidates.rows_known:
            reasons["references to embed"] = candidates.rows_known * references.rows_new
        new_shards = candidates.shards_todo
        new_groups = min(references.shards_todo, -(-references.rows_new // grouping.rows))
        partials = (len(shards) + new_shards) * (len(groups) + new_groups)
        scored = {shard.digest: shard.rows for shard, _ in missing}
        other_bank = references.rows_new or references.removed
        dims = [side.dim for side in (candidates, references) if side.dim is not None]
        if previous is not None and not changed:
            dims.append(previous.dim)
        return cls(
            candidates,
            references,
            dims[0] if dims else None,
            len(groups) + new_groups,
            partials,
            partials - len(shards) * len(groups) + len(missing),
            candidates.rows * references.rows,
            sum(reasons.values()),
            candidates.rows if other_bank else candidates.rows_new + sum(scored.values()),
            reasons,
            tuple(changed),
            previous.version if previous else None,
            grouping,
        )


def _missing(
    shards: Sequence[EmbeddedShard], groups: Sequence[ReferenceShard], bank: int, scorer: Scorer
) -> list[tuple[EmbeddedShard, ReferenceShard]]:
    """Pairs of shards without a partial; of an approximate search all, since its settings are the run's affair."""
    pairs = itertools.product(shards, groups)
    if scorer.search == "approximate":
        return list(pairs)
    known = set(storage.list_names(storage.join(scorer.work, "partials")))
    return [
        (shard, group)
        for shard, group in pairs
        if not any(storage.basename(each.uri) in known for each in scorer.partials(shard, group, bank))
    ]


def _explain(missing: Sequence[tuple[EmbeddedShard, ReferenceShard]], before: Needs | None) -> dict[str, int]:
    """(candidate, reference) pairs to score, by what the current version's scores lacked."""
    if before is None:
        reason = "candidates never scored"
        return {reason: sum(shard.rows * group.rows for shard, group in missing)} if missing else {}
    scored, grouped, embedded = set(before.candidates), set(before.references), set(before.embedded)
    reasons = Counter[str]()
    for shard, group in missing:
        if shard.digest not in scored:
            reason = "candidates never scored"
        elif group.digest in grouped:
            reason = "scores not below --work, or kept with other settings"
        elif all(storage.basename(part.uri) in embedded for part in group.parts):
            reason = "references grouped anew"
        else:
            reason = "new references, or grouped with new ones"
        reasons[reason] += shard.rows * group.rows
    return dict(reasons)
