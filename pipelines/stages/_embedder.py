"""Embedder: input shards to their vectors, in whatever thread or process; Beam's metrics are left to the caller."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from nnn_core import storage
from nnn_core.embedded.embedding import EmbeddingRequest, PlannedInput, embed_groups, embed_shard
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import EncoderSource, load_once
from nnn_core.encoders.encoding import Usage
from nnn_core.encoders.generations import SettledSource
from pipelines.stages.metrics import tell


@dataclass(frozen=True)
class Embedding:
    """One input shard, or groups of single images, embedded together.

    Attributes:
        stage: name of the stage that it belongs to.
        planned: the input shards that were embedded, and the names of their results.
        results: what each input shard became: where its vectors are.
        usage: what the model did; None where the shard held vectors.
        seconds: wall time of reading, embedding and storing, in seconds; loading the model not included.
        written: how many bytes were stored.
    """

    stage: str
    planned: Sequence[PlannedInput]
    results: Sequence[EmbeddedInput]
    usage: Usage | None
    seconds: float
    written: int


def _tell_rows(stage: str, rows: int) -> None:
    tell(stage, rows=rows)


@dataclass
class Embedder:
    """Embeds whole shards; what handlers share between processes, so that all of the work is where the model is.

    The model is loaded when the first shard needs it: a run that finds everything done loads none.

    Attributes:
        source: the model, not loaded; None to convert shards of ready-made vectors.
        requests: what to read and where artefacts go, by name of the stage.
        threads: batches of one shard that the model may compute at the same time.
        copy: number of the model's copy in this process that embeds, from 0.
    """

    source: EncoderSource | None
    requests: Mapping[str, EmbeddingRequest]
    threads: int = 1
    copy: int = 0

    def embed(self, stage: str, planned: Sequence[PlannedInput]) -> Embedding:
        """See ``embed_shard``, and ``embed_groups`` for several."""
        request = self.requests[stage]
        encoder = load_once(self.source, self.copy) if self.source else None
        if isinstance(self.source, SettledSource):
            self.source.check_vectors(request.modality)
        usage = Usage(self.threads, tell=partial(_tell_rows, stage)) if self.source else None
        start = time.perf_counter()
        with storage.tally() as written:
            if planned[0].shard.contents:
                results = embed_groups(planned, request, encoder, usage)
            else:
                results = [embed_shard(each, request, encoder, usage) for each in planned]
        return Embedding(stage, planned, results, usage, time.perf_counter() - start, written.bytes)
