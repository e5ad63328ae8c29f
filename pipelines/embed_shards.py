"""EmbedShards: input shards to embedded shards, through Beam's RunInference where a model is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from nnn_core.embedded import EmbeddedInput
from nnn_core.embedding import EmbeddingRequest, PlannedInput, embed_shard, find_embedded, plan_input
from nnn_core.encoders import Encoder, EncoderSource
from nnn_core.encoding import Usage
from nnn_core.shards import InputShard
from pipelines.metrics import (
    BYTES,
    COMPUTED,
    MODEL_HAD_MSEC,
    MODEL_MSEC,
    MSEC,
    REJECTED,
    REUSED,
    ROWS,
    TRUNCATED,
    count,
    count_seconds,
    expect,
)

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
        threads: batches that a worker process may compute at the same time, on the CPU.
    """

    request: EmbeddingRequest
    source: EncoderSource | None
    stage: str
    threads: int = 1

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
        return partial(embed, request=self.request, stage=self.stage, threads=self.threads)

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


def embed(
    planned: PlannedInput, encoder: Encoder | None, request: EmbeddingRequest, stage: str, threads: int
) -> EmbeddedInput:
    """``embed_shard``, timed and counted."""
    usage, start = Usage(threads), time.perf_counter()
    result = embed_shard(planned, request, encoder, usage)
    seconds = time.perf_counter() - start
    count_seconds(stage, MSEC, seconds)
    if encoder is not None:
        count_seconds(stage, MODEL_MSEC, usage.seconds)
        count_seconds(stage, MODEL_HAD_MSEC, seconds * usage.threads_of(encoder))
    count(stage, COMPUTED)
    count(stage, BYTES, planned.shard.bytes)
    count(stage, ROWS, result.rejects.rows)
    count(stage, REJECTED, result.rejects.rejected)
    count(stage, TRUNCATED, result.truncated)
    return result
