"""Once and unite: where branches of a pipeline meet, and where the parts of a whole do."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSideInput


@dataclass(frozen=True)
class _Input:
    """The place of an argument that comes from the pipeline, among all that do."""

    number: int


@dataclass(frozen=True)
class _Call:
    """A function and what it takes: values, inputs and other calls."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __call__(self, inputs: Sequence[Any]) -> Any:
        return self.function(*(self._value(each, inputs) for each in self.arguments))

    @staticmethod
    def _value(argument: Any, inputs: Sequence[Any]) -> Any:
        if isinstance(argument, _Input):
            return inputs[argument.number]
        return argument(inputs) if isinstance(argument, _Call) else argument


class Once(beam.PTransform):  # type: ignore[misc]
    """One call of a function when all that it takes is there; its result is a single element.

    Nothing but side inputs feeds it. A runner that fused it with the step that makes one of them would wait for
    itself where another of them comes from that step as well.

    Attributes:
        function: what is called, once.
        inputs: its arguments; those made by ``AsSingleton``, ``AsList`` or ``AsIter`` are taken from the pipeline, and
            of another ``Once``, which is not applied itself, the result: one step on an engine in place of two.
    """

    def __init__(self, function: Callable[..., Any], *inputs: Any) -> None:
        super().__init__()
        self.function, self.inputs = function, inputs

    def expand(self, root: beam.Pipeline) -> beam.PCollection[Any]:
        sides: list[AsSideInput] = []
        call = self._bind(sides)
        return root | "Start" >> beam.Impulse() | "Call" >> beam.Map(lambda _, *found: call(found), *sides)

    def _bind(self, sides: list[AsSideInput]) -> _Call:
        """The call, whose inputs are numbered in ``sides``; one that is taken twice is sent once."""

        def place(argument: Any) -> Any:
            if isinstance(argument, Once):
                return argument._bind(sides)
            if not isinstance(argument, AsSideInput):
                return argument
            for at, each in enumerate(sides):
                if type(each) is type(argument) and each.pvalue is argument.pvalue:
                    return _Input(at)
            sides.append(argument)
            return _Input(len(sides) - 1)

        return _Call(self.function, tuple(map(place, self.inputs)))


def unite(parts: Iterable[Any]) -> Any:
    """Several of something, one or more, as one of it, whatever their order; for ``CombineGlobally``.

    Args:
        parts: objects that merge with ``|``.
    """
    return reduce(operator.or_, parts)
