"""What is shuffled and what goes to every worker, measured: descriptions, whatever the vectors weigh."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from corpora import gaussian, write_vectors

from nnn_core.table.manifest import prepare_table
from pipelines.commands._parsing import parse_beam_options
from pipelines.commands._refresh_flags import build_parser
from pipelines.config import RefreshConfig
from pipelines.refresh import define_refresh

ROWS, DIM = 2000, 512
VECTORS_OF_A_SHARD = ROWS // 2 * DIM * 4
#: The largest are the statistics of a version: histograms of one size, 0.2 MB, however many rows they count.
LIMIT = VECTORS_OF_A_SHARD // 8

#: What a step on every worker is given does not grow with the files of candidates, but for a digit of a count.
GROWTH_FOR_FILE = 1
#: The two steps that one process runs for the whole table, for each file of candidates.
LIMIT_WHOLE_FOR_FILE = 1000

#: For each file of candidates, together: a runner in one process has all of it in memory, much of it more than once.
LIMIT_SHUFFLED_FOR_FILE = 3800
LIMIT_SIDE_FOR_FILE = 1800


class Crossings(PipelineVisitor):  # type: ignore[misc]
    """The collections that leave a worker: inputs of a shuffle, and side inputs."""

    def __init__(self) -> None:
        self.shuffled: dict[str, Any] = {}
        self.side: dict[str, Any] = {}

    def visit_transform(self, step: AppliedPTransform) -> None:
        if isinstance(step.transform, beam.GroupByKey):
            self.shuffled[step.full_label] = step.inputs[0]
        for number, side in enumerate(step.side_inputs):
            self.side[f"{step.full_label}:{number}"] = side.pvalue


def measure(element: object, name: str) -> None:
    Metrics.distribution("sizes", name).update(len(pickle.dumps(element)))


@dataclass(frozen=True)
class Measured:
    """Bytes of the elements of a collection: of the largest, and of all together."""

    largest: int
    total: int


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measured]:
    """What crosses in a run of the job over large files."""
    return measure_refresh(tmp_path_factory.mktemp("sizes"), ROWS, ROWS, 2)


def measure_refresh(folder: Path, rows: int, references: int, files: int) -> dict[str, Measured]:
    """What crosses in a run of the job, for each collection."""
    config = RefreshConfig(
        write_vectors(folder / "candidates", [f"item-{row}" for row in range(rows)], gaussian(rows, DIM, 1), files),
        write_vectors(
            folder / "references", [f"query-{row}" for row in range(references)], gaussian(references, DIM, 2), 2
        ),
        str(folder / "table"),
        str(folder / "work"),
        k=4,
        alpha=0.5,
        reference_shard_rows=references // 2,
    )
    prepare_table(config.table)
    pipeline = beam.Pipeline(options=parse_beam_options([], build_parser()))
    define_refresh(pipeline, config, None)
    crossings = Crossings()
    pipeline.visit(crossings)
    for kind, found in (("shuffle", crossings.shuffled), ("side", crossings.side)):
        for number, (label, collection) in enumerate(found.items()):
            _ = collection | f"Measure{kind}{number}" >> beam.Map(partial(measure, name=f"{kind} {label}"))
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(MetricsFilter().with_namespace("sizes"))["distributions"]
    return {each.key.metric.name: Measured(each.result.max, each.result.sum) for each in found}


def test_both_kinds_were_measured(sizes: dict[str, Measured]) -> None:
    for kind, stage in (("shuffle", "MergePartials"), ("side", "ScoreCandidates"), ("side", "CommitBiasTable")):
        assert any(name.startswith(kind) and stage in name for name in sizes), sorted(sizes)


def test_no_element_holds_the_vectors_of_a_shard(sizes: dict[str, Measured]) -> None:
    large = {name: size.largest for name, size in sizes.items() if size.largest > LIMIT}
    assert not large, f"more than {LIMIT} bytes each, where a shard's vectors are {VECTORS_OF_A_SHARD}"


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Measured], dict[str, Measured]]:
    """What crosses with 5 files of candidates, and with 30."""
    folder = tmp_path_factory.mktemp("growing")
    few, many = (measure_refresh(folder / str(files), 60, 20, files) for files in (5, 30))
    return few, many


def test_what_a_worker_holds_does_not_grow_with_the_files(growing: tuple[dict[str, Measured], ...]) -> None:
    few, many = growing
    whole = {"GatherSides", "CommitVersion"}
    names = [name for name in few if not any(step in name for step in whole)]
    assert {"ScoreShards", "MergeShard"} <= {step for step in ("ScoreShards", "MergeShard") if step in str(names)}
    # A step may read a side input as a list, so all of its elements count.
    sizes = {name: "total" if name.startswith("side") else "largest" for name in names}
    grown = {name: (getattr(many[name], size) - getattr(few[name], size)) / 25 for name, size in sizes.items()}
    assert not {name: size for name, size in grown.items() if size >= GROWTH_FOR_FILE}
    for name in few.keys() - set(names):
        assert (many[name].total - few[name].total) / 25 < LIMIT_WHOLE_FOR_FILE, name


def test_a_file_of_candidates_is_described_to_few_in_few_bytes(growing: tuple[dict[str, Measured], ...]) -> None:
    few, many = growing
    for kind, limit in (("shuffle", LIMIT_SHUFFLED_FOR_FILE), ("side", LIMIT_SIDE_FOR_FILE)):
        # What is combined is combined before it leaves a worker.
        each = [name for name in few if name.startswith(kind) and "CombinePerKey" not in name]
        grown = {name: (many[name].total - few[name].total) / 25 for name in each}
        assert sum(grown.values()) < limit, {name: size for name, size in grown.items() if size > 10}
