"""The demo's corpus, embedded without a job."""

from __future__ import annotations

from nnn_core.embedded.embedding import embed_shard
from nnn_core.encoders import load_once
from nnn_core.inputs.listing import describe_shard, list_shards
from nnn_core.vectors import FloatMatrix
from pipelines.commands import _demo_data as demo
from pipelines.config import RefreshConfig

SIDES = ("references", "candidates", "validation")


def demo_vectors(directory: str) -> dict[str, tuple[list[str], FloatMatrix]]:
    """(ids, vectors) of the bank, the candidates and the queries, rendered and embedded below ``directory`` as far as
    that was not done there."""
    source = demo.demo_encoder()
    demo.write_corpus(directory, source)
    config = RefreshConfig(**demo.places(directory))
    found = {}
    for side, request in zip(SIDES, config.requests(source), strict=True):
        for name in list_shards(getattr(config, side), side):
            planned = request.plan(describe_shard(name))
            if request.find(planned) is None:
                embed_shard(planned, request, load_once(source))
        found[side] = demo.embedded_vectors(getattr(config, side), request)
    return found
