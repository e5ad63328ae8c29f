"""EmbedShards: input shards to embedded shards, through Beam's RunInference where a model is needed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from nnn_core.embedded.embedding import EmbeddingRequest, PlannedInput, embed_shard, find_embedded, plan_input
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import EncoderSource
from nnn_core.events import Event
from nnn_core.inputs.shards import InputShard
from pipelines.stages.metrics import (
    COMPUTED,
    MODEL_HAD_MSEC,
    MODEL_MSEC,
    MSEC,
    READ,
    REJECTED,
    REUSED,
    ROWS,
    TRUNCATED,
    count,
    count_seconds,
    count_work,
    expect,
    timed,
)

if TYPE_CHECKING:
    from pipelines.stages._shard_encoder import Embedding

_LOG = logging.getLogger("nnn")

_ENCODE, _CONVERT, _FOUND = "encode", "convert", "found"


@dataclass(frozen=True)
class ModelUse:
    """How worker machines run the encoder.

    Attributes:
        threads: batches that a worker process may compute at the same time, on the CPU.
        copies: of the model on a machine, which its worker processes share; None for one in each process.
    """

    threads: int = 1
    copies: int | None = None


@dataclass
class EmbedShards(beam.PTransform):  # type: ignore[misc]
    """Embed what no earlier run has embedded.

    The steps: FindEmbedded looks for finished results; EncodeShards runs the model on images and
    captions; ConvertShards checks vectors that were computed elsewhere.

    Attributes:
        request: what to read and where artefacts go.
        source: the encoder; None when all input holds vectors.
        stage: name of the stage in metrics.
        use: how worker machines run the encoder.
    """

    request: EmbeddingRequest
    source: EncoderSource | None
    stage: str
    use: ModelUse = ModelUse()

    def expand(self, shards: beam.PCollection[InputShard]) -> beam.PCollection[EmbeddedInput]:
        routes = shards | "FindEmbedded" >> beam.ParDo(_FindEmbedded(self.request, self.stage)).with_outputs(
            _ENCODE, _CONVERT, _FOUND
        )
        results = [
            routes[_FOUND],
            routes[_CONVERT]
            | "SpreadConversion" >> beam.Reshuffle()
            | "ConvertShards" >> beam.Map(convert, self.request, self.stage),
        ]
        if self.source is not None:
            results.append(
                routes[_ENCODE]
                | "SpreadEncoding" >> beam.Reshuffle()
                | "EncodeShards" >> self._run_inference(self.source)
                | "TakeResult" >> beam.Map(take_result, self.stage)
            )
        return results | "Together" >> beam.Flatten()

    def _run_inference(self, source: EncoderSource) -> beam.PTransform:
        # RunInference imports torch wherever it is installed: seconds, and memory in every worker,
        # that a refresh of ready-made vectors need not pay.
        from apache_beam.ml.inference.base import RunInference

        from pipelines.stages._shard_encoder import Embedder, ShardEncoder

        embedder = Embedder(source, self.request, self.use.threads)
        return RunInference(ShardEncoder(embedder, f"RunInference_{self.stage}", self.use.copies))


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


def convert(planned: PlannedInput, request: EmbeddingRequest, stage: str) -> EmbeddedInput:
    """``embed_shard`` of ready-made vectors, timed and counted."""
    start = time.perf_counter()
    with timed(stage):
        result = embed_shard(planned, request, None)
    _count_result(stage, planned, result, time.perf_counter() - start)
    return result


def take_result(prediction: Any, stage: str) -> EmbeddedInput:
    """What became of a shard, counted here: metrics do not leave the process in which a shared model is."""
    embedding: Embedding = prediction.inference
    count_seconds(stage, MODEL_MSEC, embedding.usage.seconds)
    count_seconds(stage, MODEL_HAD_MSEC, embedding.seconds * embedding.usage.used)
    count_seconds(stage, MSEC, embedding.seconds)
    count_work(stage, embedding.written)
    _count_result(stage, prediction.example, embedding.result, embedding.seconds)
    return embedding.result


def _count_result(stage: str, planned: PlannedInput, result: EmbeddedInput, seconds: float) -> None:
    count(stage, COMPUTED)
    count(stage, READ, planned.shard.bytes)
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
            seconds=round(seconds, 3),
        )
    )
