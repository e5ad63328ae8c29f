"""EmbedShards: input shards to embedded shards, through Beam's RunInference where a model is needed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows

from nnn_core.embedded.embedding import EmbeddingRequest, PlannedInput
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import EncoderSource
from nnn_core.events import Event
from nnn_core.inputs.listing import IMAGES_PER_SHARD
from nnn_core.inputs.shards import InputShard
from pipelines.stages import metrics
from pipelines.stages._counting import count, count_seconds, count_work
from pipelines.stages._embedder import Embedder, Embedding
from pipelines.stages._side_by_side import SideBySide

_LOG = logging.getLogger("nnn")

_ENCODE, _CONVERT, _FOUND = "encode", "convert", "found"


#: Most groups of single images that are put together at the same time.
_GROUPS_TOGETHER = 16


@dataclass
class EmbedShards(beam.PTransform):  # type: ignore[misc]
    """Embed what no earlier run has embedded.

    The steps: FindEmbedded looks for finished results; EncodeShards runs the model on images and
    captions; ConvertShards checks vectors that were computed elsewhere, several shards at a time.

    Attributes:
        request: what to read and where artefacts go.
        source: the encoder; None when all input holds vectors.
        stage: name of the stage in metrics.
        threads: batches that a worker process may compute at the same time on the CPU, or shards of ready-made
            vectors that it may convert.
        copies: how many copies of the model the worker processes of a machine share; None for one in each process.
    """

    request: EmbeddingRequest
    source: EncoderSource | None
    stage: str
    threads: int = 1
    copies: int | None = None

    def expand(self, shards: beam.PCollection[InputShard]) -> beam.PCollection[EmbeddedInput]:
        routes = shards | "FindEmbedded" >> beam.ParDo(_FindEmbedded(self.request, self.stage)).with_outputs(
            _ENCODE, _CONVERT, _FOUND
        )
        results = [
            routes[_FOUND],
            routes[_CONVERT]
            | "SpreadConversion" >> beam.Reshuffle()
            | "ConvertShards" >> beam.ParDo(_ConvertShards(self.request, self.stage, self.threads)),
        ]
        if self.source is not None:
            results.append(
                routes[_ENCODE]
                | "SpreadEncoding" >> beam.Reshuffle()
                | "EncodeShards" >> self._run_inference(self.source)
                | "TakeResults" >> beam.FlatMap(_take_results, self.stage)
            )
        return results | "Together" >> beam.Flatten()

    def _run_inference(self, source: EncoderSource) -> beam.PTransform:
        # RunInference imports torch wherever it is installed: seconds, and memory in every worker,
        # that a refresh of ready-made vectors need not pay.
        from apache_beam.ml.inference.base import RunInference

        from pipelines.stages._shard_encoder import ShardEncoder

        embedder = Embedder(source, self.request, self.threads)
        return RunInference(ShardEncoder(embedder, f"RunInference_{self.stage}", self.copies))


class _FindEmbedded(beam.DoFn):  # type: ignore[misc]
    """Shards to finished results, and to what is embedded together: a file each, but groups with few new images."""

    def __init__(self, request: EmbeddingRequest, stage: str) -> None:
        self._request, self._stage = request, stage

    def start_bundle(self) -> None:
        self._waiting: list[PlannedInput] = []

    def process(self, shard: InputShard) -> Iterator[TaggedOutput]:
        metrics.tell(self._stage, expected=1)
        planned = self._request.plan(shard)
        found = self._request.find(planned)
        if found is not None:
            count(self._stage, metrics.REUSED)
            yield TaggedOutput(_FOUND, found)
            return
        planned = self._request.recognise(planned)
        if planned.ready:
            yield TaggedOutput(_CONVERT, (planned,))
        elif not planned.known:
            yield TaggedOutput(_ENCODE, (planned,))
        else:
            self._waiting.append(planned)
            if self._new >= IMAGES_PER_SHARD or len(self._waiting) == _GROUPS_TOGETHER:
                yield self._together()

    def finish_bundle(self) -> Iterator[TaggedOutput]:
        if self._waiting:
            output = self._together()
            yield TaggedOutput(output.tag, GlobalWindows.windowed_value(output.value))

    @property
    def _new(self) -> int:
        return sum(len(planned.shard.members) - planned.known for planned in self._waiting)

    def _together(self) -> TaggedOutput:
        groups, self._waiting = tuple(self._waiting), []
        return TaggedOutput(_ENCODE, groups)


class _ConvertShards(SideBySide):
    """Shards of ready-made vectors, several of a bundle side by side, to results in the order of the shards.

    Args:
        request: what to read and where artefacts go.
        stage: name of the stage in metrics.
        threads: shards that are converted, and held in memory, at the same time.
    """

    def __init__(self, request: EmbeddingRequest, stage: str, threads: int) -> None:
        super().__init__(Embedder(None, request).embed, threads)
        self._stage = stage

    def take(self, results: Iterator[Embedding]) -> Iterator[EmbeddedInput]:
        since = time.perf_counter()
        for embedding in results:
            # The stage's time is that of the process; shards that are converted side by side share it.
            now = time.perf_counter()
            yield from _take_results(embedding, self._stage, now - since)
            since = now


def _take_results(embedding: Embedding, stage: str, spent: float | None = None) -> Sequence[EmbeddedInput]:
    """What became of shards, counted here: metrics do not leave the thread or process that embedded them.

    Args:
        embedding: the embedded input shards, with time and bytes that they took.
        stage: name of the stage in metrics.
        spent: seconds of this process that the shards took; None for all that passed while they were embedded.
    """
    usage = embedding.usage
    if usage is not None:
        count_seconds(stage, metrics.MODEL_MSEC, usage.seconds)
        count_seconds(stage, metrics.MODEL_HAD_MSEC, embedding.seconds * usage.used)
    count_seconds(stage, metrics.MSEC, embedding.seconds if spent is None else spent)
    count_work(stage, embedding.written)
    for planned, result in zip(embedding.planned, embedding.results, strict=True):
        rejects = result.rejects
        new = rejects.rows - planned.known
        held = {
            metrics.READ: planned.shard.bytes * new // max(1, rejects.rows),
            metrics.ROWS: new,
            metrics.REJECTED: rejects.rejected,
            metrics.TRUNCATED: result.truncated,
        }
        for what, number in {metrics.COMPUTED: 1, **held}.items():
            count(stage, what, number)
        figures = {"rows": new, "known": planned.known, "rejected": rejects.rejected, "rejects": rejects.uri}
        _LOG.info(Event("embedded", stage=stage, uri=planned.shard.uri, **figures, seconds=round(embedding.seconds, 3)))
    return embedding.results
