"""EmbedShards: input shards to embedded shards, through Beam's RunInference where a model is needed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from nnn_core.embedded import EmbeddedInput
from nnn_core.embedding import EmbeddingRequest, PlannedInput, embed_shard, find_embedded, plan_input
from nnn_core.encoders import Encoder, EncoderSource
from nnn_core.events import Event
from nnn_core.shards import InputShard
from nnn_core.vectors import FloatMatrix
from pipelines.metrics import BYTES, COMPUTED, MODEL_MSEC, REJECTED, REUSED, ROWS, TRUNCATED, count, expect, timed

_LOG = logging.getLogger("nnn")

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
            | "ConvertShards" >> beam.Map(self._embed(), None),
        ]
        if self.source is not None:
            results.append(
                routes[_ENCODE]
                | "SpreadEncoding" >> beam.Reshuffle()
                | "EncodeShards" >> self._run_inference(self.source)
                | "TakeResult" >> beam.Map(lambda prediction: prediction.inference)
            )
        return results | "Together" >> beam.Flatten()

    def _embed(self) -> Callable[[PlannedInput, Encoder | None], EmbeddedInput]:
        return partial(embed, request=self.request, stage=self.stage)

    def _run_inference(self, source: EncoderSource) -> beam.PTransform:
        # RunInference imports torch wherever it is installed: seconds, and memory in every worker,
        # that a refresh of ready-made vectors need not pay.
        from apache_beam.ml.inference.base import RunInference

        from pipelines.shard_encoder import ShardEncoder

        return RunInference(ShardEncoder(source, self._embed(), f"RunInference_{self.stage}"))


@dataclass
class _FindEmbedded(beam.DoFn):  # type: ignore[misc]
    request: EmbeddingRequest
    stage: str

    def process(self, shard: InputShard) -> Iterator[TaggedOutput]:
        expect(self.stage)
        planned = plan_input(shard, self.request)
        found = find_embedded(planned, self.request)
        if found is not None:
            count(self.stage, REUSED)
            yield TaggedOutput(_FOUND, found)
        else:
            yield TaggedOutput(_CONVERT if planned.precomputed else _ENCODE, planned)


def embed(planned: PlannedInput, encoder: Encoder | None, request: EmbeddingRequest, stage: str) -> EmbeddedInput:
    """``embed_shard``, timed and counted."""
    start = time.perf_counter()
    with timed(stage):
        result = embed_shard(planned, request, encoder and _TimedEncoder(encoder, stage))
    count(stage, COMPUTED)
    count(stage, BYTES, planned.shard.bytes)
    count(stage, ROWS, result.rejects.rows)
    count(stage, REJECTED, result.rejects.rejected)
    count(stage, TRUNCATED, result.truncated)
    _LOG.info(
        Event(
            "embedded",
            stage=stage,
            uri=planned.shard.uri,
            rows=result.rejects.rows,
            rejected=result.rejects.rejected,
            rejects=result.rejects.uri,
            seconds=round(time.perf_counter() - start, 3),
        )
    )
    return result


class _TimedEncoder:
    """The encoder, with the time that it is waited for; decoding goes on beside it."""

    def __init__(self, encoder: Encoder, stage: str) -> None:
        self.encoder, self.stage, self.batch_size = encoder, stage, encoder.batch_size

    @property
    def truncated(self) -> int:
        """Captions that this thread has had cut."""
        return int(getattr(self.encoder, "truncated", 0))

    def preprocess_image(self, data: bytes) -> Any:
        return self.encoder.preprocess_image(data)

    def encode_images(self, images: Sequence[Any]) -> FloatMatrix:
        with timed(self.stage, MODEL_MSEC):
            return self.encoder.encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> FloatMatrix:
        with timed(self.stage, MODEL_MSEC):
            return self.encoder.encode_texts(texts)
