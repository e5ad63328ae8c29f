"""A job that was killed at a named point: readers see a whole version, and the same command ends in the same bytes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import failpoints
import pytest
from failpoints import NOWHERE, POINTS
from jobs import TwoVersions, refresh_arguments
from stores import objects, own_s3, plant

from nnn_core import load_bias_table
from nnn_core.table.reading import BiasTable

ROOT = Path(__file__).parent.parent.parent
LOCAL, S3 = "local files", "S3"


def run(point: str, arguments: Sequence[str]) -> tuple[int, str]:
    """``nnn`` in a process of its own, killed at ``point``."""
    command = [sys.executable, failpoints.__file__, point, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout + done.stderr


@dataclass(frozen=True)
class Scene:
    """A store on which version 1 is published and version 2 is about to be.

    Attributes:
        inputs: where the input of both lies.
        store: a folder to work in.
        before: all files of table and work once version 1 was published.
        after: the same once version 2 was, undisturbed.
        versions: what a reader sees then.
    """

    inputs: str
    store: str
    before: dict[str, bytes]
    after: dict[str, bytes]
    versions: tuple[BiasTable, BiasTable]

    def folder_of(self, point: str) -> str:
        """Where the job that is killed there has its table and its work."""
        return f"{self.store}/{point.replace(':', '-')}"

    def kill(self, point: str) -> None:
        """Kill at ``point``, and read."""
        folder = self.folder_of(point)
        plant(folder, self.before)
        code, output = run(point, refresh_arguments(self.inputs, folder))
        assert code == -signal.SIGKILL, output
        left = objects(folder)
        assert self.before.items() <= left.items(), "a file was changed"
        assert left.items() <= self.after.items(), "a file was left half written"
        expected = self.versions[self.publishes(point)]
        assert_same_table(load_bias_table(f"{folder}/table"), expected)

    def resume(self, point: str) -> None:
        """Run the same again, and compare."""
        folder = self.folder_of(point)
        assert failpoints.main(NOWHERE, *refresh_arguments(self.inputs, folder)) == 0
        assert objects(folder) == self.after

    def publishes(self, point: str) -> bool:
        """Whether version 2 is there when the job is killed at ``point``."""
        return point == "manifest:after" or (point == "manifest:sent" and "://" in self.store)

    def problems(self, points: Sequence[str]) -> list[str]:
        """What is wrong, of each point; jobs are killed in processes of their own, and resumed in this one."""
        found = []
        with ThreadPoolExecutor(1) as pool:
            for point, killed in [(point, pool.submit(self.kill, point)) for point in points]:
                try:
                    killed.result()
                    self.resume(point)
                except Exception as error:
                    found.append(f"{point}: {error!r}")
        return found


def assert_same_table(found: BiasTable, expected: BiasTable) -> None:
    assert found.manifest == expected.manifest
    assert found.ids.equals(expected.ids)
    assert (found.bias == expected.bias).all()
    assert (found.mean_k == expected.mean_k).all()


@pytest.fixture
def scene(two_versions: TwoVersions, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """The tiny job on the store that the test asks for."""
    first, second = (load_bias_table(str(kept / "table")) for kept in two_versions.kept[1:])
    assert [table.manifest.version for table in (first, second)] == [1, 2]
    assert len(second.manifest.files) > 2
    with contextlib.nullcontext(str(tmp_path)) if request.param == LOCAL else own_s3() as store:
        before, after = two_versions.files(1), two_versions.files(2)
        yield Scene(str(two_versions.place), store, before, after, (first, second))


@pytest.mark.parametrize("scene", [LOCAL, pytest.param(S3, marks=pytest.mark.slow)], indirect=True)
def test_killed_when_the_manifest_is_sent(scene: Scene) -> None:
    assert not scene.problems(["manifest:sent"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scene", [LOCAL, S3], indirect=True)
def test_killed_at_every_point(scene: Scene, record_count: Callable[[str, int, int], None]) -> None:
    assert len(set(POINTS)) == 20
    found = scene.problems(POINTS)
    record_count("SIGKILL at failpoints, resumed to the same bytes", len(POINTS) - len(found), len(POINTS))
    assert not found
