"""Where the parts of a whole meet."""

from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.pvalue import AsList, AsSingleton
from apache_beam.testing.util import assert_that, equal_to

from pipelines.stages.once import Once, unite


@pytest.mark.parametrize("parts", [[{1}], [{1}, {2, 3}, {3}]])
def test_parts_are_united(parts: list[set[int]]) -> None:
    assert unite(iter(parts)) == set().union(*parts)


def test_a_call_within_a_call_is_one_step_that_takes_each_input_once() -> None:
    with beam.Pipeline("FnApiRunner") as pipeline:
        one, many = pipeline | "One" >> beam.Create([2]), pipeline | "Many" >> beam.Create([3, 1])
        single = AsSingleton(one)
        inner = Once(lambda values, factor: [factor * value for value in sorted(values)], AsList(many), single)
        found = pipeline | Once(lambda first, values, last: (first, values, last), single, inner, "x")
        assert len(found.producer.side_inputs) == 2
        assert_that(found, equal_to([(2, [2, 6], "x")]))
