"""The ``nnn`` command."""

from __future__ import annotations

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
from pipelines.running.signals import heard_once

_COMMANDS = {
    "demo": ("pipelines.commands._demo", "run the whole job on a built-in corpus, with recall before and after"),
    "inspect": ("pipelines.commands._inspect", "show what input files hold, from footers and first rows"),
    "init": ("pipelines.commands._init", "write a commented file for nnn refresh --config, to fit your inputs"),
    "plan": ("pipelines.commands._plan", "show what a refresh would compute, why, and at what cost"),
    "refresh": ("pipelines.commands._refresh", "compute the biases of an index and publish them as a new version"),
    "evaluate": ("pipelines.commands._evaluate", "measure recall and hubness of a table on held-out queries"),
    "report": ("pipelines.commands._report", "show the report of an earlier run, as text and as a page"),
    "work": ("pipelines.commands._work", "remove artefacts that no version needs"),
    "encoder": (
        "pipelines.commands._encoder",
        "fingerprint an encoder, and compare encoders and services with a table",
    ),
    "table": ("pipelines.commands._table", "list, show, verify, roll back and expire versions of a bias table"),
    "doctor": ("pipelines.commands._doctor", "show versions, cores, GPU and disk, and whether stores can be reached"),
    "score": ("pipelines.commands._score", "compute the biases of new items, before the next refresh"),
    "encode": ("pipelines.commands._encode", "encode texts or images into a file of vectors"),
    "search": ("pipelines.commands._search", "show what a few queries find, before and after, side by side"),
    "completion": ("pipelines.commands._completion", "print a script that completes commands and flags in bash or zsh"),
    "export": ("pipelines.commands._export", "write files and recipes for a vector engine, and measure the overlap"),
}

#: Commands whose work is done when they print: that nobody reads it changes nothing.
_DONE = ("demo", "refresh", "evaluate", "export")

#: What a shell shows of a program that ended because nobody reads on, as in ``nnn table list | head -1``.
_SIGPIPE = 128 + signal.SIGPIPE

_USAGE = """usage: nnn COMMAND [flags]

Nearest Neighbor Normalization for image-text retrieval: a bias for every candidate of an
index, computed offline from a bank of reference queries.

commands:
{commands}

  nnn COMMAND --help      the flags of a command
  nnn --version           the version of this program
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script.

    Args:
        argv: command and flags; None for those of the process, which then ends with this function.

    Returns:
        The exit code.
    """
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
        code = run_command(lambda flags: _load(_COMMANDS[arguments[0]][0]).main(flags), arguments[1:], argv is None)
    if code == 0 and output.abandoned and arguments[0] not in _DONE:
        return _SIGPIPE
    if code == 0 and output.problem and arguments[0] not in _DONE:
        say_failure(f"the output is incomplete: {output.problem}.", "StorageError", StorageError.exit_code)
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
    return _USAGE.format(commands="\n".join(f"  {name:<10} {text}" for name, (_, text) in _COMMANDS.items()))


def run_command(command: Callable[[Sequence[str]], object], argv: Sequence[str], for_good: bool = False) -> int:
    """Run a command; an error that was raised on purpose, or a signal, becomes one message and its exit code.

    Args:
        command: takes the flags.
        argv: the flags.
        for_good: whether the process ends with the command, so that no signal is heard any more.
    """
    heard: list[int] = []
    try:
        with heard_once(for_good) as heard:
            command(argv)
    except (Exception, KeyboardInterrupt) as error:
        # Once a signal was heard, any error may be what libraries, and Python itself, made of it.
        if not heard and isinstance(error, NNNError):
            say_failure(str(error), type(error).__name__, error.exit_code)
            return error.exit_code
        if not heard and not isinstance(error, KeyboardInterrupt):
            raise
        terminated = signal.SIGTERM in heard
        what, kind, code = ("terminated", "Terminated", 143) if terminated else ("interrupted", "Interrupted", 130)
        say_failure(f"{what}. Finished work is kept: run the same command again to continue", kind, code)
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
