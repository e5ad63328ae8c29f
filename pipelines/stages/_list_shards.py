"""ListShards: a glob to the descriptors of its files."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam

from nnn_core import storage
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.shards import InputShard, ShardName
from pipelines.stages._side_by_side import SideBySide


@dataclass
class ListShards(beam.PTransform):  # type: ignore[misc]
    """The files that ``pattern`` names, each described once.

    Attributes:
        pattern: URIs, globs and brace ranges, see ``nnn_core.inputs.listing.list_shards``.
        flag: where the user wrote it, for messages.
        threads: files that are looked at, or whose bytes are hashed, at the same time.
        beacon: URI of an object that tells the launcher that a worker began; None where nobody waits for it.
    """

    pattern: str
    flag: str
    threads: int = 1
    beacon: str | None = None

    def expand(self, root: beam.Pipeline) -> beam.PCollection[InputShard]:
        return (
            root
            | "Start" >> beam.Impulse()
            | "NameShards" >> beam.FlatMap(self.name_shards)
            | "Spread" >> beam.Reshuffle()
            | "DescribeShard" >> beam.ParDo(SideBySide(describe_shard, self.threads))
        )

    def name_shards(self, _: bytes) -> list[ShardName]:
        """The first thing that a worker does."""
        if self.beacon:
            storage.create(self.beacon, b"a worker began\n")
        return list_shards(self.pattern, self.flag)
