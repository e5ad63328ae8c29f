"""The ``nnn`` command."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType

from nnn_core import __version__
from nnn_core.errors import NNNError, StorageError, did_you_mean
from pipelines.running.logs import say_failure
from pipelines.running.output import steady_output

_COMMANDS = {
    "demo": ("pipelines.commands.demo", "the embedded corpus through the whole job, with recall before and after"),
    "inspect": ("pipelines.commands.inspect", "what a glob of input holds, from footers and the first rows"),
    "init": ("pipelines.commands.init", "a commented file for nnn refresh --config, from what the inputs hold"),
    "plan": ("pipelines.commands.plan", "what a refresh would compute, why, and what it would cost"),
    "refresh": ("pipelines.commands.refresh", "compute the biases of an index and publish them as a new version"),
    "evaluate": ("pipelines.commands.evaluate", "recall and hubness of a table on held-out queries"),
    "report": ("pipelines.commands.report", "the report of an earlier run, as text and as a page"),
    "work": ("pipelines.commands.work", "remove artefacts that no version needs"),
    "encoder": ("pipelines.commands.encoder", "fingerprint an encoder, and compare encoders and services with a table"),
    "table": ("pipelines.commands.table", "list, show, verify, roll back and expire versions of a bias table"),
    "doctor": ("pipelines.commands.doctor", "versions, cores, GPU, disk, and whether places can be reached"),
    "score": ("pipelines.commands.score", "biases of items that arrived since the last refresh, before the next one"),
    "encode": ("pipelines.commands.encode", "texts or images to a file of vectors, such as queries for your index"),
    "search": ("pipelines.commands.search", "what a few queries find, before and after, side by side"),
    "export": ("pipelines.commands.export", "files and recipes for vector engines, with the overlap that they keep"),
}

#: Commands whose work is done when they print: that nobody reads it changes nothing.
_DONE = ("demo", "refresh", "evaluate", "export")

_USAGE = """usage: nnn COMMAND [flags]

Nearest Neighbor Normalization for image-text retrieval: a bias for every candidate of an
index, computed offline from a bank of reference queries.

commands:
{commands}

  nnn COMMAND --help      the flags of a command
  nnn --version           the version of this program
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--version"]:
        print(f"nnn {__version__}")
        return 0
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if arguments else 2
    if arguments[0] not in _COMMANDS:
        hint = did_you_mean(arguments[0], _COMMANDS)
        print(f"nnn: there is no command {arguments[0]!r}{hint}\n\n{_usage()}", file=sys.stderr)
        return 2
    with steady_output() as output:
        # Some modules take seconds to import, in which people press Ctrl-C too.
        code = run_command(lambda argv: _load(_COMMANDS[arguments[0]][0]).main(argv), arguments[1:])
    if code == 0 and output.problem and arguments[0] not in _DONE:
        say_failure(f"what was printed is incomplete: {output.problem}.", "StorageError", StorageError.exit_code)
        return StorageError.exit_code
    return code


def _load(name: str) -> ModuleType:
    """Import a module, which makes some hundred thousand objects that stay for good.

    Looking for garbage among them, again and again, would be a tenth of the time of a small job.
    """
    if name in sys.modules:
        return sys.modules[name]
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _usage() -> str:
    """The text of ``nnn --help``."""
    return _USAGE.format(commands="\n".join(f"  {name:<9} {text}" for name, (_, text) in _COMMANDS.items()))


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which is how schedulers ask a program to end."""


def _hear_sigterm() -> list[int]:
    """Have SIGTERM end the program as Ctrl-C does, also where it is process 1; the list is not empty once it came."""
    heard: list[int] = []

    def end(number: int, _: object) -> None:
        if not heard:
            heard.append(number)
            raise _Terminated

    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, end)
    return heard


def run_command(command: Callable[[Sequence[str]], object], argv: Sequence[str]) -> int:
    """Run a command; an error that was raised on purpose becomes one message and its exit code."""
    heard = _hear_sigterm()
    try:
        command(argv)
    except NNNError as error:
        say_failure(str(error), type(error).__name__, error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        with contextlib.suppress(ValueError):
            # Once is enough; and a handler of ours would be gone before the process is.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        what, kind, code = ("terminated", "Terminated", 143) if heard else ("interrupted", "Interrupted", 130)
        say_failure(f"{what}; finished work is kept, run the same command again to continue", kind, code)
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
