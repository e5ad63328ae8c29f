"""Terminals that are closed, full, or of another alphabet: what was done stays done, and nothing controls them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tables import publish

pytestmark = pytest.mark.counted

#: A command that has done its work and prints, one that is there to print, and one that waits to be ended.
PROGRAM = """
import sys, time, types
from pipelines.commands import cli
def show(argv):
    print("caf\\u00e9 \\x1b[2J\\u202e")
    for _ in range(2000):
        print("x" * 100)
def wait(argv):
    print("ready", flush=True)
    time.sleep(60)
module = types.ModuleType("shown")
module.main = {"show": show, "wait": wait}[sys.argv[2]]
sys.modules["shown"] = module
cli._COMMANDS[sys.argv[1]] = ("shown", "")
sys.exit(cli.main())
"""


def shell(line: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash", "-c", line, PROGRAM], capture_output=True, timeout=120, check=False)


RUN = f'"{sys.executable}" -c "$0"'


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        (f"{RUN} refresh show > /dev/full", 0, b""),
        (f"{RUN} table show > /dev/full", 7, b"the output is incomplete: No space left on device"),
        (f"{RUN} refresh show | head -1 > /dev/null; exit ${{PIPESTATUS[0]}}", 0, b""),
        (f"{RUN} table show | head -1 > /dev/null; exit ${{PIPESTATUS[0]}}", 141, b""),
        (f"{RUN} refresh show >&-", 0, b""),
        (f"{RUN} refresh show 2>&-", 0, b""),
        (f"{RUN} refresh show < /dev/null >&- 2>&- <&-", 0, b""),
        (f"LC_ALL=C PYTHONUTF8=0 PYTHONIOENCODING=ascii {RUN} refresh show", 0, b""),
    ],
)
def test_whatever_becomes_of_the_terminal(
    line: str, code: int, told: bytes, record_count: Callable[[str, int, int], None]
) -> None:
    done = shell(line)
    record_count("terminals that are closed, full or of another alphabet", done.returncode == code, 1)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert b"\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_ends_a_command_in_one_line(number: int, code: int, word: str) -> None:
    command = [sys.executable, "-c", PROGRAM, "refresh", "wait"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.kill(process.pid, number)
        os.kill(process.pid, number)
        _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert error.decode().splitlines() == [
        f"nnn: {word}. Finished work is kept: run the same command again to continue"
    ]


@pytest.mark.parametrize("place", ["", "  ", "s3://", "gs:///", "s3:/bucket/x", "memory://", "file://", "a\0b"])
@pytest.mark.parametrize(
    "command",
    [
        "table list --table PLACE",
        "table verify --table PLACE",
        "refresh --candidates c.npy --references r.npy --table PLACE --work w",
        "refresh --candidates c.npy --references r.npy --table t --work PLACE",
    ],
)
def test_what_is_no_place_is_refused(
    command: str,
    place: str,
    record_count: Callable[[str, int, int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from pipelines.commands import cli

    monkeypatch.chdir(tmp_path)
    code = cli.main([place if part == "PLACE" else part for part in command.split()])
    error = capsys.readouterr().err
    told = " is not a place" in error or "would be a folder called" in error
    nothing = not [*tmp_path.iterdir()]
    record_count("places that are none, and refused", code == 2 and told and nothing, 1)
    assert (code, told, nothing) == (2, True, True), error


def test_manifests_are_known_by_their_own_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pipelines.commands import cli

    for version in (1, 2):
        publish(str(tmp_path), version, alpha=version / 4)
    versions = tmp_path / "versions"
    for name in ("0000003.json", "000002.json.json", "\u0661\u0662\u0663\u0664\u0665\u0666.json", "9" * 30 + ".json"):
        (versions / name).write_bytes((versions / "000002.json").read_bytes())
    assert cli.main(["table", "list", "--table", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2
    assert cli.main(["table", "verify", "--table", str(tmp_path)]) == 9
    assert capsys.readouterr().err.count("does not have the name of a manifest") == 4
    for path in versions.glob("*.json"):
        if path.name not in ("000001.json", "000002.json"):
            path.unlink()
    (versions / "000001.json").write_bytes(b"{}")
    assert cli.main(["table", "list", "--table", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 1
