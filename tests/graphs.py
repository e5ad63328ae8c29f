"""The steps of a pipeline that is defined and not run."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor

from pipelines.config import RefreshConfig
from pipelines.refresh import define_refresh


class Steps(PipelineVisitor):  # type: ignore[misc]
    """Those of a refresh.

    Attributes:
        named: every step by its full name.
    """

    def __init__(self, config: RefreshConfig) -> None:
        self.named: dict[str, AppliedPTransform] = {}
        pipeline = beam.Pipeline(options=PipelineOptions([]))
        define_refresh(pipeline, config, None)
        pipeline.visit(self)

    def enter_composite_transform(self, step: AppliedPTransform) -> None:
        self.named[step.full_label] = step

    def visit_transform(self, step: AppliedPTransform) -> None:
        self.named[step.full_label] = step

    def before(self, name: str) -> set[str]:
        """Names of the steps without which a step has no input."""
        found, left = set[str](), [self.named[name]]
        while left:
            made_by = {each.producer for each in left.pop().main_inputs.values() if each.producer}
            left += [step for step in made_by if step.full_label not in found]
            found |= {step.full_label for step in made_by}
        return found
