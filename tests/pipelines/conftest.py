"""Jobs of tests start faster on a Beam that remembers; the thorough profile runs on Beam as it is."""

from __future__ import annotations

import beam_memory
import pytest
from jobs import TwoVersions


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("hypothesis_profile") != "thorough":
        beam_memory.install()


@pytest.fixture(scope="session")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> TwoVersions:
    """The tiny job of two versions, run once."""
    return TwoVersions.publish(tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("kept"))
