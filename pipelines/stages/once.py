"""Once and unite: where branches of a pipeline meet, and where the parts of a whole do."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import apache_beam as beam


class Once(beam.PTransform):  # type: ignore[misc]
    """One call of a function when all that it takes is there; its result is a single element.

    Nothing but side inputs feeds it. A runner that fused it with the step that makes one of them would wait for
    itself where another of them comes from that step as well.

    Attributes:
        function: what is called, once.
        inputs: its arguments; those made by ``AsSingleton``, ``AsList`` or ``AsIter`` are taken from the pipeline.
    """

    def __init__(self, function: Callable[..., Any], *inputs: Any) -> None:
        super().__init__()
        self.function, self.inputs = function, inputs

    def expand(self, root: beam.Pipeline) -> beam.PCollection[Any]:
        function = self.function
        return root | "Start" >> beam.Impulse() | "Call" >> beam.Map(lambda _, *inputs: function(*inputs), *self.inputs)


def unite(parts: Iterable[Any]) -> Any:
    """Several of something, one or more, as one of it, whatever their order; for ``CombineGlobally``.

    Args:
        parts: objects that merge with ``|``.
    """
    return reduce(operator.or_, parts)
