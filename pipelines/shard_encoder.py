"""ShardEncoder: the encoder as a Beam model handler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from nnn_core.embedded import EmbeddedInput
from nnn_core.embedding import PlannedInput
from nnn_core.encoders import Encoder, EncoderSource, load_once


class ShardEncoder(ModelHandler[PlannedInput, PredictionResult, EncoderSource]):  # type: ignore[misc]
    """Runs the encoder over whole input shards.

    An element is a shard's descriptor, not its rows: the handler reads the shard, decodes its
    images in threads beside the model, and batches inside, always in the same way. So nothing
    big passes between transforms, and a vector's bits do not depend on how Beam cut bundles.

    Args:
        source: the model, not loaded.
        embed: embeds one planned shard with the loaded model.
        namespace: of RunInference's own metrics.
    """

    def __init__(
        self, source: EncoderSource, embed: Callable[[PlannedInput, Encoder], EmbeddedInput], namespace: str
    ) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1)
        self._source, self._embed, self._namespace = source, embed, namespace

    def load_model(self) -> EncoderSource:
        # Loaded when the first shard needs it: a run that finds everything done loads no model.
        return self._source

    def run_inference(
        self, batch: Sequence[PlannedInput], model: EncoderSource, inference_args: dict[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        for planned in batch:
            yield PredictionResult(planned, self._embed(planned, load_once(model)))

    def get_num_bytes(self, batch: Sequence[PlannedInput]) -> int:
        return sum(planned.shard.bytes for planned in batch)

    def get_metrics_namespace(self) -> str:
        return self._namespace
