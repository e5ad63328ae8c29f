"""ShardEncoder: the encoder as a Beam model handler."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from nnn_core.embedded.embedding import PlannedInput
from pipelines.stages._embedder import Embedder, Embedding

_NUMBERS = itertools.count()

#: Input shards that are embedded together, by name of the stage that they belong to.
Named = tuple[str, tuple[PlannedInput, ...]]


class ShardEncoder(ModelHandler[Named, Embedding, Embedder]):  # type: ignore[misc]
    """Runs the encoder over whole input shards.

    An element is a shard's descriptor, or those of several groups of images, not its rows: the handler reads them,
    decodes images in threads beside the model, and batches inside. So nothing big passes between transforms, or
    between processes that share a model; and since batches are of one size, a vector's bits do not depend on how Beam
    cut bundles.

    Args:
        embedder: what embeds a shard.
        namespace: of RunInference's own metrics.
        copies: of the model, which the worker processes of a machine share; None for one in each process.
    """

    def __init__(self, embedder: Embedder, namespace: str, copies: int | None = None) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1, model_copies=copies)
        self._embedder, self._namespace = embedder, namespace

    def load_model(self) -> Embedder:
        # Beam asks once for each copy.
        return replace(self._embedder, copy=next(_NUMBERS) % self.model_copies())

    def run_inference(
        self, batch: Sequence[Named], model: Embedder, inference_args: dict[str, Any] | None = None
    ) -> Iterable[Embedding]:
        return itertools.starmap(model.embed, batch)

    def get_num_bytes(self, batch: Sequence[Named]) -> int:
        return sum(planned.shard.bytes for _, together in batch for planned in together)

    def get_metrics_namespace(self) -> str:
        return self._namespace
