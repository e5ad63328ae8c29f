"""Whatever a runner runs again, the table is the same: every step fails once, or every bundle is executed twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.pipeline import PipelineVisitor
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.direct.transform_evaluator import _ParDoEvaluator
from corpora import gaussian, tree, write_jsonl, write_tar, write_vectors
from failpoints import several_parts
from fakes import FormulaEncoder

from nnn_core.encoders import Encoder, Fingerprint
from pipelines.commands._parsing import parse_beam_options
from pipelines.commands._refresh_flags import build_parser
from pipelines.config import RefreshConfig
from pipelines.refresh import define_refresh
from pipelines.running.runner import run

pytestmark = pytest.mark.counted

#: The steps that are this project's own code, which a pipeline must have; Beam's own are found in it.
STEPS = {
    "NameShards",
    "DescribeShard",
    "FindEmbedded",
    "ConvertShards",
    "BeamML_RunInference",  # which calls the encoder
    "TakeResults",
    "GatherSides",
    "EachShard",
    "CalibrateShard",
    "PlanTasks",
    "ScoreShards",
    "MergeShard",
    "DraftReview",
    "ShowRows",
    "FindRows",
    "ReadRows",
    "FindOverlap",
    "RankShards",
    "GatherQueries",
    "FindTargets",
    "CountAhead",
    "Summarise",
    "TakeChoice",
    "CountPrevious",
    "SettleBasis",
    "CheckDisjoint",
    "GatherTargets",
    "WriteParts",
    "CommitVersion",
}


@dataclass(frozen=True)
class FormulaSource:
    """The encoder that is a formula, by name."""

    fingerprint: Fingerprint

    def load(self) -> Encoder:
        return FormulaEncoder()


def config(folder: Path) -> RefreshConfig:
    """Input for the encoder and vectors on both sides, and an approximate search: no step is left without work."""
    for number in range(3):
        keys = [f"item-{7919 * (10 * number + row) % 1000:03d}" for row in range(10)]
        write_tar(folder / "candidates" / f"{number}.tar", {key: {"jpg": key.encode() * (number + 1)} for key in keys})
    write_vectors(folder / "candidates", [f"vector-{row}" for row in range(10)], gaussian(10, 4, 1), 1)
    write_vectors(folder / "references", [f"query-{row}" for row in range(40)], gaussian(40, 4, 2), 2)
    write_jsonl(folder / "references" / "x.jsonl", [{"id": str(row), "caption": "a" * row} for row in range(1, 9)])
    asked = [f"asked-{row}" for row in range(10)]
    write_vectors(folder / "validation", asked, gaussian(10, 4, 5), 2, [f"vector-{row}" for row in range(10)])
    write_jsonl(folder / "validation" / "x.jsonl", [{"id": "y", "caption": "b", "pair_id": "vector-1"}])
    return RefreshConfig(
        str(folder / "candidates" / "*"),
        str(folder / "references" / "*"),
        str(folder / "table"),
        str(folder / "work"),
        k=4,
        alpha=0.75,
        reference_shard_rows=1,
        search="approximate",
        bias_tolerance=1e-3,
        validation=str(folder / "validation" / "*"),
        validation_pair_id_column="pair_id",
    )


def refresh(folder: Path, runner: str) -> None:
    """Publish version 2 by ``runner``, on top of a version 1 of fewer candidates."""
    settings = config(folder)
    before = str(folder / "work-before")
    fewer = replace(settings, candidates=str(folder / "candidates" / "*.tar"), validation=None, work=before)
    source = FormulaSource(Fingerprint("weights", "architecture", "preprocessing", "tokenizer"))
    with several_parts(8):
        run(
            parse_beam_options([], build_parser()),
            lambda root: define_refresh(root, replace(fewer, validation=None), source),
        )
        run(
            parse_beam_options([f"--runner={runner}"], build_parser()),
            lambda root: define_refresh(root, settings, source),
        )


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[beam.Pipeline]:
    """The pipelines that are run, as the runner has them once it has replaced what it replaces."""
    pipelines: list[beam.Pipeline] = []
    real = BundleBasedDirectRunner.run_pipeline

    def run_pipeline(self: Any, pipeline: beam.Pipeline, options: object) -> object:
        pipelines.append(pipeline)
        return real(self, pipeline, options)

    monkeypatch.setattr(BundleBasedDirectRunner, "run_pipeline", run_pipeline)
    return pipelines


@dataclass
class _Labels(PipelineVisitor):
    found: set[str] = field(default_factory=set)

    def visit_transform(self, node: Any) -> None:
        if isinstance(node.transform, beam.ParDo):
            self.found.add(node.full_label)


def steps_of(pipeline: beam.Pipeline) -> set[str]:
    """Labels of all DoFns."""
    visitor = _Labels()
    pipeline.visit(visitor)
    return visitor.found


class InjectedError(Exception):
    """A worker that went away."""


@dataclass
class Faults:
    """Fails the first time in every step, or in every bundle.

    Attributes:
        moment: ``before`` or ``after`` the step's first element, or ``bundle``: at the end of every bundle, whose
            outputs are then lost though all that it did is done, so that all of it is done twice.
        failed: the steps that failed.
        bundles: (step, bundle) that were run twice, by step and identity.
    """

    moment: str
    failed: set[str] = field(default_factory=set)
    bundles: dict[tuple[str, int], Any] = field(default_factory=dict)

    def process_element(self, evaluator: Any, element: Any) -> None:
        label = evaluator._applied_ptransform.full_label
        first = self.moment in ("before", "after") and label not in self.failed
        if first:
            self.failed.add(label)
        if first and self.moment == "before":
            raise InjectedError(label)
        self.process(evaluator, element)
        if first:
            raise InjectedError(label)

    def finish_bundle(self, evaluator: Any) -> Any:
        result = self.finish(evaluator)
        label, bundle = evaluator._applied_ptransform.full_label, evaluator._input_committed_bundle
        if self.moment == "bundle" and (label, id(bundle)) not in self.bundles:
            self.bundles[label, id(bundle)] = bundle
            self.failed.add(label)
            raise InjectedError(label)
        return result

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.process, self.finish = _ParDoEvaluator.process_element, _ParDoEvaluator.finish_bundle
        monkeypatch.setattr(_ParDoEvaluator, "process_element", lambda ev, element: self.process_element(ev, element))
        monkeypatch.setattr(_ParDoEvaluator, "finish_bundle", lambda ev: self.finish_bundle(ev))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    refresh(folder, "FnApiRunner")
    files = tree(folder / "table")
    assert sum(name.endswith(".parquet") for name in files) > 2
    return files


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after", "bundle"])
def test_steps_and_bundles_that_run_again(
    undisturbed: dict[str, bytes],
    moment: str,
    executed: list[beam.Pipeline],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_count: Callable[[str, int, int], None],
) -> None:
    faults = Faults(moment)
    faults.install(monkeypatch)
    refresh(tmp_path, "BundleBasedDirectRunner")
    (pipeline,) = executed
    steps = steps_of(pipeline)
    same = tree(tmp_path / "table") == undisturbed
    record_count(f"DoFns that failed once ({moment}), same table", len(faults.failed & steps) * same, len(steps))
    assert faults.failed == steps
    assert {name for label in steps for name in label.split("/")} >= STEPS
    assert same
    if moment == "bundle":
        assert len(faults.bundles) > len(steps)
