"""ListShards: globs to the descriptors of their files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import apache_beam as beam

from nnn_core import storage
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.inputs.shards import InputShard, ShardName
from pipelines.stages._side_by_side import SideBySide


@dataclass
class ListShards(beam.PTransform):  # type: ignore[misc]
    """The files that patterns name, each described once, by the name that its pattern goes by.

    Attributes:
        patterns: (URIs, globs and brace ranges, see ``nnn_core.inputs.listing.list_shards``; flag where the user wrote
            them, for messages), by a name.
        threads: files that are looked at, or whose bytes are hashed, at the same time.
        beacon: URI of an object that tells the launcher that a worker began; None where nobody waits for it.
    """

    patterns: Mapping[str, tuple[str, str]]
    threads: int = 1
    beacon: str | None = None

    def expand(self, root: beam.Pipeline) -> beam.PCollection[tuple[str, InputShard]]:
        return (
            root
            | "Start" >> beam.Impulse()
            | "NameShards" >> beam.FlatMap(self.name_shards)
            | "Spread" >> beam.Reshuffle()
            | "DescribeShard" >> beam.ParDo(SideBySide(_describe, self.threads))
        )

    def name_shards(self, _: bytes) -> Iterator[tuple[str, ShardName]]:
        """The first thing that a worker does."""
        if self.beacon:
            storage.create(self.beacon, b"a worker began\n")
        for name, (pattern, flag) in self.patterns.items():
            for shard in list_shards(pattern, flag):
                yield name, shard


def _describe(named: tuple[str, ShardName]) -> tuple[str, InputShard]:
    name, shard = named
    return name, describe_shard(shard)
