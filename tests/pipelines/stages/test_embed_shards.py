"""The encoder in Beam's hands: how often it is loaded, where its counters go, and how many copies there are."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that
from fakes import FormulaEncoder, Silent, formula

from nnn_core import encoders
from nnn_core.embedded.embedding import EmbeddingRequest, embed_shard
from nnn_core.embedded.shards import EmbeddedInput, read_shard
from nnn_core.encoders import Encoder, Fingerprint, load_once
from nnn_core.errors import InputError
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns
from nnn_core.inputs.shards import InputShard
from nnn_core.vectors import unit_vectors
from pipelines.running._progress import Tally, shown
from pipelines.stages._embed_shards import EmbedShards, _ConvertShards
from pipelines.stages.metrics import (
    COMPUTED,
    MODEL_HAD_MSEC,
    NAMESPACE,
    READ,
    REJECTED,
    ROWS,
    TRUNCATED,
    WRITTEN,
)

FILES, ROWS_EACH = 5, 4


class Counting(FormulaEncoder):
    def encode_texts(self, texts: list[str]) -> object:  # type: ignore[override]
        self.truncated += len(texts)
        return super().encode_texts(texts)


class Source:
    """Equal wherever it was pickled to; counts what was loaded in this process."""

    fingerprint = Fingerprint("w", "a", "p", "t")
    loads = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source)

    def __hash__(self) -> int:
        return 7

    def load(self) -> Encoder:
        Source.loads += 1
        return Counting()  # type: ignore[return-value]


def check(results: list[EmbeddedInput]) -> None:
    assert len(results) == FILES
    for result in results:
        (block,) = map(read_shard, result.shards)
        expected = [formula(f"caption {row_id}".encode()) for row_id in block.ids.to_pylist()]
        assert block.vectors.tobytes() == unit_vectors(expected)[0].tobytes()  # type: ignore[arg-type]


@pytest.mark.parametrize("copies", [None, 1, 2])
def test_copies_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: int | None) -> None:
    monkeypatch.setattr(encoders, "_LOADED", {})
    monkeypatch.setattr(Source, "loads", 0)
    shards = []
    for number in range(FILES):
        records = [{"id": f"{number}-{row}", "caption": f"caption {number}-{row}"} for row in range(ROWS_EACH)]
        path = tmp_path / f"{number}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        shards.append(describe_shard(str(path)))
    request = EmbeddingRequest("text", Columns(), "e", str(tmp_path / "work"))
    pipeline = beam.Pipeline("FnApiRunner", PipelineOptions([]))
    named = pipeline | beam.Create([("embed", shard) for shard in shards])
    results = named | EmbedShards({"embed": request}, Source(), 2, copies)  # type: ignore[arg-type]
    assert_that(results | beam.Values(), check)
    run = pipeline.run()
    run.wait_until_finish()
    counters = {each.key.metric.name: each.committed for each in run.metrics().query()["counters"]}
    assert {each.key.metric.namespace for each in run.metrics().query()["counters"]} >= {NAMESPACE}
    assert (counters[f"embed/{ROWS}"], counters[f"embed/{TRUNCATED}"]) == (FILES * ROWS_EACH,) * 2
    assert f"embed/{MODEL_HAD_MSEC}" in counters
    assert Source.loads == (copies or 1)


class Seen(Silent):
    """A display that notes artefacts, rows, and the rows that are expected."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, int | None]] = []

    def show(self, stage: str, tally: Tally) -> None:  # type: ignore[override]
        self.steps.append((tally.done, tally.rows, tally.rows_expected))


@pytest.mark.parametrize(("name", "total"), [("0.parquet", 7), ("0.jsonl", None)])
def test_rows_of_a_long_file_are_told_as_they_are_done(
    name: str, total: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "_LOADED", {})
    records = [{"id": str(row), "caption": f"caption {row}"} for row in range(7)]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "0.parquet")
    (tmp_path / "0.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    shard = describe_shard(str(tmp_path / name))
    request = EmbeddingRequest("text", Columns(), "e", str(tmp_path / "work"))
    seen = Seen()
    with shown(seen), beam.Pipeline("FnApiRunner", PipelineOptions([])) as pipeline:  # type: ignore[arg-type]
        _ = pipeline | beam.Create([("embed", shard)]) | EmbedShards({"embed": request}, Source())  # type: ignore[arg-type]
    assert seen.steps[-4:] == [(0, 3, total), (0, 6, total), (0, 7, total), (1, 7, total)]


def test_copies_are_kept_until_another_model_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_LOADED", {})
    one, two = (load_once(Source(), copy) for copy in (0, 1))  # type: ignore[arg-type]
    assert one is not two
    assert load_once(Source(), 1) is two  # type: ignore[arg-type]
    other = type("Other", (Source,), {"__eq__": lambda *_: False, "__hash__": lambda _: 8})()
    load_once(other)
    assert load_once(Source(), 1) is not two  # type: ignore[arg-type]


class Watched:
    """``embed_shard`` that notes how many run at the same time, and keeps the first ones until all threads are busy."""

    def __init__(self, threads: int) -> None:
        self._barrier, self._lock = threading.Barrier(threads), threading.Lock()
        self._left, self._running = threads, 0
        self.most = 0

    def __call__(self, *args: object) -> EmbeddedInput:
        with self._lock:
            self._left, waits = self._left - 1, self._left > 0
            self._running += 1
            self.most = max(self.most, self._running)
        try:
            if waits:
                self._barrier.wait(timeout=60)
            return embed_shard(*args)  # type: ignore[arg-type]
        finally:
            with self._lock:
                self._running -= 1


def vector_files(tmp_path: Path, count: int) -> list[InputShard]:
    for number in range(count):
        table = {"id": [f"{number}-{row}" for row in range(ROWS_EACH)], "vector": [[1.0, number]] * (ROWS_EACH - 1)}
        table["vector"].append([0.0, 0.0])
        pq.write_table(pa.table(table), tmp_path / f"{number}.parquet")
    return [describe_shard(str(tmp_path / f"{number}.parquet")) for number in range(count)]


@pytest.mark.parametrize("threads", [1, 3])
def test_files_of_vectors_are_converted_side_by_side(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(threads)
    monkeypatch.setattr("pipelines.stages._embedder.embed_shard", watched)
    shards = vector_files(tmp_path, 11)

    def keep(found: list[EmbeddedInput]) -> None:
        assert sorted(each.source for each in found) == sorted(shard.uri for shard in shards)

    request = EmbeddingRequest("image", Columns(), None, str(tmp_path / "work"))
    pipeline = beam.Pipeline("FnApiRunner", PipelineOptions([]))
    named = pipeline | beam.Create([("embed", shard) for shard in shards])
    results = named | EmbedShards({"embed": request}, None, threads)
    assert_that(results | beam.Values(), keep)
    with shown(Silent()) as tallies:
        run = pipeline.run()
        run.wait_until_finish()
    assert watched.most == threads
    counters = {each.key.metric.name: each.committed for each in run.metrics().query()["counters"]}
    assert counters[f"embed/{ROWS}"] == 11 * ROWS_EACH
    assert counters[f"embed/{REJECTED}"] == counters[f"embed/{COMPUTED}"] == 11
    assert counters[f"embed/{READ}"] == sum(shard.bytes for shard in shards)
    written = sum(path.stat().st_size for path in (tmp_path / "work").rglob("*") if path.is_file())
    assert 0 < counters[f"embed/{WRITTEN}"] <= written
    assert (tallies["embed"].done, tallies["embed"].expected) == (11, 11)


def test_results_come_in_the_order_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.stages._side_by_side._EACH", 2)
    request = EmbeddingRequest("image", Columns(), None, str(tmp_path / "work"))
    plans = [request.plan(shard) for shard in vector_files(tmp_path, 11)]
    converter = _ConvertShards({"embed": request}, 2)
    converter.start_bundle()
    first = [result.source for planned in plans for _, result in converter.process(("embed", (planned,)))]
    rest = [result.value[1].source for result in converter.finish_bundle()]
    assert [*first, *rest] == [planned.shard.uri for planned in plans]
    assert (len(first), len(rest)) == (8, 3)


def test_a_broken_file_ends_the_bundle(tmp_path: Path) -> None:
    request = EmbeddingRequest("image", Columns(), None, str(tmp_path / "work"))
    plans = [request.plan(shard) for shard in vector_files(tmp_path, 5)]
    Path(plans[1].shard.uri).write_bytes(b"PAR1 no more PAR1")
    converter = _ConvertShards({"embed": request}, 2)
    converter.start_bundle()
    taken = [result for planned in plans for _, result in converter.process(("embed", (planned,)))]
    with pytest.raises(InputError, match=r"1\.parquet"):
        taken.extend(result.value[1] for result in converter.finish_bundle())
    assert [result.source for result in taken] == [plans[0].shard.uri]


def test_no_thread_outlives_a_bundle_that_is_given_up(tmp_path: Path) -> None:
    """A step that comes after may fail, and then nothing is called any more."""
    request = EmbeddingRequest("image", Columns(), None, str(tmp_path / "work"))
    before = set(threading.enumerate())
    converter = _ConvertShards({"embed": request}, 2)
    converter.start_bundle()
    for shard in vector_files(tmp_path, 3):
        assert list(converter.process(("embed", (request.plan(shard),)))) == []
    assert set(threading.enumerate()) <= before
    results = converter.finish_bundle()
    next(results)
    results.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=60)
        assert not thread.is_alive()
