"""EmbedFiles: the listing and the embedding of the input, all sides of it together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

import apache_beam as beam

from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import EncoderSource
from nnn_core.inputs.shards import InputShard
from pipelines.stages._embed_shards import EmbedShards
from pipelines.stages._list_shards import ListShards
from pipelines.stages.metrics import StageName

Item = TypeVar("Item")


@dataclass(frozen=True)
class Files:
    """One side of the input, as it is asked for.

    Attributes:
        side: ``candidates``, ``references``, ``validation`` or ``queries``.
        pattern: pattern that names the input files, see ``ListShards``.
        request: how rows are read and encoded.
        flag: flag by which the user named the files, for messages; None for the one that is called like the side.
    """

    side: str
    pattern: str
    request: EmbeddingRequest
    flag: str | None = None

    @property
    def stage(self) -> str:
        """Name of the side's embedding in metrics, by which its files go."""
        return StageName(f"embed_{self.side}").value


@dataclass(frozen=True)
class _EmbeddedSide:
    """One side of the input, before and after embedding.

    Attributes:
        shards: descriptors of the input files.
        embedded: what the input files became, one element a file.
        request: how rows are read and encoded.
    """

    shards: beam.PCollection[InputShard]
    embedded: beam.PCollection[EmbeddedInput]
    request: EmbeddingRequest


@dataclass(frozen=True)
class EmbeddedFiles:
    """All sides of the input together, each file by the name of its side's stage.

    Attributes:
        files: the sides.
        shards: descriptors of the input files.
        embedded: what the input files became, one element a file.
    """

    files: Sequence[Files]
    shards: beam.PCollection[tuple[str, InputShard]]
    embedded: beam.PCollection[tuple[str, EmbeddedInput]]
    _sides: dict[str, _EmbeddedSide] = field(default_factory=dict)

    def of(self, side: str) -> _EmbeddedSide:
        """One of the sides, by itself: steps of their own where the whole input would not do."""
        if side not in self._sides:
            self._sides[side] = self._only(side)
        return self._sides[side]

    def _only(self, side: str) -> _EmbeddedSide:
        (files,) = (each for each in self.files if each.side == side)
        shards, embedded = (
            collection | f"{what}{side.capitalize()}" >> beam.FlatMap(_of_stage, files.stage)
            for what, collection in (("FilesOf", self.shards), ("Embedded", self.embedded))
        )
        return _EmbeddedSide(shards, embedded, files.request)


def embed_files(
    root: beam.Pipeline,
    files: Sequence[Files],
    encoder: EncoderSource | None,
    *,
    threads: int,
    copies: int | None = None,
    hints: Mapping[str, str] = MappingProxyType({}),
    beacon: str | None = None,
) -> EmbeddedFiles:
    """Wire the listing and embedding of all sides, which share each step: on an engine a step costs by itself.

    Args:
        root: the pipeline to build on.
        files: the sides.
        encoder: the model, not loaded; None when all input files hold vectors.
        threads: batches that a worker process may compute, or files hash or convert, at the same time.
        copies: copies of the model that the worker processes of a machine share; None for one in each process.
        hints: Beam's resource hints for the stage that runs the model.
        beacon: URI of an object that tells the launcher that a worker began; None where nobody waits for it.
    """
    patterns = {each.stage: (each.pattern, each.flag or f"--{each.side}") for each in files}
    shards = root | "ListShards" >> ListShards(patterns, threads, beacon)
    embed = EmbedShards({each.stage: each.request for each in files}, encoder, threads, copies)
    return EmbeddedFiles(files, shards, shards | "EmbedShards" >> embed.with_resource_hints(**hints))


def _of_stage(named: tuple[str, Item], stage: str) -> Iterator[Item]:
    name, item = named
    if name == stage:
        yield item
