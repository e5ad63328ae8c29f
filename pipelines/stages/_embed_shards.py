"""EmbedShards: input shards to embedded shards, through Beam's RunInference where a model is needed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
from pipelines.stages._memory import give_back
from pipelines.stages._side_by_side import SideBySide

_LOG = logging.getLogger("nnn")

#: The output of shards that need the model; what needs none is the main output.
_ENCODE = "encode"

#: Most groups of single images that are put together at the same time.
_GROUPS_TOGETHER = 16


@dataclass
class EmbedShards(beam.PTransform):  # type: ignore[misc]
    """Embed what no earlier run has embedded, each shard by the name of the stage that it belongs to.

    The steps: FindEmbedded looks for finished results; EncodeShards runs the model on images and captions;
    ConvertShards checks vectors that were computed elsewhere, several shards at a time, and hands on what was found.

    Attributes:
        requests: what to read and where artefacts go, by name of the stage in metrics.
        source: the encoder; None when all input holds vectors.
        threads: batches that a worker process may compute at the same time on the CPU, or shards of ready-made
            vectors that it may convert.
        copies: how many copies of the model the worker processes of a machine share; None for one in each process.
    """

    requests: Mapping[str, EmbeddingRequest]
    source: EncoderSource | None
    threads: int = 1
    copies: int | None = None

    def expand(self, shards: beam.PCollection[tuple[str, InputShard]]) -> beam.PCollection[tuple[str, EmbeddedInput]]:
        find = beam.ParDo(_FindEmbedded(self.requests))
        if self.source is None:
            return self._convert(shards | "FindEmbedded" >> find)
        routes = shards | "FindEmbedded" >> find.with_outputs(_ENCODE, main="rest")
        encoded = (
            routes[_ENCODE]
            | "SpreadEncoding" >> beam.Reshuffle()
            | "EncodeShards" >> self._run_inference(self.source)
            | "TakeResults" >> beam.FlatMap(_take_results)
        )
        return (self._convert(routes.rest), encoded) | "Together" >> beam.Flatten()

    def _convert(self, rest: beam.PCollection[Any]) -> beam.PCollection[tuple[str, EmbeddedInput]]:
        converting = _ConvertShards(self.requests, self.threads, alone=self.source is None)
        return rest | "SpreadConversion" >> beam.Reshuffle() | "ConvertShards" >> beam.ParDo(converting)

    def _run_inference(self, source: EncoderSource) -> beam.PTransform:
        # RunInference imports torch wherever it is installed: seconds, and memory in every worker,
        # that a refresh of ready-made vectors need not pay.
        from apache_beam.ml.inference.base import RunInference

        from pipelines.stages._shard_encoder import ShardEncoder

        embedder = Embedder(source, self.requests, self.threads)
        return RunInference(ShardEncoder(embedder, "RunInference_embed", self.copies))


class _FindEmbedded(beam.DoFn):  # type: ignore[misc]
    """Shards to finished results, and to what is embedded together: a file each, but groups with few new images."""

    def __init__(self, requests: Mapping[str, EmbeddingRequest]) -> None:
        self._requests = requests

    def start_bundle(self) -> None:
        self._waiting: dict[str, list[PlannedInput]] = {}

    def process(self, named: tuple[str, InputShard]) -> Iterator[Any]:
        stage, shard = named
        request = self._requests[stage]
        metrics.tell(stage, expected=1)
        planned = request.plan(shard)
        found = request.find(planned)
        if found is not None:
            count(stage, metrics.REUSED)
            yield stage, found
            return
        planned = request.recognise(planned)
        if not planned.ready and metrics.LISTENERS:
            metrics.tell(stage, rows_expected=planned.new_rows)
        if planned.ready:
            yield stage, (planned,)
        elif not planned.known:
            yield TaggedOutput(_ENCODE, (stage, (planned,)))
        else:
            waiting = self._waiting.setdefault(stage, [])
            waiting.append(planned)
            if _new_of(waiting) >= IMAGES_PER_SHARD or len(waiting) == _GROUPS_TOGETHER:
                yield TaggedOutput(_ENCODE, (stage, tuple(self._waiting.pop(stage))))

    def finish_bundle(self) -> Iterator[TaggedOutput]:
        for stage, waiting in self._waiting.items():
            yield TaggedOutput(_ENCODE, GlobalWindows.windowed_value((stage, tuple(waiting))))


def _new_of(groups: Sequence[PlannedInput]) -> int:
    """Images of some groups that are to be encoded."""
    return sum(len(planned.shard.members) - planned.known for planned in groups)


class _ConvertShards(SideBySide):
    """Shards of ready-made vectors, several of a bundle side by side, to results in the order of the shards.

    Results that were found pass through: an output of their own would be one more task on an engine.

    Args:
        requests: what to read and where artefacts go, by name of the stage in metrics.
        threads: shards that are converted, and held in memory, at the same time.
        alone: whether no model runs beside them.
    """

    def __init__(self, requests: Mapping[str, EmbeddingRequest], threads: int, alone: bool = False) -> None:
        super().__init__(self._convert, threads)
        self._embedder = Embedder(None, requests)
        self._alone = alone

    def setup(self) -> None:
        if self._alone:
            give_back()

    def _convert(self, named: tuple[str, Any]) -> Any:
        return named if isinstance(named[1], EmbeddedInput) else self._embedder.embed(*named)

    def take(self, results: Iterator[Any]) -> Iterator[tuple[str, EmbeddedInput]]:
        since = time.perf_counter()
        for result in results:
            if not isinstance(result, Embedding):
                yield result
                continue
            # The stage's time is that of the process; shards that are converted side by side share it.
            now = time.perf_counter()
            yield from _take_results(result, now - since)
            since = now


def _take_results(embedding: Embedding, spent: float | None = None) -> list[tuple[str, EmbeddedInput]]:
    """What became of shards, counted here: metrics do not leave the thread or process that embedded them.

    Args:
        embedding: the embedded input shards, with time and bytes that they took.
        spent: seconds of this process that the shards took; None for all that passed while they were embedded.
    """
    stage, usage = embedding.stage, embedding.usage
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
            **({metrics.KNOWN: planned.known} if planned.known else {}),
        }
        for what, number in {metrics.COMPUTED: 1, **held}.items():
            count(stage, what, number)
        figures = {"rows": new, "known": planned.known, "rejected": rejects.rejected, "rejects": rejects.uri}
        _LOG.info(Event("embedded", stage=stage, uri=planned.shard.uri, **figures, seconds=round(embedding.seconds, 3)))
    return [(stage, result) for result in embedding.results]
