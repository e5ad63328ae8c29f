"""EmbedFiles: the listing and the embedding of one side of the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import apache_beam as beam

from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import EncoderSource
from nnn_core.inputs.shards import InputShard
from pipelines.stages.embed_shards import EmbedShards, ModelUse
from pipelines.stages.list_shards import ListShards
from pipelines.stages.metrics import StageName


@dataclass(frozen=True)
class EmbeddedFiles:
    """One side of the input, before and after embedding.

    Attributes:
        shards: descriptors of the input files.
        embedded: what the files became, one element each.
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
    hints: Mapping[str, str] | None = None,
    use: ModelUse = ModelUse(),  # noqa: B008
) -> EmbeddedFiles:
    """Wire the listing and embedding of one side.

    Args:
        root: the pipeline to build on.
        side: ``candidates``, ``references``, ``validation`` or ``queries``: the flag that names the files.
        pattern: names the files, see ``ListShards``.
        request: how rows are read and encoded.
        encoder: None when all hold vectors.
        hints: Beam's resource hints for the stage that runs the model.
        use: how worker machines run the model.
    """
    shards = root | f"List{side.capitalize()}" >> ListShards(pattern, f"--{side}")
    embed = EmbedShards(request, encoder, StageName(f"embed_{side}"), use).with_resource_hints(**(hints or {}))
    embedded = shards | f"Embed{side.capitalize()}" >> embed
    return EmbeddedFiles(shards, embedded, request)
