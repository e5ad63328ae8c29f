"""The encoder in Beam's hands: how often it is loaded, where its counters go, and how many copies there are."""

from __future__ import annotations

import json
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that
from fakes import FormulaEncoder, formula

from nnn_core import encoders
from nnn_core.embedded.embedding import EmbeddingRequest
from nnn_core.embedded.shards import EmbeddedInput, read_shard
from nnn_core.encoders import Encoder, Fingerprint, load_once
from nnn_core.inputs.listing import describe_shard
from nnn_core.inputs.readers import Columns
from nnn_core.vectors import unit_vectors
from pipelines.stages.embed_shards import EmbedShards, ModelUse
from pipelines.stages.metrics import MODEL_HAD_MSEC, NAMESPACE, ROWS, TRUNCATED

FILES, ROWS_EACH = 5, 4


class Counting(FormulaEncoder):
    truncated = 0

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
    results = pipeline | beam.Create(shards) | EmbedShards(request, Source(), "embed", ModelUse(2, copies))  # type: ignore[arg-type]
    assert_that(results, check)
    run = pipeline.run()
    run.wait_until_finish()
    counters = {each.key.metric.name: each.committed for each in run.metrics().query()["counters"]}
    assert {each.key.metric.namespace for each in run.metrics().query()["counters"]} >= {NAMESPACE}
    assert (counters[f"embed/{ROWS}"], counters[f"embed/{TRUNCATED}"]) == (FILES * ROWS_EACH,) * 2
    assert f"embed/{MODEL_HAD_MSEC}" in counters
    assert Source.loads == (copies or 1)


def test_copies_are_kept_until_another_model_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_LOADED", {})
    one, two = (load_once(Source(), copy) for copy in (0, 1))  # type: ignore[arg-type]
    assert one is not two
    assert load_once(Source(), 1) is two  # type: ignore[arg-type]
    other = type("Other", (Source,), {"__eq__": lambda *_: False, "__hash__": lambda _: 8})()
    load_once(other)
    assert load_once(Source(), 1) is not two  # type: ignore[arg-type]
