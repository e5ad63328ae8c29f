"""The bank of reference queries, cut into reference shards, and the index over one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nnn_core.artifacts import add_set_digests, name_of
from nnn_core.embedded import EmbeddedShard, check_alike, read_shard
from nnn_core.errors import BankTooSmallError
from nnn_core.shards import natural_key
from nnn_core.vectors import FloatMatrix


@dataclass(frozen=True)
class ReferenceShard:
    """A group of embedded shards of the bank that is indexed and scored as one.

    Attributes:
        number: position in the bank.
        parts: the embedded shards, whose files are read where they lie.
        digest: names the content.
        rows: reference queries in it.
        dim: dimension of their vectors.
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
        shards: in order.
        rows: reference queries in total.
        digest: identifies the multiset of (vector, pair id), whatever its order and cuts.
    """

    shards: tuple[ReferenceShard, ...]
    rows: int
    digest: str

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self.shards[0].dim


def shard_references(embedded: Iterable[EmbeddedShard], rows_per_shard: int) -> Bank:
    """Group whole embedded shards, in natural order of their sources, up to ``rows_per_shard`` rows each.

    A reference shard is its list of files; nothing is copied, so a bank that grows by a file
    changes at most its last group.

    Raises:
        BankTooSmallError: the bank is empty.
        InputError: the vectors differ in dimension.
    """
    ordered = sorted(
        (shard for shard in embedded if shard.rows), key=lambda shard: (natural_key(shard.source), shard.uri)
    )
    if not ordered:
        raise BankTooSmallError(
            "the bank is empty: no row of --references could be used, so there is nothing to compare "
            "candidates with. Check the files and the list of rejects."
        )
    check_alike(ordered)
    groups: list[list[EmbeddedShard]] = [[]]
    for shard in ordered:
        if groups[-1] and sum(part.rows for part in groups[-1]) + shard.rows > rows_per_shard:
            groups.append([])
        groups[-1].append(shard)
    shards = tuple(_to_shard(number, group) for number, group in enumerate(groups))
    return Bank(shards, sum(shard.rows for shard in shards), add_set_digests(part.vector_digest for part in ordered))


def _to_shard(number: int, parts: Sequence[EmbeddedShard]) -> ReferenceShard:
    digest = name_of("reference shard", parts=[part.digest for part in parts])
    return ReferenceShard(number, tuple(parts), digest, sum(part.rows for part in parts), parts[0].dim)


@dataclass(frozen=True)
class ReferenceIndex:
    """The index over one reference shard, in memory.

    Attributes:
        vectors: (rows, dim) float32 on the grid of ``vectors``.
        pair_ids: distinct pair ids of the shard, or None where own pairs are not excluded.
        pair_codes: (rows,) int64, position of each row's pair id in ``pair_ids``.
    """

    vectors: FloatMatrix
    pair_ids: pa.StringArray | None = None
    pair_codes: npt.NDArray[np.int64] | None = None

    @classmethod
    def load(cls, shard: ReferenceShard, with_pairs: bool) -> ReferenceIndex:
        """Read the shard's files.

        Raises:
            CorruptArtifactError: a file is not what was described.
        """
        blocks = [read_shard(part) for part in shard.parts]
        vectors = blocks[0].vectors if len(blocks) == 1 else np.concatenate([block.vectors for block in blocks])
        if not with_pairs:
            return cls(vectors)
        encoded = pa.chunked_array([block.pair_ids for block in blocks]).combine_chunks().dictionary_encode()
        return cls(vectors, encoded.dictionary, encoded.indices.to_numpy().astype(np.int64))

    @property
    def rows(self) -> int:
        """Number of reference queries."""
        return len(self.vectors)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        pairs = self.pair_ids.nbytes if self.pair_ids is not None else 0
        codes = self.pair_codes.nbytes if self.pair_codes is not None else 0
        return int(self.vectors.nbytes + pairs + codes)

    def search(self, candidates: FloatMatrix, k: int) -> tuple[FloatMatrix, npt.NDArray[np.int64]]:
        """The k highest float32 inner products of each candidate, by FAISS: (scores, positions), (rows, k)."""
        scores, positions = faiss.knn(candidates, self.vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        return scores, positions

    def codes_of(self, ids: pa.StringArray) -> npt.NDArray[np.int64]:
        """(rows,) position of each id among the shard's pair ids, -1 where it is none of them."""
        if self.pair_ids is None:
            return np.full(len(ids), -1, np.int64)
        found = pc.index_in(ids, value_set=self.pair_ids)
        codes: npt.NDArray[np.int64] = pc.fill_null(found, -1).to_numpy().astype(np.int64)
        return codes


def use_threads(threads: int) -> None:
    """Let FAISS use this many threads in this process."""
    faiss.omp_set_num_threads(threads)


def check_bank(bank: Bank, k: int | None) -> None:
    """Refuse a bank that cannot give k neighbours.

    Raises:
        BankTooSmallError: fewer references than k.
    """
    if k is not None and bank.rows < k:
        raise BankTooSmallError(
            f"--k {k} needs at least {k} reference queries, but the bank has {bank.rows}, so nothing was "
            "scored. Give more --references, a smaller --k, or --k auto for the largest that fits."
        )
