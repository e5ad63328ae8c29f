"""The bank of reference queries, cut into reference shards, and the index over one of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core.digests import add_set_digests, name_of
from nnn_core.embedded.corpus import Corpus, Outcome, embedded_shards, summarise_side
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, check_alike, read_shard
from nnn_core.embedded.side import Side
from nnn_core.errors import BankTooSmallError, InputError
from nnn_core.inputs.shards import cut_groups, natural_key
from nnn_core.storage.disk_cache import NO_CACHE, DiskCache
from nnn_core.vectors import FloatMatrix

#: Reference shards that a bank is cut into by default, about; twice as many at most, as far as its files allow.
_SHARDS = 64
_LEAST_ROWS, _MOST_ROWS = 1 << 7, 1 << 20

#: By default this many times the rows of a group may come from one file, in vectors of at most so many bytes.
_OF_ONE_FILE = 8
_FILE_BYTES = 3 << 29


@dataclass(frozen=True)
class Grouping:
    """How files of the bank become reference shards.

    Attributes:
        rows: smaller files share a reference shard up to so many rows; a file of at least half of that stands alone.
        most: most rows of one file in one reference shard.
        chosen: whether ``rows`` follows from the bank.
    """

    rows: int
    most: int
    chosen: bool = False

    @classmethod
    def of(cls, references: int, asked: int | None, before: int | None = None) -> Grouping:
        """The grouping that was asked for, by default the power of two nearest to a 64th of the bank, from 128 to 2^20.

        So up to 64 equal files stand alone, and what is one day of a window costs its own share when it is replaced;
        a day of 700,000 in a bank of 10^7 is one shard. What an earlier refresh chose stays while it is off by less
        than a factor of 2^1.5: a bank that grows or shrinks by less than half is not regrouped.

        Args:
            references: reference queries of the bank.
            asked: rows of a group that the user asked for; None for the default.
            before: rows of a group that the previous version's refresh chose; None if it chose none.
        """
        if asked is not None:
            return cls(asked, asked)
        ideal = math.log2(min(max(references / _SHARDS, _LEAST_ROWS), _MOST_ROWS))
        rows = before if before and abs(math.log2(before) - ideal) < 1.5 else 1 << round(ideal)
        return cls(rows, min(_OF_ONE_FILE * rows, _MOST_ROWS), True)

    def most_of(self, dim: int) -> int:
        """``most`` for vectors of that dimension, since a worker holds them; what was asked for is kept to."""
        return min(self.most, _FILE_BYTES // (4 * dim)) if self.chosen else self.most


@dataclass(frozen=True)
class ReferenceShard:
    """Embedded shards of the bank that are indexed and scored as one.

    Attributes:
        number: position of the reference shard in the bank, from 0.
        parts: the embedded shards that it groups, in natural order of their sources, read from their own files.
        digest: digest of the reference shard's content, from the digests of its embedded shards.
        rows: how many reference queries the reference shard holds.
        dim: dimension of the reference queries' vectors.
    """

    number: int
    parts: tuple[EmbeddedShard, ...]
    digest: str
    rows: int
    dim: int


@dataclass(frozen=True)
class Bank:
    """All reference shards: metadata only, small enough for every worker.

    Attributes:
        shards: all reference shards of the bank, in order of their numbers.
        side: rows, rejects and digests of the bank, as a manifest records them.
        outcome: what became of the bank's input files.
        grouping: how files became reference shards.
    """

    shards: tuple[ReferenceShard, ...]
    side: Side
    outcome: Outcome
    grouping: Grouping

    @property
    def parts(self) -> list[EmbeddedShard]:
        """The embedded shards of all reference shards, in order."""
        return [part for shard in self.shards for part in shard.parts]

    @property
    def rows(self) -> int:
        """Reference queries in total."""
        return sum(shard.rows for shard in self.shards)

    @property
    def digest(self) -> str:
        """Identifies the multiset of (vector, pair id), whatever its order and cuts."""
        return add_set_digests(part.vector_digest for part in self.parts)

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self.shards[0].dim

    def check_dimension(self, corpus: Corpus) -> None:
        """Refuse candidates that cannot be compared with the references.

        Raises:
            InputError: their vectors differ in dimension.
        """
        if corpus.dim != self.dim:
            raise InputError(
                f"candidates have vectors of dimension {corpus.dim} and references of {self.dim}, so nothing "
                "was scored. Both must come from one encoder."
            )

    @classmethod
    def gather(
        cls,
        inputs: Sequence[EmbeddedInput],
        rows_per_shard: int | None,
        k: int | None,
        max_reject_rate: float,
        rejects_folder: str,
        exclude_own_pairs: bool,
        before: int | None = None,
    ) -> Bank:
        """Check the bank as a whole, as far as that needs no scoring, and cut it into reference shards.

        Args:
            inputs: all embedded files of the bank.
            rows_per_shard: reference queries that are indexed and scored together; None for what suits the bank.
            k: least number of reference queries that will do; None for no such bound.
            max_reject_rate: allowed share of rejected rows, 0 to 1.
            rejects_folder: folder in which rejects are listed, for messages.
            exclude_own_pairs: whether own pairs are left out of scores, for which the bank needs pair ids.
            before: what an earlier refresh took for ``rows_per_shard`` where it was None; None if nothing is known.

        Raises:
            RejectedRowsError: too many rows could not be used.
            BankTooSmallError: no row is left, or fewer than k.
            InputError: the vectors differ in dimension, or no row has the pair id that is needed.
        """
        side, outcome = summarise_side(inputs, max_reject_rate, "--references", rejects_folder)
        grouping = Grouping.of(side.rows, rows_per_shard, before)
        bank = cls(shard_references(embedded_shards(inputs), grouping), side, outcome, grouping)
        if k is not None and bank.rows < k:
            raise BankTooSmallError(
                f"--k {k} needs at least {k} reference queries, but the bank has {bank.rows}, so nothing was "
                "scored. Give more --references, a smaller --k, or --k auto for one that fits."
            )
        if exclude_own_pairs and not any(part.paired for part in bank.parts):
            raise InputError(
                "--exclude-own-pairs needs pair ids, and no row of --references has one. With "
                "--reference-pair-id-column, name the column that says which candidate a reference belongs to. "
                "Or leave the flag out."
            )
        return bank


@dataclass(frozen=True)
class Sides:
    """What meets in a score, as a whole, whose checks have passed: nothing is scored before.

    Attributes:
        bank: the reference queries.
        corpus: the candidates.

    Raises:
        InputError: their vectors differ in dimension.
    """

    bank: Bank
    corpus: Corpus

    def __post_init__(self) -> None:
        self.bank.check_dimension(self.corpus)


def shard_references(embedded: Iterable[EmbeddedShard], grouping: Grouping) -> tuple[ReferenceShard, ...]:
    """Group whole embedded shards, in natural order of their sources.

    A reference shard is its list of files; nothing is copied. Where a group ends is said by the digest of its last
    shard, as in content-defined chunking, so a bank that gains or loses a file changes one group or two, wherever
    the file lies in the order: a window of days may slide.

    Raises:
        BankTooSmallError: the bank is empty.
        InputError: the vectors differ in dimension.
    """
    ordered = in_order(embedded)
    if not ordered:
        raise BankTooSmallError(
            "the bank is empty: no row of --references can be used. Check the files and the list of rejects."
        )
    check_alike(ordered)
    return tuple(_to_shard(number, group) for number, group in enumerate(group_shards(ordered, grouping)))


def in_order(embedded: Iterable[EmbeddedShard]) -> list[EmbeddedShard]:
    """Those that hold rows, in natural order of their sources."""
    return sorted((shard for shard in embedded if shard.rows), key=lambda shard: (natural_key(shard.source), shard.uri))


def group_shards(ordered: Iterable[EmbeddedShard], grouping: Grouping) -> list[tuple[EmbeddedShard, ...]]:
    """Cut a bank, of which the shards are in order, into groups."""
    ordered = list(ordered)
    most = grouping.most_of(max((shard.dim for shard in ordered), default=1))
    stretches = [
        stretch
        for _, shards in itertools.groupby(ordered, key=lambda shard: shard.source)
        for stretch in cut_groups(shards, lambda _: False, most, lambda shard: shard.rows)
    ]

    def ends(stretch: tuple[EmbeddedShard, ...]) -> bool:
        # With this chance groups come to about half of what they may hold, and few are cut for being full.
        return int(stretch[-1].digest[:16], 16) < min(1.0, 2 * _rows(stretch) / grouping.rows) * (1 << 64)

    return [tuple(itertools.chain(*group)) for group in cut_groups(stretches, ends, grouping.rows, _rows)]


def _rows(shards: Iterable[EmbeddedShard]) -> int:
    return sum(shard.rows for shard in shards)


def _to_shard(number: int, parts: Sequence[EmbeddedShard]) -> ReferenceShard:
    digest = name_of("reference shard", parts=[part.digest for part in parts])
    return ReferenceShard(number, tuple(parts), digest, _rows(parts), parts[0].dim)


@dataclass(frozen=True)
class ReferenceIndex:
    """The references of one reference shard, in memory; equal ones are held once.

    Attributes:
        vectors: (distinct, dim) float32 vectors of the distinct references, on the grid of ``nnn_core.vectors``.
        repeats: (distinct,) int64, how often each distinct reference occurs in the shard; None if all occur once.
        pair_ids: distinct pair ids of the reference shard; None if own pairs are not excluded.
        pair_codes: (distinct,) int64, position of each reference's pair id in ``pair_ids``; None without ``pair_ids``.
    """

    vectors: FloatMatrix
    repeats: npt.NDArray[np.int64] | None = None
    pair_ids: pa.StringArray | None = None
    pair_codes: npt.NDArray[np.int64] | None = None

    @classmethod
    def load(cls, shard: ReferenceShard, with_pairs: bool, cache: DiskCache = NO_CACHE) -> ReferenceIndex:
        """Read the shard's files, or copies of them in ``cache``.

        Raises:
            CorruptArtifactError: a file is not what was described.
        """
        blocks = [read_shard(part, cache) for part in shard.parts]
        vectors = blocks[0].vectors if len(blocks) == 1 else np.concatenate([block.vectors for block in blocks])
        return cls.of(vectors, pa.chunked_array([block.pair_ids for block in blocks]) if with_pairs else None)

    @classmethod
    def of(cls, vectors: FloatMatrix, pair_ids: pa.ChunkedArray | None = None) -> ReferenceIndex:
        """The index over ``vectors`` (rows, dim), of which those with the same pair id are merged where equal."""
        if pair_ids is None:
            rows, repeats = _distinct(vectors, None)
            return cls(vectors if repeats is None else vectors[rows], repeats)
        encoded = one_form(pair_ids.combine_chunks()).dictionary_encode()
        codes = encoded.indices.to_numpy().astype(np.int64)
        rows, repeats = _distinct(vectors, codes)
        if repeats is None:
            return cls(vectors, None, encoded.dictionary, codes)
        return cls(vectors[rows], repeats, encoded.dictionary, codes[rows])

    @property
    def rows(self) -> int:
        """Number of reference queries."""
        return len(self.vectors) if self.repeats is None else int(self.repeats.sum())

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return int(self.vectors.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        arrays = (self.vectors, self.repeats, self.pair_ids, self.pair_codes)
        return int(sum(array.nbytes for array in arrays if array is not None))

    def own_codes(self, ids: pa.StringArray, pair_ids: pa.StringArray) -> npt.NDArray[np.int64]:
        """Codes of the pair ids that are each candidate's own: its id's and its pair id's, each once.

        Args:
            ids: (rows,) strings, the candidates' ids.
            pair_ids: (rows,) strings, the candidates' pair ids; empty for a candidate without one.

        Returns:
            (rows, 2), -1 for none; (rows, 0) where own pairs are not excluded.
        """
        if self.pair_ids is None:
            return np.zeros((len(ids), 0), np.int64)
        by_id, by_pair = self._codes_of(ids), self._codes_of(pair_ids)
        return np.stack([by_id, np.where(by_pair == by_id, -1, by_pair)], axis=1)

    def _codes_of(self, ids: pa.StringArray) -> npt.NDArray[np.int64]:
        # An empty pair id means that there is no counterpart, so it is nobody's own.
        names = pc.replace_with_mask(one_form(ids), pc.equal(ids, ""), pa.scalar(None, ids.type))
        found = pc.index_in(names, self.pair_ids, skip_nulls=True)
        codes: npt.NDArray[np.int64] = pc.fill_null(found, -1).to_numpy().astype(np.int64)
        return codes

    def own_references(self, own: npt.NDArray[np.int64], distinct: bool = False) -> npt.NDArray[np.int64]:
        """(rows,) how many references are each candidate's own.

        Args:
            own: (rows, names) int64 codes of each candidate's own pair ids, -1 for none, as ``own_codes`` gives them.
            distinct: whether equal references count once, rather than as often as they occur.
        """
        if self.pair_ids is None or self.pair_codes is None:
            return np.zeros(len(own), np.int64)
        weights = None if distinct else self.repeats
        # One more bin at the end, which code -1 ("none of them") reads as zero.
        counts = np.append(np.bincount(self.pair_codes, weights, minlength=len(self.pair_ids)), 0).astype(np.int64)
        total: npt.NDArray[np.int64] = counts[own].sum(axis=1)
        return total


def one_form(names: pa.StringArray) -> pa.StringArray:
    """Names in one form of Unicode, NFC: macOS takes letters apart that other sources of the same names do not."""
    return pc.utf8_normalize(names, form="NFC")


def _distinct(
    vectors: FloatMatrix, codes: npt.NDArray[np.int64] | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
    """Rows that stand for all, and how often each occurs; None if all rows differ."""
    hashes = _hash_rows(vectors) if codes is None else _hash_rows(vectors) + _mix(codes.astype(np.uint64))
    order = np.argsort(hashes, kind="stable")
    suspects = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    new = np.ones(len(vectors), bool)
    for at in suspects.tolist():  # equal hashes prove nothing
        one, other = order[at], order[at + 1]
        same_pair = codes is None or codes[one] == codes[other]
        new[at + 1] = not (same_pair and np.array_equal(vectors[one], vectors[other]))
    if new.all():
        return order, None
    firsts = np.flatnonzero(new)
    rows, repeats = order[firsts], np.diff(np.append(firsts, len(vectors)))
    by_position = np.argsort(rows)
    return rows[by_position], repeats[by_position]


def _hash_rows(vectors: FloatMatrix) -> npt.NDArray[np.uint64]:
    """(rows,) a hash of each row's bits; equal rows have equal hashes."""
    weights = _mix(np.arange(vectors.shape[1], dtype=np.uint64))
    hashes = np.empty(len(vectors), np.uint64)
    for first in range(0, len(vectors), 1024):
        # Adding 0 makes -0 and 0 one number to the bit.
        bits = (vectors[first : first + 1024] + np.float32(0.0)).view(np.uint32)
        hashes[first : first + 1024] = (bits * weights).sum(axis=1, dtype=np.uint64)
    return hashes


def _mix(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scatter whole numbers over 64 bits (the finaliser of splitmix64)."""
    mixed = (numbers + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scattered: npt.NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return scattered
