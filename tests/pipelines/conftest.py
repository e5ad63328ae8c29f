"""What jobs of tests share: a Beam that remembers, which the thorough profile does without, and a tiny job."""

from __future__ import annotations

import beam_memory
import pytest
from jobs import Refused, TwoVersions


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("hypothesis_profile") != "thorough":
        beam_memory.install()


@pytest.fixture(scope="session")
def published_twice(tmp_path_factory: pytest.TempPathFactory) -> TwoVersions:
    """The tiny job of two versions, run once."""
    return TwoVersions.publish(tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="session")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Refused:
    """The tiny job that a gate refuses, run once."""
    return Refused.run(tmp_path_factory.mktemp("refused"))


@pytest.fixture
def two_versions(published_twice: TwoVersions) -> TwoVersions:
    """The tiny job of two versions, whose inputs are as they were, whatever the test before has done to them."""
    published_twice.restore(0)
    return published_twice
