"""EmbedFiles: the listing and the embedding of one side of the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import apache_beam as beam

from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import EncoderSource
from nnn_core.inputs.shards import InputShard
from pipelines.stages._list_shards import ListShards
from pipelines.stages.embed_shards import EmbedShards
from pipelines.stages.metrics import StageName


@dataclass(frozen=True)
class EmbeddedFiles:
    """One side of the input, before and after embedding.

    Attributes:
        shards: descriptors of the input files.
        embedded: what the input files became, one element a file.
        request: how rows are read and encoded.
    """

    shards: beam.PCollection[InputShard]
    embedded: beam.PCollection[EmbeddedInput]
    request: EmbeddingRequest


def embed_files(
    root: beam.Pipeline,
    side: str,
    pattern: str,
    request: EmbeddingRequest,
    encoder: EncoderSource | None,
    *,
    threads: int,
    copies: int | None = None,
    hints: Mapping[str, str] = MappingProxyType({}),
    flag: str | None = None,
    beacon: str | None = None,
) -> EmbeddedFiles:
    """Wire the listing and embedding of one side.

    Args:
        root: the pipeline to build on.
        side: ``candidates``, ``references``, ``validation`` or ``queries``.
        pattern: pattern that names the input files, see ``ListShards``.
        request: how rows are read and encoded.
        encoder: the model, not loaded; None when all input files hold vectors.
        threads: batches that a worker process may compute, or files hash or convert, at the same time.
        copies: copies of the model that the worker processes of a machine share; None for one in each process.
        hints: Beam's resource hints for the stage that runs the model.
        flag: flag by which the user named the files, for messages; None for the one that is called like the side.
        beacon: URI of an object that tells the launcher that a worker began; None where nobody waits for it.
    """
    shards = root | f"List{side.capitalize()}" >> ListShards(pattern, flag or f"--{side}", threads, beacon)
    embed = EmbedShards(request, encoder, StageName(f"embed_{side}"), threads, copies)
    embedded = shards | f"Embed{side.capitalize()}" >> embed.with_resource_hints(**hints)
    return EmbeddedFiles(shards, embedded, request)
