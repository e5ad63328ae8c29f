"""ShardEncoder: the encoder as a Beam model handler."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from nnn_core.embedded.embedding import EmbeddingRequest, PlannedInput, embed_shard
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import EncoderSource, load_once
from nnn_core.encoders.encoding import Usage
from nnn_core.storage.written import tally

_NUMBERS = count()


@dataclass(frozen=True)
class Embedding:
    """One input shard, embedded.

    Attributes:
        result: where its vectors are.
        usage: what the model did.
        seconds: in all.
        written: bytes that were stored.
    """

    result: EmbeddedInput
    usage: Usage
    seconds: float
    written: int


@dataclass
class Embedder:
    """Embeds whole shards; what handlers share between processes, so that all of the work is where the model is.

    The model is loaded when the first shard needs it: a run that finds everything done loads none.

    Attributes:
        source: the model, not loaded.
        request: what to read and where artefacts go.
        threads: batches that may be computed at the same time for a shard.
        copy: which of several copies of the model in this process.
    """

    source: EncoderSource
    request: EmbeddingRequest
    threads: int = 1
    copy: int = 0

    def embed(self, planned: PlannedInput) -> Embedding:
        """See ``embed_shard``."""
        encoder = load_once(self.source, self.copy)
        usage, start = Usage(self.threads), time.perf_counter()
        with tally() as written:
            result = embed_shard(planned, self.request, encoder, usage)
        return Embedding(result, usage, time.perf_counter() - start, written.bytes)


class ShardEncoder(ModelHandler[PlannedInput, PredictionResult, Embedder]):  # type: ignore[misc]
    """Runs the encoder over whole input shards.

    An element is a shard's descriptor, not its rows: the handler reads the shard, decodes its
    images in threads beside the model, and batches inside, always in the same way. So nothing
    big passes between transforms, or between processes that share a model, and a vector's bits do not depend
    on how Beam cut bundles.

    Args:
        embedder: what embeds a shard.
        namespace: of RunInference's own metrics.
        copies: of the model, which the worker processes of a machine share; None for one in each process.
    """

    def __init__(self, embedder: Embedder, namespace: str, copies: int | None = None) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1, model_copies=copies)
        self._embedder, self._namespace = embedder, namespace

    def load_model(self) -> Embedder:
        # Beam asks once for each copy. Stages with the same encoder count on, and so have the same copies.
        return replace(self._embedder, copy=next(_NUMBERS) % self.model_copies())

    def run_inference(
        self, batch: Sequence[PlannedInput], model: Embedder, inference_args: dict[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        for planned in batch:
            yield PredictionResult(planned, model.embed(planned))

    def get_num_bytes(self, batch: Sequence[PlannedInput]) -> int:
        return sum(planned.shard.bytes for planned in batch)

    def get_metrics_namespace(self) -> str:
        return self._namespace
