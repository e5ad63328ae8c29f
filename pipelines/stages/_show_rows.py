"""ShowRows: a few rows as a person sees them, from the input files that they came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import AsIter, AsSingleton

from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.inputs.shards import InputShard
from nnn_core.report import Shown
from nnn_core.report.shown import show_rows


@dataclass
class ShowRows(beam.PTransform):  # type: ignore[misc]
    """Input files to the captions and thumbnails of some of their rows.

    The steps: FindRows looks up which file holds which of them; ReadRows reads those files again.

    Attributes:
        embedded: what the files became.
        wanted: ids of rows, a single element.
        request: how the files are read.
        fields: columns whose values are shown in place of captions.
    """

    embedded: beam.PCollection[EmbeddedInput]
    wanted: beam.PCollection[frozenset[str]]
    request: EmbeddingRequest
    fields: tuple[str, ...] = ()

    def expand(self, shards: beam.PCollection[InputShard]) -> beam.PCollection[Shown]:
        found = self.embedded | "FindRows" >> beam.FlatMap(_find, AsSingleton(self.wanted))
        reading = beam.FlatMap(_read, AsIter(found), self.request, self.fields)
        return shards | "SpreadFiles" >> beam.Reshuffle() | "ReadRows" >> reading


def _find(embedded: EmbeddedInput, wanted: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    names = embedded.ids_among(wanted)
    if names:
        yield embedded.digest, names


def _read(
    shard: InputShard,
    found: Iterable[tuple[str, frozenset[str]]],
    request: EmbeddingRequest,
    fields: tuple[str, ...],
) -> Iterator[Shown]:
    wanted = frozenset(name for digest, names in found if digest == shard.digest for name in names)
    return show_rows(shard, request, wanted, fields)
