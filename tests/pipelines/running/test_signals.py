"""Signals that end a command: one line and a code, and nothing is left behind, whenever they come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import failpoints
import pytest
from failpoints import POINTS
from jobs import TwoVersions, plant_inputs, refresh_arguments
from listening import listening
from stores import objects

from nnn_core.errors import ConfigError
from pipelines.commands import cli
from pipelines.running.runner import _sigint_kept

ROOT = Path(__file__).parents[3]
REST = "Finished work is kept: run the same command again to continue"
LAST = {
    signal.SIGINT: (130, f"nnn: interrupted. {REST}"),
    signal.SIGTERM: (143, f"nnn: terminated. {REST}"),
}

#: Points of a refresh: those at which no file is cut in half, and more of them.
MOMENTS = [point for point in POINTS if ":half" not in point]
MOMENTS += [f"{kind}:before" for kind in ("mark", "partial", "part", "manifest")]
MOMENTS += ["partial:after:2", "partial:read:2"]

#: Moments of the first seconds, in which little but imports happens. (For its first tenth of a second a process is
#: Python's alone, which answers Ctrl-C by itself.)
EARLY = [0.3 + 0.1 * step for step in range(20)]


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in LAST]


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """What starts the tests in the background may have had them ignore a signal, as a shell does with SIGINT."""
    before = {each: signal.signal(each, signal.default_int_handler) for each in LAST}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("number", LAST)
def test_a_command_of_another_program_leaves_its_handlers(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = handlers()
    during = []

    def command(_: object) -> None:
        during.extend(handlers())
        os.kill(os.getpid(), number)
        pytest.fail("the signal was not heard")

    assert cli.run_command(command, []) == LAST[number][0]
    assert capsys.readouterr().err == f"{LAST[number][1]}\n"
    assert handlers() == before
    assert all(each not in before for each in during)


@pytest.mark.parametrize("error", [None, ConfigError("why"), RuntimeError("a defect")])
def test_handlers_come_back_however_a_command_ends(error: Exception | None) -> None:
    before = handlers()

    def command(_: object) -> None:
        if error:
            raise error

    if isinstance(error, RuntimeError):
        with pytest.raises(RuntimeError):
            cli.run_command(command, [])
    else:
        assert cli.run_command(command, []) == (2 if error else 0)
    assert handlers() == before


def test_an_interrupt_that_became_another_error_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    class Field:
        def __set_name__(self, *_: object) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    def command(_: object) -> None:
        type("Class", (), {"field": Field()})  # Python 3.11 makes a RuntimeError of what it raises

    assert cli.run_command(command, []) == 130
    assert capsys.readouterr().err == f"{LAST[signal.SIGINT][1]}\n"


def test_a_second_signal_does_not_disturb_what_the_first_one_ends(capsys: pytest.CaptureFixture[str]) -> None:
    cleaned = []

    def command(_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned.append(True)

    assert cli.run_command(command, []) == 130
    assert cleaned == [True]


def test_the_code_is_that_of_the_signal_wherever_it_strikes(tmp_path: Path) -> None:
    """Python notes an interrupt of code that is run from a text, and a module that is run would end by SIGINT."""
    text = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    command = f"cli.run_command(lambda _: exec({text!r}), [], for_good=True)"
    (tmp_path / "ended.py").write_text(f"import sys\nfrom pipelines.commands import cli\nsys.exit({command})\n")
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    done = subprocess.run([sys.executable, "-m", "ended"], env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, f"{LAST[signal.SIGTERM][1]}\n")


def test_what_was_to_be_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert cli.run_command(lambda _: os.kill(os.getpid(), signal.SIGINT), []) == 0
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_a_local_run(tmp_path: Path) -> None:
    plant_inputs(tmp_path, str(tmp_path))
    command = [sys.executable, "-m", "pipelines.commands.cli", *refresh_arguments(str(tmp_path), str(tmp_path))]
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, preexec_fn=_listen, **options) as process:
        while not (tmp_path / "work" / "embedded").exists():
            time.sleep(0.01)
        ports = listening(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        errors = process.communicate(timeout=60)[1]
    code, last = LAST[signal.SIGINT]
    assert process.returncode == code
    assert said(errors) == [last]
    assert not (tmp_path / "table" / "versions").exists()
    assert not ports, "a job of one process talks to nobody"


def said(error: str) -> list[str]:
    """Lines of standard error that are no progress, and no warning."""
    return [line for line in error.splitlines() if " of " not in line and not line.startswith("WARNING")]


class Scene:
    """A folder in which version 1 is published, and version 2 about to be, by processes of their own."""

    def __init__(self, versions: TwoVersions, scratch: Path) -> None:
        self.versions, self.scratch = versions, scratch
        self.after = versions.files(2)

    def start(self, *program: str) -> subprocess.Popen[str]:
        """The refresh that publishes version 2, in a process group of its own; ``program`` is what comes before it."""
        place = self.versions.restore(1)
        (self.scratch / "tmp").mkdir(exist_ok=True)
        return subprocess.Popen(
            [*program, *refresh_arguments(str(place), str(place))],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}", "TMPDIR": str(self.scratch / "tmp")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_listen,
        )

    def problems(self, process: subprocess.Popen[str], number: int, early: bool = False) -> list[str]:
        """What is wrong with the end of a refresh, and with the same command afterwards.

        Args:
            process: the refresh, which was sent a signal.
            number: the signal.
            early: whether the moment is one of the first seconds, in which a fast machine may be done. (Then its table
                is one part, not the several that are compared.)
        """
        _, error = process.communicate(timeout=120)
        code, last = LAST[signal.Signals(number)]
        place = self.versions.place
        expected = [(code, [last])] + ([(0, [])] if early else [])
        ended = process.returncode, said(error)
        found = [] if ended in expected else [f"ended with {process.returncode}: {error}"]
        found += [f"left {path}" for path in (self.scratch / "tmp").rglob("*")]
        found += [f"left {path}" for path in (place / "work" / "leases").glob("*")]
        if failpoints.main(failpoints.NOWHERE, *refresh_arguments(str(place), str(place))):
            return [*found, "the same command does not continue"]
        left = {name: data for name, data in objects(str(place)).items() if name.startswith(("table/", "work/"))}
        return found + ([] if early or left == self.after else ["the same command does not end in the same bytes"])


def _listen() -> None:
    """Hear Ctrl-C, although whoever runs the tests may not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def scene(two_versions: TwoVersions, tmp_path: Path) -> Scene:
    return Scene(two_versions, tmp_path)


def check(name: str, found: Iterator[tuple[object, list[str]]], record_count: Callable[[str, int, int], None]) -> None:
    """Count moments without problems, and fail if there were any."""
    wrong = {}
    for moment, problems in found:
        record_count(name, not problems, 1)
        if problems:
            wrong[moment] = problems
    assert not wrong


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("signals", ["SIGINT", "SIGTERM", "SIGINT,SIGINT"])
def test_at_every_point_of_a_refresh(signals: str, scene: Scene, record_count: Callable[[str, int, int], None]) -> None:
    first = signal.Signals[signals.partition(",")[0]]

    def moments() -> Iterator[tuple[object, list[str]]]:
        for point in MOMENTS:
            process = scene.start(sys.executable, failpoints.__file__, f"{signals}@{point}")
            yield point, scene.problems(process, first)

    check(f"refreshes that are sent {signals} at a point of theirs", moments(), record_count)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", LAST)
def test_while_it_starts(number: int, scene: Scene, record_count: Callable[[str, int, int], None]) -> None:
    def moments() -> Iterator[tuple[object, list[str]]]:
        for seconds in EARLY:
            process = scene.start(sys.executable, "-m", "pipelines.commands.cli")
            time.sleep(seconds)
            os.killpg(process.pid, number)
            yield seconds, scene.problems(process, number, early=True)

    check(f"refreshes that are sent {signal.Signals(number).name} in their first seconds", moments(), record_count)


@pytest.mark.slow
@pytest.mark.parametrize("number", LAST)
def test_as_process_1(number: int, scene: Scene, record_count: Callable[[str, int, int], None]) -> None:
    """As in a container, to whose first process the system delivers only signals that it handles."""
    alone = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process may be the first of its own here")

    def moments() -> Iterator[tuple[object, list[str]]]:
        for point in MOMENTS[::4]:
            signals = f"{signal.Signals(number).name}@{point}"
            yield point, scene.problems(scene.start(*alone, sys.executable, failpoints.__file__, signals), number)

    check(f"refreshes as process 1 that are sent {signal.Signals(number).name}", moments(), record_count)


def test_what_beam_does_of_sigint_ends_with_the_start_of_its_server() -> None:
    mine = signal.getsignal(signal.SIGINT)
    with _sigint_kept():
        signal.signal(signal.SIGINT, lambda *_: None)
    assert signal.getsignal(signal.SIGINT) is mine
