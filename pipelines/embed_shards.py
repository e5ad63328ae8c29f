"""EmbedShards: input shards to embedded shards, through Beam's RunInference where a model is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
from apache_beam.pvalue import TaggedOutput

from nnn_core.embedded import EmbeddedInput
from nnn_core.embedding import EmbeddingRequest, PlannedInput, embed_shard, find_embedded, plan_input
from nnn_core.encoders import Encoder, EncoderSource
from nnn_core.shards import InputShard
from pipelines.metrics import COMPUTED, REUSED, count, timed

_ENCODE, _CONVERT, _FOUND = "encode", "convert", "found"


@dataclass
class EmbedShards(beam.PTransform):  # type: ignore[misc]
    """Embed what no earlier run has embedded.

    The steps: FindEmbedded looks for finished results; EncodeShards runs the model on images and
    captions; ConvertShards checks vectors that were computed elsewhere.

    Attributes:
        request: what to read and where artefacts go.
        source: the encoder; None when all input holds vectors.
        stage: name of the stage in metrics.
    """

    request: EmbeddingRequest
    source: EncoderSource | None
    stage: str

    def expand(self, shards: beam.PCollection[InputShard]) -> beam.PCollection[EmbeddedInput]:
        routes = shards | "FindEmbedded" >> beam.ParDo(_FindEmbedded(self.request, self.stage)).with_outputs(
            _ENCODE, _CONVERT, _FOUND
        )
        results = [
            routes[_FOUND],
            routes[_CONVERT]
            | "SpreadConversion" >> beam.Reshuffle()
            | "ConvertShards" >> beam.Map(_embed, self.request, None, self.stage),
        ]
        if self.source is not None:
            results.append(
                routes[_ENCODE]
                | "SpreadEncoding" >> beam.Reshuffle()
                | "EncodeShards" >> RunInference(ShardEncoder(self.source, self.request, self.stage))
                | "TakeResult" >> beam.Map(lambda prediction: prediction.inference)
            )
        return results | "Together" >> beam.Flatten()


@dataclass
class _FindEmbedded(beam.DoFn):  # type: ignore[misc]
    request: EmbeddingRequest
    stage: str

    def process(self, shard: InputShard) -> Iterator[TaggedOutput]:
        planned = plan_input(shard, self.request)
        found = find_embedded(planned, self.request)
        if found is not None:
            count(self.stage, REUSED)
            yield TaggedOutput(_FOUND, found)
        else:
            yield TaggedOutput(_CONVERT if planned.precomputed else _ENCODE, planned)


def _embed(planned: PlannedInput, request: EmbeddingRequest, encoder: Encoder | None, stage: str) -> EmbeddedInput:
    with timed(stage):
        result = embed_shard(planned, request, encoder)
    count(stage, COMPUTED)
    return result


class _OnFirstUse:
    """Loads the model when the first shard needs it: a run that finds everything done loads none."""

    def __init__(self, source: EncoderSource) -> None:
        self._source = source
        self._encoder: Encoder | None = None

    def get(self) -> Encoder:
        if self._encoder is None:
            self._encoder = self._source.load()
        return self._encoder


class ShardEncoder(ModelHandler[PlannedInput, PredictionResult, _OnFirstUse]):  # type: ignore[misc]
    """Runs the encoder over whole input shards.

    An element is a shard's descriptor, not its rows: the handler reads the shard, decodes its
    images in threads beside the model, and batches inside, always in the same way. So nothing
    big passes between transforms, and a vector's bits do not depend on how Beam cut bundles.
    """

    def __init__(self, source: EncoderSource, request: EmbeddingRequest, stage: str) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1)
        self._source, self._request, self._stage = source, request, stage

    def load_model(self) -> _OnFirstUse:
        return _OnFirstUse(self._source)

    def run_inference(
        self, batch: Sequence[PlannedInput], model: _OnFirstUse, inference_args: dict[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        for planned in batch:
            yield PredictionResult(planned, _embed(planned, self._request, model.get(), self._stage))

    def get_num_bytes(self, batch: Sequence[PlannedInput]) -> int:
        return sum(planned.shard.bytes for planned in batch)

    def get_metrics_namespace(self) -> str:
        return f"RunInference_{self._stage}"
