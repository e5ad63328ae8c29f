"""Where the parts of a whole meet."""

from __future__ import annotations

import pytest

from pipelines.stages.once import unite


@pytest.mark.parametrize("parts", [[{1}], [{1}, {2, 3}, {3}]])
def test_parts_are_united(parts: list[set[int]]) -> None:
    assert unite(iter(parts)) == set().union(*parts)
