"""ListShards: a glob to the descriptors of its files."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam

from nnn_core.shards import InputShard, describe_shard, list_uris


@dataclass
class ListShards(beam.PTransform):  # type: ignore[misc]
    """The files that ``pattern`` names, each described once.

    Attributes:
        pattern: URIs, globs and brace ranges, see ``nnn_core.shards.list_uris``.
        flag: where the user wrote it, for messages.
    """

    pattern: str
    flag: str

    def expand(self, root: beam.Pipeline) -> beam.PCollection[InputShard]:
        return (
            root
            | "Pattern" >> beam.Create([self.pattern])
            | "ListUris" >> beam.FlatMap(list_uris, flag=self.flag)
            | "Spread" >> beam.Reshuffle()
            | "DescribeShard" >> beam.Map(describe_shard)
        )
