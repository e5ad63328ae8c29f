"""Embedded shards: the checked unit vectors of one stretch of an input shard, as Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ConfigDict

from nnn_core import records, storage
from nnn_core.artifacts import (
    from_parquet,
    from_sealed,
    keep_exactly,
    lost,
    pack_vectors,
    to_parquet,
    to_sealed,
    unpack_vectors,
)
from nnn_core.digests import set_digest, sha256
from nnn_core.errors import CorruptArtifactError, InputError, LostArtifactError
from nnn_core.inputs.rejects import RejectSummary
from nnn_core.inputs.shards import GROUP
from nnn_core.storage.disk_cache import NO_CACHE, DiskCache
from nnn_core.vectors import FloatMatrix

#: Folder below the work folder that holds the keys of rows of single images, and how its files end.
CONTENTS, CONTENTS_SUFFIX = "contents", ".safetensors"

#: Rows of an embedded shard; a larger input shard becomes several.
ROWS_PER_SHARD = 65_536

#: One id in this many is part of the sample that table parts are cut by.
ID_SAMPLE_RATE = 1024


@dataclass(frozen=True, slots=True)
class EmbeddedShard:
    """Where the vectors of up to 65,536 rows lie, and what they are.

    Attributes:
        uri: Parquet file of ``id``, ``pair_id`` and ``vector`` (the bytes of its float32 coordinates, which lie on
            the grid of ``vectors``, in little-endian order).
        digest: SHA-256 of the Parquet file, in hex.
        rows: how many vectors the shard holds, one a row.
        dim: dimension of the vectors.
        vector_digest: order-free digest of (vector, pair id), see ``artifacts.set_digest``.
        id_digest: order-free digest of the shard's ids.
        id_sample: the ids whose hash falls under 1 in ``ID_SAMPLE_RATE``: a sample of the corpus
            that does not depend on how it is cut into shards.
        paired: how many rows have a pair id.
        source: URI of the input shard that the rows come from.
        orders: digests of the columns ``id`` and ``pair_id``, row by row, see ``_order_digest``.
    """

    uri: str
    digest: str
    rows: int
    dim: int
    vector_digest: str
    id_digest: str
    id_sample: tuple[str, ...]
    paired: int
    source: str
    orders: tuple[str, str] = ("", "")

    #: A mark with more than these would lose it, so it is not taken.
    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    def located(self) -> EmbeddedShard:
        """The same without what only the whole it belongs to is described by: all that reading and scoring it takes."""
        return replace(self, vector_digest="", id_digest="", id_sample=())

    @classmethod
    def write(
        cls, stem: str, ids: Sequence[str], pair_ids: Sequence[str], vectors: FloatMatrix, source: str
    ) -> EmbeddedShard:
        """Store a block of vectors and describe it.

        Its name ends in the digest of its bytes, so that what another attempt at the same input left
        (an input that changed, a model whose last bits differ) is never taken for this one's: the
        completion mark says which files belong together.

        Args:
            stem: URI of the file without the digest and the suffix that end its name.
            ids: (rows,) id of each row.
            pair_ids: (rows,) pair id of each row, empty for a row without a counterpart.
            vectors: (rows, dim) float32 unit vectors, see ``vectors.unit_vectors``.
            source: URI of the input shard that the rows come from, for messages.

        Raises:
            StorageError: the work folder cannot be written.
        """
        columns = {"id": pa.array(ids, pa.string()), "pair_id": pa.array(pair_ids, pa.string())}
        # Vectors shrink by a quarter at best, and packing them takes longer than all else that is done to them.
        data = to_parquet(pa.table({**columns, "vector": pack_vectors(vectors)}), plain=["vector"])
        digest = sha256(data)
        uri = f"{stem}-{digest[:16]}.parquet"
        keep_exactly(uri, data)
        keyed = zip(vectors, pair_ids, strict=True)
        return cls(
            uri=uri,
            digest=digest,
            rows=len(ids),
            dim=vectors.shape[1],
            vector_digest=set_digest(vector.tobytes() + pair_id.encode() for vector, pair_id in keyed),
            id_digest=set_digest(row_id.encode() for row_id in ids),
            id_sample=tuple(sorted(row_id for row_id in ids if _sampled(row_id))),
            paired=sum(1 for pair_id in pair_ids if pair_id),
            source=source,
            orders=(_order_digest(columns["id"]), _order_digest(columns["pair_id"])),
        )


@dataclass(frozen=True, slots=True)
class EmbeddedInput:
    """All that one input shard became.

    Attributes:
        source: URI of the input shard.
        digest: digest of the input shard's content.
        shards: embedded shards of the input shard, in file order; empty when every row was rejected.
        rejects: how many rows of the input shard were rejected, and why.
        precomputed: whether the input shard held vectors, so that no model was used.
        positional_keys: whether the shard's ids say only where a row lay, see ``nnn_core.inputs.keys``.
        off_length: used ready-made vectors whose length was not 1 within 0.01; None if the shard held no vectors.
        truncated: how many captions the model was given a part of only, because it takes no more.
        whitened: how many images are grey of 16 bits, of which decoding leaves little but white.
    """

    source: str
    digest: str
    shards: tuple[EmbeddedShard, ...]
    rejects: RejectSummary
    precomputed: bool
    positional_keys: bool = False
    off_length: int | None = None
    truncated: int = 0
    whitened: int = 0

    @property
    def is_group(self) -> bool:
        """Whether it was a group of single images."""
        return self.digest.startswith(GROUP)

    def ids_among(self, wanted: frozenset[str]) -> frozenset[str]:
        """The ids of ``wanted`` that the input shard holds."""
        return frozenset(name for shard in self.shards for name in wanted.intersection(read_ids(shard).to_pylist()))

    def located(self) -> Iterable[EmbeddedShard]:
        """The embedded shards as they travel once the whole side was described."""
        return (shard.located() for shard in self.shards)

    def to_json(self, mark: str) -> bytes:
        """The completion mark of an input shard. It holds no location, so a work folder can be moved.

        Args:
            mark: URI that it is stored under, of which the last segment counts.
        """
        record = asdict(self)
        for each in (record, *record["shards"]):
            each.pop("source")
        for each in (record["rejects"], *record["shards"]):
            each["uri"] = each["uri"] and storage.basename(each["uri"])
        return to_sealed(record, mark)

    @classmethod
    def from_json(cls, data: bytes, folder: str, rejects_folder: str, source: str, mark: str) -> EmbeddedInput:
        """Read a completion mark back, for an input shard that may since have another name.

        Args:
            data: the bytes of the completion mark.
            folder: URI of the folder where the embedded shards lie now.
            rejects_folder: URI of the folder where rejects are listed now.
            source: URI that the input shard has now.
            mark: URI of the completion mark.

        Raises:
            CorruptArtifactError: not a completion mark, or not the one that was written under this name.
        """
        try:
            record = from_sealed(data, mark)
            for each in record["shards"]:
                each.update(uri=storage.join(folder, each["uri"]), source=source)
            listed = record["rejects"]["uri"]
            record["rejects"]["uri"] = listed and storage.join(rejects_folder, listed)
            return records.build(cls, {**record, "source": source})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CorruptArtifactError(f"{mark!r} is not readable ({error!r}). Delete it and run again.") from error


@dataclass(frozen=True)
class VectorBlock:
    """The content of an embedded shard in memory.

    Attributes:
        ids: (rows,) Arrow strings, the id of each row.
        pair_ids: (rows,) Arrow strings, the pair id of each row; the empty one is no pair id, and equal to none.
        vectors: (rows, dim) float32, read-only, unit length, on the grid of ``vectors``.
    """

    ids: pa.StringArray
    pair_ids: pa.StringArray
    vectors: FloatMatrix

    @classmethod
    def of(cls, table: pa.Table) -> VectorBlock:
        """The block that the file of an embedded shard holds.

        Args:
            table: ``id``, ``pair_id`` and ``vector``, in one chunk each, see ``EmbeddedShard``.
        """
        ids, pair_ids, packed = (table.column(name).chunk(0) for name in ("id", "pair_id", "vector"))
        return cls(ids, pair_ids, unpack_vectors(packed))

    @classmethod
    def together(cls, blocks: Sequence[VectorBlock]) -> VectorBlock:
        """The rows of several blocks, one or more, in their order."""
        ids, pair_ids = (pa.concat_arrays([getattr(each, what) for each in blocks]) for what in ("ids", "pair_ids"))
        return cls(ids, pair_ids, np.concatenate([block.vectors for block in blocks]))

    def take(self, rows: npt.NDArray[np.int64]) -> VectorBlock:
        """Some of the rows."""
        return VectorBlock(self.ids.take(pa.array(rows)), self.pair_ids.take(pa.array(rows)), self.vectors[rows])


def read_shard(shard: EmbeddedShard, cache: DiskCache = NO_CACHE) -> VectorBlock:
    """The block behind a descriptor.

    Args:
        shard: descriptor of the embedded shard to read.
        cache: disk cache in which a copy of the file may lie or be left.

    Raises:
        LostArtifactError: the file is gone, or its bytes are not those that were described.
    """
    try:
        table = from_parquet(cache.read(shard.uri, shard.digest))
    except (CorruptArtifactError, InputError, pa.ArrowException, OSError, UnicodeError) as error:
        raise _lost(shard, error) from error
    return VectorBlock.of(table)


def _lost(shard: EmbeddedShard, error: Exception) -> LostArtifactError:
    """Its input is embedded anew once the mark is gone that says where the vectors are."""
    name = storage.basename(shard.uri).partition("-")[0]
    return lost(storage.join(storage.parent(shard.uri), f"{name}.json"), f"names {shard.uri!r}: {error}")


def read_ids(shard: EmbeddedShard, column: Literal["id", "pair_id"] = "id") -> pa.StringArray:
    """The ids, or pair ids, (rows,) of an embedded shard, without reading its vectors.

    Raises:
        LostArtifactError: the file is damaged, or holds other ids or in another order than were described.
    """
    try:
        with storage.open_input(shard.uri) as stream:
            file = pq.ParquetFile(stream, pre_buffer=False, page_checksum_verification=True)
            found = file.read([column], use_threads=False).column(column).combine_chunks()
        expected = shard.orders[("id", "pair_id").index(column)]
        if expected and _order_digest(found) != expected:
            raise CorruptArtifactError(f"its column {column!r} does not have the rows that were written")
    except (CorruptArtifactError, InputError, pa.ArrowException, OSError, UnicodeError, KeyError) as error:
        raise _lost(shard, error) from error
    return found


def _order_digest(column: pa.StringArray) -> str:
    """SHA-256 of the texts of a column without nulls, row by row, in hex: others for another order or other cuts."""
    if not len(column):
        return hashlib.sha256().hexdigest()
    lengths = pc.binary_length(column).to_numpy(zero_copy_only=False).astype("<i8")
    ends = np.frombuffer(column.buffers()[1], "<i4", len(column) + 1, 4 * column.offset)
    texts = memoryview(column.buffers()[2] or b"")[ends[0] : ends[-1]]
    return hashlib.sha256(lengths.tobytes() + texts).hexdigest()


def _sampled(row_id: str) -> bool:
    digest = hashlib.blake2b(row_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < (1 << 64) // ID_SAMPLE_RATE


def check_alike(shards: Sequence[EmbeddedShard]) -> None:
    """All shards of a job must have one dimension.

    Raises:
        InputError: naming one shard of each of two dimensions.
    """
    first = {shard.dim: shard for shard in reversed(shards)}
    if len(first) > 1:
        (dim_a, a), (dim_b, b) = sorted(first.items())[:2]
        raise InputError(
            f"vectors differ in dimension: {dim_a} in {a.source!r}, {dim_b} in {b.source!r}. Candidates and "
            "references must come from one encoder."
        )


def contents_path(name: str) -> str:
    """Path below the work folder of the keys of an input whose completion mark has that name, without its suffix."""
    return f"{CONTENTS}/{name}{CONTENTS_SUFFIX}"
