"""The set-up installs from where pip would, with uv, and with pip where uv cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import install

ROOT = Path(__file__).parent.parent.parent

LISTING = r""":env:.default-timeout='180'
:env:.index-url='https://mirror/simple'
global.cert='/etc/ssl/company.pem'
global.extra-index-url='\nhttps://a/simple\nhttps://b/simple'
global.index-url='https://elsewhere/simple'
install.find-links='/opt/wheels'
install.no-index='false'
list.format='columns'
"""


def test_uv_is_told_of_the_places_that_pip_knows() -> None:
    settings = install.pip_settings(LISTING)
    flags = list(install.uv_flags(settings))
    assert flags[:2] == ["--index-strategy", "unsafe-best-match"]
    assert flags[2:] == [
        *("--index-url", "https://mirror/simple"),
        *("--extra-index-url", "https://a/simple"),
        *("--extra-index-url", "https://b/simple"),
        *("--find-links", "/opt/wheels"),
    ]
    assert install.uv_environment(settings) == {"SSL_CERT_FILE": "/etc/ssl/company.pem", "UV_HTTP_TIMEOUT": "180"}


def test_pip_itself_lists_its_settings_so(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://a/simple\nextra-index-url =\n  https://b/simple\n  https://c/simple\n"
    )
    variables = {**os.environ, "PIP_CONFIG_FILE": str(file), "PIP_NO_INDEX": "1"}
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, env=variables, check=True).stdout
    settings = install.pip_settings(listing)
    assert settings["index-url"] == "https://a/simple"
    assert settings["extra-index-url"].split() == ["https://b/simple", "https://c/simple"]
    assert "--no-index" in install.uv_flags(settings)


@pytest.mark.parametrize("failing", [None, "uv", "uv pip install"])
def test_pip_installs_the_same_where_uv_does_not(monkeypatch: pytest.MonkeyPatch, failing: str | None) -> None:
    commands: list[list[str]] = []

    def call(command: list[str], env: object = None) -> int:
        commands.append(command[1:])
        line = " ".join(command)
        return int(failing is not None and (line.endswith(f" {failing}") or f"-m {failing} " in line))

    monkeypatch.setattr(install.subprocess, "call", call)
    assert install.main(["--editable", ".[test]"]) == 0
    asked = ["--constraint", str(install.CONSTRAINTS), "--editable", ".[test]"]
    by_uv = [command for command in commands if command[:4] == ["-m", "uv", "pip", "install"]]
    by_pip = [command for command in commands if command[-len(asked) :] == asked and command[1] == "pip"]
    assert all(command[-len(asked) :] == asked for command in by_uv)
    assert commands[-1] == [str(install._FIRST_USE)]
    assert (len(by_uv), len(by_pip)) == {None: (1, 0), "uv": (0, 1), "uv pip install": (1, 1)}[failing]


def test_pip_decides_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.subprocess, "call", lambda command, env=None: 1)
    assert install.main(["."]) == 1


#: The demo, and on its last line the program's kernels that were compiled meanwhile.
DEMO = """
import json, sys
from numba.core import event
from pipelines.commands import cli

class Compiled(event.Listener):
    names = []
    def on_start(self, found):
        program = found.data["dispatcher"].py_func
        self.names += [program.__name__] * program.__module__.startswith("nnn_core")
    def on_end(self, found):
        pass

if __name__ == "__main__":
    event.register("numba:compile", Compiled())
    assert cli.main(["demo", "--directory", sys.argv[1]]) == 0
    print(json.dumps(Compiled.names))
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kernels_are_compiled_for_the_arrays_that_jobs_have(tmp_path: Path) -> None:
    """After what runs at the end of an installation, a job compiles none of its kernels."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    (tmp_path / "demo.py").write_text(DEMO)
    for program in ([install._FIRST_USE], [tmp_path / "demo.py", tmp_path / "demo"]):
        done = subprocess.run(
            [sys.executable, *map(str, program)], env=environment, capture_output=True, text=True, check=True
        )
    assert json.loads(done.stdout.splitlines()[-1]) == []
