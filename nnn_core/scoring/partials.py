"""Partials: the top-k of one embedded shard of candidates over one reference shard, as a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nnn_core import storage
from nnn_core.artifacts import checksum_of, from_parquet, lost, to_parquet
from nnn_core.digests import name_of
from nnn_core.embedded.shards import EmbeddedShard
from nnn_core.errors import InputError
from nnn_core.scoring.bank import ReferenceShard
from nnn_core.scoring.own_pairs import NO_OWN_PAIRS, _OwnPairs
from nnn_core.scoring.topk import TopK
from nnn_core.vectors import FloatMatrix

_SEARCH_KEY = b"nnn_search"

_CHECKSUM_KEY = b"nnn_checksum"

_SUFFIX = ".parquet"

#: Columns of the packed scores: the two higher bytes, which compress, and the two lower ones.
_PACKED = ("high", "low")

#: Bytes of the digest in a partial's name.
_NAME_BYTES = 20

#: Bytes of how many scores a partial keeps, where ranges of partials travel.
_KEPT_BYTES = 4

#: Names of the searches that partials come from.
_SEARCHES = ("exact", "prefilter", "device", "approximate")

#: How all searches that give the exact scores are called where partials are named.
EXACT = "exact"

#: Numbers of scores that partials of an exact search keep of more.
_SIZES = tuple(size for power in range(3, 30) for size in (1 << power, 3 << power - 1))


def kept_scores(k_max: int, references: int, bank: int) -> int:
    """How many scores of each candidate a partial keeps: mostly all that count among the k_max highest of the bank.

    Of so many scores, drawn without regard to the reference shard, a shard holds its share s on average, with a
    deviation of at most sqrt(s); kept are the least size of 8, 12, 16, 24, ... that s + 4 sqrt(s) + 4 fits in.

    Args:
        k_max: how many scores of each candidate count.
        references: reference queries of the reference shard.
        bank: reference queries of the whole bank.
    """
    share = k_max * references / bank
    return min(k_max, next(size for size in _SIZES if size >= share + 4 * math.sqrt(share) + 4))


def _other_sizes(k_max: int, kept: int) -> tuple[int, ...]:
    """Numbers of scores for which a partial will do as well: what is missing is found by a second look."""
    sizes = sorted({size for size in _SIZES if size < k_max} | {k_max})
    more = [size for size in sizes if size > kept]
    return (*more, *(size for size in reversed(sizes) if kept / 2 <= size < kept))


@dataclass(frozen=True, slots=True)
class Partial:
    """Where the scores of a candidate shard in a reference shard lie.

    Attributes:
        candidates: digest of the embedded shard of candidates.
        reference: number of the reference shard.
        uri: URI of the Parquet file of ``seen`` and packed scores, rows in the order of the candidates.
        rows: how many candidates the embedded shard holds, each a row of the partial.
        k_max: how many scores are kept for each candidate, at most.
    """

    candidates: str
    reference: int
    uri: str
    rows: int
    k_max: int

    @classmethod
    def of(
        cls,
        candidates: EmbeddedShard,
        reference: ReferenceShard,
        k_max: int,
        exclude_own_pairs: bool,
        work: str,
        search: str = EXACT,
    ) -> Partial:
        """The partial of this pair of shards.

        Args:
            candidates: the embedded shard of candidates that are scored.
            reference: the reference shard that the candidates are scored against.
            k_max: how many scores are kept for each candidate, at most.
            exclude_own_pairs: whether a candidate's own references are left out.
            work: URI of the folder of artefacts, in which the partial's file lies under ``partials``.
            search: ``exact`` for all searches that give the exact scores, else a digest of the search's settings.
        """
        name = partial_name(candidates.digest, reference.digest, k_max, exclude_own_pairs, search)
        uri = storage.join(work, "partials", name)
        return cls(candidates.digest, reference.number, uri, candidates.rows, k_max)

    def write(self, top: TopK, search: str = "exact") -> None:
        """Store ``top`` under the partial's name, unless it is there already.

        Args:
            top: the highest scores of each candidate, rows in the order of the candidates.
            search: name of the search that found the scores, kept in the same file for the manifest.
        """
        scores = top.scores
        if not scores.shape[1]:  # a column has a width
            scores = np.full((len(scores), 1), -np.inf, np.float32)
        checksum = checksum_of(_arrays(top.seen, scores, search), self.uri).hex()
        table = pa.table({"seen": pa.array(top.seen), **_pack(scores)})
        table = table.replace_schema_metadata({_SEARCH_KEY: search, _CHECKSUM_KEY: checksum})
        storage.create(self.uri, to_parquet(table, packed=_PACKED))

    def read(self) -> tuple[TopK, str, int]:
        """The scores, the name of the search that found them, and how many bytes the file holds.

        Raises:
            LostArtifactError: the file is gone, or is not the partial that its name promises.
        """
        try:
            data = storage.read_bytes(self.uri)
            table = from_parquet(data)
            flat = _unpack(table)
            if table.num_rows != self.rows:
                raise ValueError(f"{table.num_rows} rows, expected {self.rows}")
            seen = table.column("seen").to_numpy().astype(np.int64)
            top = TopK(self.k_max, seen, flat[:, : min(self.k_max, int(seen.max(initial=0)))])
            search = table.schema.metadata[_SEARCH_KEY].decode()
            checksum = checksum_of(_arrays(seen, flat, search), self.uri).hex()
            if table.schema.metadata[_CHECKSUM_KEY].decode() != checksum:
                raise ValueError("its checksum does not match")
            if search not in _SEARCHES:
                raise ValueError(f"it was made by an unknown search {search!r}")
            return top, search, len(data)
        except (pa.ArrowException, OSError, ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
            raise lost(self.uri, f"is not a readable partial: {error}") from error
        except InputError as error:
            raise lost(self.uri, "is gone") from error


def _pack(scores: FloatMatrix) -> dict[str, pa.Array]:
    """Columns of scores (rows, width), descending in each row, that compress to a sixth less than the scores would.

    Scores become integers that sort as they do, and all but the first of a row become the difference from the one
    before it. Of these numbers the first bytes of all stand together, rank after rank, then the second; and so on.
    """
    keys = np.ascontiguousarray(_turned(scores.view(np.int32)).view(np.uint32).T)
    gaps = np.concatenate([keys[:1], keys[:-1] - keys[1:]])
    planes = [(gaps >> shift & 255).astype(np.uint8) for shift in (24, 16, 8, 0)]
    width, rows = gaps.shape
    return {
        name: pa.FixedSizeBinaryArray.from_buffers(pa.binary(2 * width), rows, [None, pa.py_buffer(np.stack(two))])
        for name, two in zip(_PACKED, (planes[:2], planes[2:]), strict=True)
    }


def _unpack(table: pa.Table) -> FloatMatrix:
    """The scores (rows, width) of ``_pack``; also of a partial of versions that wrote them as lists."""
    if "scores" in table.column_names:
        lists = table.column("scores").combine_chunks()
        flat: FloatMatrix = lists.flatten().to_numpy().reshape(table.num_rows, lists.type.list_size)
        return flat
    columns = [table.column(name).combine_chunks() for name in _PACKED]
    width, rows = columns[0].type.byte_width, table.num_rows
    gaps = np.empty((width // 2, rows, 4), np.uint8)
    for last, column in zip((3, 1), columns, strict=True):
        planes = np.frombuffer(column.buffers()[1], np.uint8, width * rows, width * column.offset)
        gaps[:, :, last], gaps[:, :, last - 1] = planes.reshape(2, width // 2, rows)
    keys = gaps.view("<u4")[:, :, 0]
    for higher, lower in pairwise(keys):
        np.subtract(higher, lower, out=lower)
    scores: FloatMatrix = np.ascontiguousarray(_turned(keys.view("<i4")).T).view("<f4")
    return scores


def _turned(bits: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Bits of float32 scores such that they sort as integers do, and back: those of negative ones are turned round."""
    return bits ^ (bits >> 31 & 0x7FFFFFFF)


def _arrays(seen: npt.NDArray[np.int64], scores: FloatMatrix, search: str) -> dict[str, npt.NDArray[Any]]:
    return {"seen": seen, "scores": scores, "search": np.frombuffer(search.encode(), np.uint8)}


@dataclass(frozen=True, slots=True)
class ScoredRange:
    """A shard of candidates with its partials in a range of reference shards, described once for all of them.

    Attributes:
        candidates: the embedded shard of candidates that the partials belong to.
        first: number of the first reference shard of the range.
        folder: URI of the folder in which the partials lie.
        names: the digests that the partials' files are named by, 20 bytes each, in the order of the reference shards:
            of all that travels, this alone grows with the number of pairs.
        kept: how many scores each partial keeps of a candidate, at most; 4 bytes each, big-endian.
    """

    candidates: EmbeddedShard
    first: int
    folder: str
    names: bytes
    kept: bytes

    @classmethod
    def of(cls, candidates: EmbeddedShard, partials: Sequence[Partial]) -> ScoredRange:
        """The range of ``partials``, one or more, in consecutive reference shards."""
        head = partials[0]
        names = (storage.basename(partial.uri).removesuffix(_SUFFIX) for partial in partials)
        kept = b"".join(partial.k_max.to_bytes(_KEPT_BYTES, "big") for partial in partials)
        return cls(candidates, head.reference, storage.parent(head.uri), bytes.fromhex("".join(names)), kept)

    @classmethod
    def done(cls, candidates: EmbeddedShard) -> ScoredRange:
        """Of a candidate shard whose scores were merged before, so that its partials are not asked for."""
        return cls(candidates, 0, "", b"", b"")

    @property
    def partials(self) -> list[Partial]:
        """One for each reference shard of the range."""
        shard, size = self.candidates, _NAME_BYTES
        names = [self.names[at : at + size].hex() + _SUFFIX for at in range(0, len(self.names), size)]
        kept = [int.from_bytes(self.kept[at : at + _KEPT_BYTES], "big") for at in range(0, len(self.kept), _KEPT_BYTES)]
        return [
            Partial(shard.digest, number, storage.join(self.folder, name), shard.rows, k)
            for number, (name, k) in enumerate(zip(names, kept, strict=True), self.first)
        ]


@dataclass(frozen=True, slots=True)
class Scored:
    """What scoring was like for one candidate shard, or for several; ``a | b`` is that of both.

    Attributes:
        fewest_seen: fewest references that a candidate was scored against.
        searches: names of the searches that found the scores, such as ``exact``.
        own_pairs: what was left out of the scores as the candidates' own.
        kept: how many scores partials kept of each candidate, at most.
    """

    fewest_seen: int
    searches: frozenset[str]
    own_pairs: _OwnPairs = NO_OWN_PAIRS
    kept: frozenset[int] = frozenset()

    def __or__(self, other: Scored) -> Scored:
        fewest_seen, searches = min(self.fewest_seen, other.fewest_seen), self.searches | other.searches
        return Scored(fewest_seen, searches, self.own_pairs + other.own_pairs, self.kept | other.kept)

    def to_arrays(self) -> dict[str, npt.NDArray[np.int64]]:
        """The same as arrays."""
        columns = {
            "fewest_seen": [self.fewest_seen],
            "searches": [_SEARCHES.index(name) for name in sorted(self.searches)],
            "own_pairs": [self.own_pairs.candidates, self.own_pairs.references],
            "kept": sorted(self.kept),
        }
        return {name: np.array(values, np.int64) for name, values in columns.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.int64]]) -> Scored:
        """Read ``to_arrays`` back."""
        searches = frozenset(_SEARCHES[number] for number in arrays["searches"].tolist())
        own_pairs = _OwnPairs(*arrays["own_pairs"].tolist())
        return cls(int(arrays["fewest_seen"][0]), searches, own_pairs, frozenset(arrays["kept"].tolist()))


def partial_name(candidates: str, reference: str, k_max: int, exclude_own_pairs: bool, search: str) -> str:
    """The name of a partial's file, by the digests of both shards."""
    name = name_of(
        "partial",
        candidates=candidates,
        reference=reference,
        k_max=k_max,
        exclude_own_pairs=exclude_own_pairs,
        search=search,
    )
    return f"{name}{_SUFFIX}"
