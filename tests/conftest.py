"""What every test module shares: one deterministic profile for property tests, and results that are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "fixed",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("fixed")

_PASSED, _TOTAL = pytest.StashKey[Counter[str]](), pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_PASSED], config.stash[_TOTAL] = Counter(), Counter()


@pytest.fixture
def record_count(pytestconfig: pytest.Config) -> Callable[[str, int, int], None]:
    """Add to a count that is printed when all tests are done: ``record_count(name, passed, total)``.

    Counts of one name add up over tests. Record before asserting, so that failures are counted too.
    """

    def record(name: str, passed: int, total: int) -> None:
        pytestconfig.stash[_PASSED][name] += passed
        pytestconfig.stash[_TOTAL][name] += total

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    totals = config.stash[_TOTAL]
    if totals:
        terminalreporter.section("counts")
    for name, total in totals.items():
        terminalreporter.line(f"{name}: {config.stash[_PASSED][name]:,}/{total:,}")
