"""Once: where branches of a pipeline meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apache_beam as beam


class Once(beam.PTransform):  # type: ignore[misc]
    """One call of a function when all that it takes is there; its result is a single element.

    Nothing but side inputs feeds it. A runner that fused it with the step that makes one of them would wait for
    itself where another of them comes from that step as well.

    Attributes:
        function: what is called.
        inputs: its arguments; those made by ``AsSingleton``, ``AsList`` or ``AsIter`` are taken from the pipeline.
    """

    def __init__(self, function: Callable[..., Any], *inputs: Any) -> None:
        super().__init__()
        self.function, self.inputs = function, inputs

    def expand(self, root: beam.Pipeline) -> beam.PCollection[Any]:
        function = self.function
        return root | "Start" >> beam.Impulse() | "Call" >> beam.Map(lambda _, *inputs: function(*inputs), *self.inputs)
