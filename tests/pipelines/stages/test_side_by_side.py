"""Elements of a bundle that are worked on by several threads."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from nnn_core.inputs.listing import describe_shard
from pipelines.stages import _list_shards
from pipelines.stages._side_by_side import SideBySide


@pytest.mark.parametrize("elements", [0, 1, 31, 32, 33, 70])
def test_results_come_in_the_order_of_the_elements(elements: int) -> None:
    step = SideBySide(lambda number: -number, 2)
    step.start_bundle()
    taken = [result for number in range(elements) for result in step.process(number)]
    taken += [result.value for result in step.finish_bundle()]
    assert taken == [-number for number in range(elements)]


def test_what_is_in_hand_when_another_fails_is_done_before_the_failure_is_told() -> None:
    """A job that has failed does not go on writing."""
    begun, done = threading.Event(), []

    def work(number: int) -> None:
        if number == 0:
            begun.wait(60)
            raise ValueError("no space")
        begun.set()
        time.sleep(0.2)
        done.append(number)

    step = SideBySide(work, 2)
    step.start_bundle()
    assert not [result for number in range(20) for result in step.process(number)]
    with pytest.raises(ValueError, match="no space"):
        list(step.finish_bundle())
    told = list(done)
    time.sleep(0.5)
    assert told == done
    assert 1 <= len(done) < 19


def test_files_are_described_by_as_many_threads_as_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{number}.parquet" for number in range(6)]
    for path in paths:
        path.write_bytes(path.name.encode())
    expected = [describe_shard(str(path)) for path in paths]
    together = threading.Barrier(3)

    def describe(name: str) -> object:
        together.wait(60)
        return describe_shard(name)

    monkeypatch.setattr(_list_shards, "describe_shard", describe)
    with beam.Pipeline("FnApiRunner") as pipeline:
        patterns = {"all": (str(tmp_path / "*.parquet"), "--candidates")}
        found = pipeline | _list_shards.ListShards(patterns, threads=3)
        assert_that(found, equal_to([("all", shard) for shard in expected]))
