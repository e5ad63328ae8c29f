"""What is left of an input's embedded shards when some of their rows are left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa

from nnn_core import storage
from nnn_core.digests import name_of
from nnn_core.embedded.profile import VectorSum
from nnn_core.embedded.shards import EmbeddedInput, EmbeddedShard, VectorBlock, read_shard
from nnn_core.vectors import Mask


def leave_out(
    embedded: EmbeddedInput, unwanted: Callable[[VectorBlock], Mask], criterion: str, work: str
) -> EmbeddedInput:
    """A file as if it had never held some of its rows; only shards that lose some are stored anew, below ``work``.

    ``off_length`` stays that of the whole file, since kept vectors no longer tell how long they were.

    Args:
        embedded: the file, embedded.
        unwanted: says of each row of a shard whether it is left out, (rows,).
        criterion: digest of all that ``unwanted`` goes by.
        work: URI of the folder of artefacts.
    """
    left = tuple(_rest(shard, unwanted, criterion, work) for shard in embedded.shards)
    dropped = sum(shard.rows for shard in embedded.shards) - sum(shard.rows for shard in left)
    rejects = replace(embedded.rejects, rows=embedded.rejects.rows - dropped)
    return replace(embedded, shards=tuple(shard for shard in left if shard.rows), rejects=rejects)


def _rest(shard: EmbeddedShard, unwanted: Callable[[VectorBlock], Mask], criterion: str, work: str) -> EmbeddedShard:
    block = read_shard(shard)
    kept = ~unwanted(block)
    if kept.all() or not kept.any():
        return shard if kept.all() else replace(shard, rows=0)
    name = name_of("rest", shard=shard.digest, criterion=criterion)
    rows, vectors = pa.array(np.flatnonzero(kept)), block.vectors[kept]
    ids, pair_ids = (column.take(rows).to_pylist() for column in (block.ids, block.pair_ids))
    rest = EmbeddedShard.write(storage.join(work, "embedded", name), ids, pair_ids, vectors, shard.source)
    VectorSum.of_shard(rest, work, vectors)  # while they are in memory: a refresh asks for it later
    return rest
