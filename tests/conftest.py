"""What every test module shares: deterministic profiles for property tests, object stores, and counts of results."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import HealthCheck, settings
from stores import BUCKET, Proxy, serve_gs, serve_s3, use_gs, use_s3

# Read when gcsfs is imported; it would look for a service that an emulator has not.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"

# Read when Triton is imported: where there is no card its kernels run in numpy, slowly and as they are written.
if not Path("/proc/driver/nvidia").exists():
    os.environ["TRITON_INTERPRET"] = "1"

#: Examples of each property test: by default, and with ``--hypothesis-profile=thorough`` (``make test-slow``).
for profile, examples in (("quick", 20), ("thorough", 200)):
    settings.register_profile(
        profile,
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
settings.load_profile("quick")


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that speaks S3."""
    with serve_s3(tmp_path_factory.mktemp("s3") / "log") as endpoint:
        with pytest.MonkeyPatch.context() as patch:
            use_s3(patch, endpoint)
            fsspec.filesystem("s3").mkdir(BUCKET)
        yield endpoint


@pytest.fixture(scope="session")
def gs_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that speaks the interface of Cloud Storage."""
    with serve_gs(tmp_path_factory.mktemp("gs") / "log") as endpoint, Proxy(endpoint).running() as proxy:
        yield proxy.endpoint


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh folder on S3."""
    use_s3(monkeypatch, s3_endpoint)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def gs(gs_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh folder on Cloud Storage."""
    use_gs(monkeypatch, gs_endpoint)
    return f"gs://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(params=["s3", "gs"])
def store(request: pytest.FixtureRequest) -> str:
    """A fresh folder on each object store."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def proxy(request: pytest.FixtureRequest, store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy through which ``store`` is reached from now on."""
    protocol = store.partition(":")[0]
    with Proxy(request.getfixturevalue(f"{protocol}_endpoint")).running() as proxy:
        (use_s3 if protocol == "s3" else use_gs)(monkeypatch, proxy.endpoint)
        yield proxy


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
