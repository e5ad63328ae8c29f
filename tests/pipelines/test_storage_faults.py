"""A disk that is full, read-only or forbidden in the middle of a job: a clear error, nothing published, no loss."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from failpoints import KINDS, failing, several_parts
from jobs import TwoVersions, refresh_arguments
from stores import forbid, objects, own_s3, plant

from nnn_core.errors import NOTHING_PUBLISHED, StorageError
from nnn_core.planning.standing import Standing
from nnn_core.table.manifest import list_versions
from pipelines.commands import cli

pytestmark = pytest.mark.counted

ARTEFACTS = [kind for kind in KINDS if kind != "inputs"]

#: Those that the default run tries; ``make test-slow`` tries all.
SOME = ("manifest",)


def some_and_all(cases: list[tuple[Any, ...]]) -> list[object]:
    return [pytest.param(*case, marks=[] if case[0] in SOME else [pytest.mark.slow]) for case in cases]


@dataclass(frozen=True)
class Job:
    """The tiny job of one version, into any folder.

    Attributes:
        inputs: where its input lies.
        version: 1, or 2 on top of it: only its input has a row that is rejected.
        after: all files of table and work when nothing is in the way.
        capsys: what it prints.
    """

    inputs: str
    version: int
    after: dict[str, bytes]
    capsys: pytest.CaptureFixture[str]

    def run(self, folder: str) -> tuple[int, str]:
        with several_parts():
            code = cli.main(refresh_arguments(self.inputs, folder, self.version))
        return code, self.capsys.readouterr().err

    def fails(self, folder: str, reason: str) -> str:
        """It fails with one message, publishes nothing and damages nothing; returns the message."""
        code, error = self.run(folder)
        assert code == 7, error
        assert reason in error
        assert error.count("\n") == 1
        assert f"'{folder}/" in error
        return error

    def succeeds(self, folder: str) -> None:
        code, error = self.run(folder)
        said = [line for line in error.splitlines() if " are not unit length, " not in line]
        assert (code, said) == (0, [])
        assert objects(folder) == self.after

    def succeeds_without_a_record(self, folder: str) -> None:
        """How it ended cannot be kept: the version stands all the same, and a warning says so."""

        def keep(*_: object) -> None:
            raise StorageError(f"cannot write 'x': full. {NOTHING_PUBLISHED} Make the location writable.")

        with mock.patch.object(Standing, "keep", keep):
            code, error = self.run(folder)
        said = [line for line in error.splitlines() if " are not unit length, " not in line]
        assert (code, said) == (
            0,
            ["WARNING nnn: the result of the refresh could not be stored: cannot write 'x': full."],
        )
        assert objects(folder) == {name: data for name, data in self.after.items() if "/standing/" not in name}

    def left_nothing_wrong(self, folder: str) -> bool:
        """No new version, and every file that there is has all of its bytes."""
        versions = list(range(1, self.version))
        return list_versions(f"{folder}/table") == versions and objects(folder).items() <= self.after.items()


@pytest.fixture
def job_of(two_versions: TwoVersions, capsys: pytest.CaptureFixture[str]) -> Callable[[str, str], Job]:
    """The job that comes to a kind of artefact, and the folder that it begins with."""
    capsys.readouterr()

    def begin(kind: str, folder: str) -> Job:
        version = 2 if kind == "rejects" else 1
        plant(folder, two_versions.files(version - 1))
        return Job(str(two_versions.place), version, two_versions.files(version), capsys)

    return begin


def raising(number: int) -> Callable[[str], None]:
    def act(_uri: str) -> None:
        raise OSError(number, os.strerror(number))

    return act


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        *some_and_all([(kind, errno.ENOSPC) for kind in ARTEFACTS]),
        *(pytest.param(kind, errno.EROFS, marks=pytest.mark.slow) for kind in ARTEFACTS),
    ],
)
def test_a_write_that_fails_half_way(
    job_of: Callable[[str, str], Job],
    kind: str,
    number: int,
    tmp_path: Path,
    record_count: Callable[[str, int, int], None],
) -> None:
    folder = str(tmp_path / "x")
    job = job_of(kind, folder)
    with failing(f"{kind}:half", raising(number)):
        error = job.fails(folder, f"cannot write '{folder}")
    assert os.strerror(number) in error
    assert job.left_nothing_wrong(folder)
    if kind in SOME and number == errno.ENOSPC:
        job.succeeds_without_a_record(folder)
    else:
        job.succeeds(folder)
    record_count("storage that fails in the middle", 1, 1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """A file system of its own at ``tmp_path/disk``; call it to remount it with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a file system needs root")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)

    yield remount
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
def test_a_disk_that_is_full(
    job_of: Callable[[str, str], Job],
    disk: Callable[[str], None],
    tmp_path: Path,
    record_count: Callable[[str, int, int], None],
) -> None:
    """Again and again, each time with a little more room: in every stage at last.

    A run that comes as far as its report leaves what that was to say, so there must be room for more than that.
    """
    folder, size, steps, seen = str(tmp_path / "disk" / "x"), 8, 1, set()
    job = job_of("embedded", folder)
    while sum(len(data) for data in objects(folder).values()) < sum(len(data) for data in job.after.values()):
        code, error = job.run(folder)
        if code == 0:
            break
        assert (code, "No space left on device" in error) == (7, True), error
        assert job.left_nothing_wrong(folder)
        seen.add(error.partition("cannot write '")[2].partition("'")[0].split("/")[-2])
        size, steps = size + 16, steps + 1
        disk(f"size={size}k")
    disk(f"size={size + 256}k")  # the report, and its copy as the newest
    job.succeeds(folder)
    assert seen >= {"embedded", "partials", "000001"}
    record_count("storage that fails in the middle", steps - 1, steps - 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ARTEFACTS)
def test_a_disk_that_becomes_read_only(
    job_of: Callable[[str, str], Job],
    disk: Callable[[str], None],
    tmp_path: Path,
    kind: str,
    record_count: Callable[[str, int, int], None],
) -> None:
    folder = str(tmp_path / "disk" / "x")
    disk("size=4m")
    job = job_of(kind, folder)
    with failing(f"{kind}:before", lambda _uri: disk("ro")):
        job.fails(folder, "Read-only file system")
    assert job.left_nothing_wrong(folder)
    disk("rw")
    job.succeeds(folder)
    record_count("storage that fails in the middle", 1, 1)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with own_s3() as uri:
        yield uri


@pytest.mark.slow
@pytest.mark.parametrize("kind", ARTEFACTS)
def test_a_bucket_that_forbids_in_the_middle(
    job_of: Callable[[str, str], Job], bucket: str, kind: str, record_count: Callable[[str, int, int], None]
) -> None:
    """The server itself answers 403 from then on."""
    folder = f"{bucket}/{kind}"
    job = job_of(kind, folder)
    with (
        contextlib.ExitStack() as allow_again,
        failing(f"{kind}:before", lambda _uri: forbid(os.environ["AWS_ENDPOINT_URL"], 0)),
    ):
        allow_again.callback(forbid, os.environ["AWS_ENDPOINT_URL"], 1 << 60)
        job.fails(folder, "cannot write")
    assert job.left_nothing_wrong(folder)
    job.succeeds(folder)
    record_count("storage that fails in the middle", 1, 1)
