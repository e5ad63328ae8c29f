"""Install what pip would into this environment, in less than half of pip's time where uv can be had:

    python deploy/install.py --editable '.[test]'

Takes the options of ``pip install``, and keeps to constraints.txt. uv itself comes from where pip gets packages, and is
told of the same indexes; where it is not to be had or does not succeed, pip installs.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

CONSTRAINTS = Path(__file__).with_name("constraints.txt")

#: Sections of pip's configuration that ``pip install`` heeds; the later ones win.
_SECTIONS = ("global", "install", ":env:")

#: What both name alike: once, and for several values.
_ONCE, _SEVERAL = ("index-url",), ("extra-index-url", "find-links", "trusted-host")

#: What uv reads from the environment.
_VARIABLES = {"cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY", "timeout": "UV_HTTP_TIMEOUT"}

#: uv leaves it to imports to compile modules, and an environment may forbid those.
_FIRST_USE = Path(__file__).with_name("first_use.py")


def pip_settings(listing: str) -> dict[str, str]:
    """What ``pip config list`` printed, by name of an option of ``pip install``."""
    settings: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in settings:
            settings[section][name.removeprefix("default-")] = str(ast.literal_eval(value))
    return {name: value for section in _SECTIONS for name, value in settings[section].items()}


def uv_flags(settings: dict[str, str]) -> Iterator[str]:
    """The same places for ``uv pip install``; all of them are looked at for the highest version, as pip does."""
    yield from ("--index-strategy", "unsafe-best-match")
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        yield "--no-index"
    for name in (*_ONCE, *_SEVERAL):
        for value in settings.get(name, "").split():
            yield from (f"--{name}", value)


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    """Environment variables that tell uv the rest."""
    return {variable: settings[name] for name, variable in _VARIABLES.items() if name in settings}


def _with_uv(asked: Iterable[str]) -> bool:
    """Whether uv was to be had and installed what was asked for."""
    if _run("pip", "install", "--quiet", "--constraint", str(CONSTRAINTS), "uv"):
        return False
    listing = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    settings = pip_settings(listing.stdout)
    command = ["uv", "pip", "install", "--quiet", "--python", sys.executable, *uv_flags(settings), *asked]
    return not _run(*command, variables={**uv_environment(settings), **os.environ})


def _with_pip(asked: Iterable[str]) -> int:
    print("uv could not install it; pip does.", file=sys.stderr)
    return _run("pip", "install", "--quiet", "--upgrade", "pip") or _run("pip", "install", "--quiet", *asked)


def _run(*module: str, variables: dict[str, str] | None = None) -> int:
    return subprocess.call([sys.executable, "-m", *module], env=variables)


def main(argv: list[str]) -> int:
    """Install, and compile what commands import; the exit code is pip's."""
    asked = ["--constraint", str(CONSTRAINTS), *argv]
    code = 0 if _with_uv(asked) else _with_pip(asked)
    if code == 0:
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        subprocess.call([sys.executable, str(_FIRST_USE)], env=variables)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
