"""What is remembered of Beam is what Beam says."""

from __future__ import annotations

import inspect

import beam_memory
import pytest
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, WorkerOptions
from apache_beam.transforms import core

from pipelines.stages.merge_partials import MergePartials


def method(first: int, second: str = "x", *, third: float = 0.5) -> None:
    """Something to ask about."""


class Step(core.DoFn):
    """A step with a parameter of Beam's."""

    def process(self, element: int, window: object = core.DoFn.WindowParam) -> None:
        """Nothing."""


@pytest.mark.parametrize("function", [method, Step.process, Step().process, Step().setup, MergePartials.expand, len])
def test_arguments(function: object) -> None:
    beam = inspect.unwrap(core.get_function_args_defaults)
    expected, remembering = beam(function), beam_memory._remembering(beam)
    for _ in range(2):
        found = remembering(function)
        assert found == expected
        found[0].append("of the caller")


def test_views_of_options() -> None:
    flags = ["--experiment=one", "--num_workers=3"]
    for _ in range(2):
        options = PipelineOptions(flags)
        workers, debug = (beam_memory._view_as(options, view) for view in (WorkerOptions, DebugOptions))
        workers.machine_type = "n1"
        debug.experiments.append("two")
        changed = {"machine_type": "n1", "experiments": ["one", "two"]}
        for view in (workers, debug, beam_memory._view_as(options, WorkerOptions)):
            assert view.get_all_options() == {**PipelineOptions(flags).get_all_options(), **changed}
        assert (workers.num_workers, beam_memory._view_as(options, DebugOptions).experiments) == (3, ["one", "two"])
