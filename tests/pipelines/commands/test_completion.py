"""``nnn completion``: what bash itself offers with the script loaded; and ``--quiet``."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import TwoVersions, refresh_arguments

from pipelines.commands import cli

#: Completes the words after it as if Tab had been pressed behind them.
PRESS_TAB = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _nnn; printf "%s\\n" "${COMPREPLY[@]}"'


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "nnn.bash"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as stream:
        patch.setattr("sys.stdout", stream)
        assert cli.main(["completion", "bash"]) == 0
    return path


@pytest.fixture
def offered(script: Path) -> Callable[..., set[str]]:
    def press_tab(*words: str) -> set[str]:
        command = ["bash", "--norc", "-c", PRESS_TAB, "bash", str(script), "nnn", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert done.stderr == ""
        return set(done.stdout.split())

    return press_tab


def test_commands_flags_and_values_are_offered(offered: Callable[..., set[str]]) -> None:
    assert offered("") == set(cli._COMMANDS)
    assert offered("re") == {"refresh", "report"}
    assert offered("table", "re") == {"reweight", "register"}
    assert offered("refresh", "--ref") >= {"--references", "--reference-prompt", "--reference-shard-rows"}
    assert {"--runner", "--nonsense"} & offered("refresh", "--") == set()
    assert offered("refresh", "--table", "t", "--tu") == {"--tune"}
    assert offered("refresh", "--search", "") == {"auto", "exact", "prefilter", "approximate"}
    assert offered("refresh", "--k", "8", "--search", "pre") == {"prefilter"}
    assert offered("table", "expire", "--k") == {"--keep"}
    assert offered("completion", "--") == {"--help"}


def test_names_of_files_are_left_to_the_shell(offered: Callable[..., set[str]]) -> None:
    assert offered("refresh", "--candidates", "part") == set()
    assert offered("refresh", "--candidates", "") == set()
    assert offered("inspect", "glob") == set()
    assert offered("inspect", "") == set()


def test_every_command_is_in_the_script(script: Path) -> None:
    text = script.read_text()
    assert all(f'" {name}")' in text for name in cli._COMMANDS)
    assert '" table rollback")' in text
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_zsh_takes_the_script(capsys: pytest.CaptureFixture[str], tmp_path: Path, script: Path) -> None:
    assert cli.main(["completion", "zsh"]) == 0
    text = capsys.readouterr().out
    assert text == "autoload -U +X bashcompinit && bashcompinit\n" + script.read_text()
    (tmp_path / "nnn.zsh").write_text(text)
    for typed, completed in (
        ("nnn refr", "nnn refresh"),
        ("nnn table rew", "nnn table reweight"),
        ("nnn refresh --table t --tu", "nnn refresh --table t --tune"),
        ("nnn refresh --search pre", "nnn refresh --search prefilter"),
        (f"nnn inspect {tmp_path}/nnn.z", f"nnn inspect {tmp_path}/nnn.zsh"),
    ):
        assert press_tab_in_zsh(tmp_path, typed) == completed


def press_tab_in_zsh(folder: Path, typed: str) -> str:
    """What stands on the line of an interactive zsh after Tab was pressed behind ``typed``."""
    if not (zsh := shutil.which("zsh")):
        pytest.skip("no zsh")
    # What Tab made of the line is written to a file, as the screen has control characters between.
    (folder / ".zshrc").write_text(
        f"autoload -U compinit; compinit -D; source {folder}/nnn.zsh\n"
        f"tell() {{ print -r -- $BUFFER > {folder}/line; exit }}; zle -N tell; bindkey '^X' tell\n"
    )
    (folder / "line").unlink(missing_ok=True)
    main, side = pty.openpty()
    environment = {**os.environ, "ZDOTDIR": str(folder), "TERM": "dumb"}
    with subprocess.Popen([zsh, "-i"], stdin=side, stdout=side, stderr=side, env=environment, cwd=folder) as process:
        os.write(main, f"{typed}\t\x18".encode())
        process.wait(60)
    os.close(main)
    os.close(side)
    return (folder / "line").read_text().strip()


def test_quiet_prints_the_object_alone(two_versions: TwoVersions, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = two_versions.printed[1].splitlines()
    assert json.loads(line)["version"] == 2
    assert "WARNING nnn: 41 of 41 vectors" in two_versions.progress[1]
    place = str(two_versions.restore(2))
    command = [*refresh_arguments(place, place), "--quiet"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out == ""
    assert cli.main(["table", "list", "--table", f"{place}/table"]) == 0
    assert "current" in capsys.readouterr().out
    assert cli.main([*command, "--verbose"]) == 2
    assert "exclude each other" in capsys.readouterr().err
