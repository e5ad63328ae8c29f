"""Jobs of tests start faster on a Beam that remembers; the thorough profile runs on Beam as it is."""

from __future__ import annotations

import beam_memory
import pytest


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("hypothesis_profile") != "thorough":
        beam_memory.install()
