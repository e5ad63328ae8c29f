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
from jobs import plant_inputs, refresh_arguments
from stores import objects, own_s3, plant

from nnn_core import load_bias_table
from nnn_core.table.reading import BiasTable

ROOT = Path(__file__).parent.parent.parent
STORES = ("local files", "S3")


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
        store: a folder to work in.
        remote: whether it is an object store.
        before: all files of table and work once version 1 was published.
        after: the same once version 2 was, undisturbed.
        versions: what a reader sees then.
    """

    store: str
    remote: bool
    before: dict[str, bytes]
    after: dict[str, bytes]
    versions: tuple[BiasTable, BiasTable]

    def problem(self, point: str) -> str | None:
        """Kill at ``point``, read, resume, compare."""
        try:
            self.check(point)
        except Exception as error:
            return f"{point}: {error!r}"
        return None

    def check(self, point: str) -> None:
        folder = f"{self.store}/{point.replace(':', '-')}"
        plant(folder, self.before)
        arguments = refresh_arguments(f"{self.store}/inputs", folder)
        code, output = run(point, arguments)
        assert code == -signal.SIGKILL, output
        left = objects(folder)
        assert self.before.items() <= left.items(), "a file was changed"
        assert left.items() <= self.after.items(), "a file was left half written"
        expected = self.versions[self.publishes(point)]
        assert_same_table(load_bias_table(f"{folder}/table"), expected)
        code, output = run(NOWHERE, arguments)
        assert code == 0, output
        assert objects(folder) == self.after

    def publishes(self, point: str) -> bool:
        """Whether version 2 is there when the job is killed at ``point``."""
        return point == "manifest:after" or (point == "manifest:sent" and self.remote)


def assert_same_table(found: BiasTable, expected: BiasTable) -> None:
    assert found.manifest == expected.manifest
    assert found.ids.equals(expected.ids)
    assert (found.bias == expected.bias).all()
    assert (found.mean_k == expected.mean_k).all()


@pytest.fixture(scope="module")
def scene_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Scene]]:
    """Sets a store up when it is first asked for."""
    scenes: dict[str, Scene] = {}
    with contextlib.ExitStack() as stack:

        def build(name: str) -> Scene:
            if name not in scenes:
                scratch = tmp_path_factory.mktemp("scene")
                store = str(scratch) if name == STORES[0] else stack.enter_context(own_s3())
                scenes[name] = set_up(store, scratch / "inputs", name != STORES[0])
            return scenes[name]

        yield build


def set_up(store: str, scratch: Path, remote: bool) -> Scene:
    plant_inputs(scratch, f"{store}/inputs")
    states, tables = [], []
    for version in (1, 2):
        assert failpoints.main(NOWHERE, *refresh_arguments(f"{store}/inputs", f"{store}/whole", version)) == 0
        states.append(objects(f"{store}/whole"))
        tables.append(load_bias_table(f"{store}/whole/table"))
    assert [table.manifest.version for table in tables] == [1, 2]
    assert len(tables[1].manifest.files) > 2
    return Scene(store, remote, *states, (tables[0], tables[1]))


def problems(scene: Scene, points: Sequence[str]) -> list[str]:
    with ThreadPoolExecutor(2) as pool:
        return [problem for problem in pool.map(scene.problem, points) if problem]


@pytest.mark.parametrize(
    ("store", "points"),
    [("local files", ["manifest:sent"]), pytest.param("S3", ["manifest:sent"], marks=pytest.mark.slow)],
)
def test_killed_at_some_points(scene_of: Callable[[str], Scene], store: str, points: list[str]) -> None:
    assert not problems(scene_of(store), points)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("store", STORES)
def test_killed_at_every_point(
    scene_of: Callable[[str], Scene], store: str, record_count: Callable[[str, int, int], None]
) -> None:
    assert len(set(POINTS)) == 20
    found = problems(scene_of(store), POINTS)
    record_count("SIGKILL at failpoints, resumed to the same bytes", len(POINTS) - len(found), len(POINTS))
    assert not found
