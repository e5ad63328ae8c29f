"""Search the candidates of a version where they lie, without an index: what live queries find, before and after."""

from __future__ import annotations

from collections.abc import Iterator

from nnn_core import storage
from nnn_core.artifacts import from_parquet
from nnn_core.digests import sha256
from nnn_core.embedded.shards import EmbeddedShard, VectorBlock, read_shard
from nnn_core.errors import InputError
from nnn_core.evaluation.rankings import Ranking, Rankings
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.table.manifest import Manifest
from nnn_core.table.reading import BiasTable
from nnn_core.vectors import FloatMatrix


def search_version(table: BiasTable, work: str, queries: FloatMatrix) -> Rankings:
    """The first ten candidates of each query, exactly, by score and by score less bias.

    Reads the vectors of all candidates, one embedded shard after another.

    Args:
        table: the version to search.
        work: URI of the refresh's folder of artefacts, where the candidates' vectors lie.
        queries: (queries, dim) float32 unit vectors on the grid of ``vectors``, from the table's encoder.

    Raises:
        InputError: ``work`` has no record of the version's candidates.
        CorruptArtifactError: an embedded shard is damaged or gone.
    """
    nothing, rows = Ranking(tuple(() for _ in queries)), 0
    found = Rankings(nothing, nothing)
    for block in _candidates_of(table.manifest, work):
        found |= Rankings.of(queries, block.vectors, block.ids.to_pylist(), table.bias_of(block.ids))
        rows += len(block.vectors)
    if rows != table.manifest.rows:
        raise InputError(
            f"--work {work!r} has the vectors of {rows:,} of the {table.manifest.rows:,} candidates of version "
            f"{table.manifest.version}. Name the folder that the refresh had as --work, or run the refresh again."
        )
    return found


def _candidates_of(manifest: Manifest, work: str) -> Iterator[VectorBlock]:
    """The vectors of a version's candidates, as far as they are recorded, shard by shard."""
    for needs in Needs.find(manifest, work)[-1:]:
        wanted = set(needs.candidates)
        bank = {name: digest for name, digest, *_ in needs.bank}
        for name in needs.embedded:
            uri = storage.join(work, "embedded", name)
            if name not in bank:
                data = storage.read_bytes(uri)
                if sha256(data) in wanted:
                    yield VectorBlock.of(from_parquet(data))
            elif bank[name] in wanted:
                yield read_shard(EmbeddedShard(uri, bank[name], 0, manifest.dim, "", "", (), 0, name))
