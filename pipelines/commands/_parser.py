"""The command line of every command: what ``--help`` shows first, and how a mistake is told."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from typing import Any, NoReturn

from nnn_core.errors import ConfigError, did_you_mean
from nnn_core.redaction import harmless, redact

#: How argparse begins to say that flags are missing, in a message that does not name what was typed instead.
_MISSING = "the following arguments are required"

#: What a flag is called elsewhere, or by people, and its names here.
_ALSO_CALLED = {
    "--candidates": ("--embeddings", "--input"),
    "--embeddings": ("--candidates", "--input", "--vectors"),
    "--bank": ("--references",),
    "--queries": ("--query", "--input", "--references"),
    "--texts": ("--input", "--query"),
    "--text": ("--query", "--input"),
    "--images": ("--input", "--candidates"),
    "--model": ("--encoder",),
}

_BUILDING: ContextVar[bool] = ContextVar("building", default=False)


class Built(Exception):
    """A parser is as it will be used.

    Attributes:
        parser: the parser.
    """

    def __init__(self, parser: Parser) -> None:
        super().__init__(parser.prog)
        self.parser = parser


@contextlib.contextmanager
def building() -> Iterator[None]:
    """Inside, a parser that is to parse flags raises ``Built`` instead: who wants parsers calls the commands."""
    token = _BUILDING.set(True)
    try:
        yield
    finally:
        _BUILDING.reset(token)


class _HelpAll(argparse.Action):
    """Print the flags that ``--help`` leaves out too."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        assert isinstance(parser, Parser)
        parser.common = ()
        parser.print_help()
        parser.exit()


class Parser(argparse.ArgumentParser):
    """The command line of a command. A mistake is told in two lines, and flags are spelled out whole.

    Attributes:
        declared: the options that fields of configurations declare, by name.
        others: of flags that are not its own, those that nobody else knows, to whom they would be passed on.
        common: the flags that ``--help`` shows, by name; all if empty. The others are shown by ``--help-all``.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})
        self.declared: dict[str, Any] = {}
        self.others: Callable[[list[str]], list[str]] = list
        self._given: list[str] = []
        self.common: tuple[str, ...] = ()

    def show_first(self, *names: str) -> None:
        """Have ``--help`` show these flags only, and add ``--help-all``."""
        self.common = ("help", "help_all", *names)
        self.add_argument("--help-all", action=_HelpAll, nargs=0, help="show all flags")

    def format_help(self) -> str:
        """What ``--help`` prints."""
        if not self.common:
            return super().format_help()
        everything, groups = {action: action.help for action in self._actions}, self._action_groups
        for action in self._actions:
            if action.dest not in self.common:
                action.help = argparse.SUPPRESS
        self._action_groups = [
            group for group in groups if any(each.help != argparse.SUPPRESS for each in group._group_actions)
        ]
        try:
            return super().format_help()
        finally:
            self._action_groups = groups
            for action, text in everything.items():
                action.help = text

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the flags that are ours."""
        if _BUILDING.get() and self.add_help:  # one without --help looks for a single flag ahead
            raise Built(self)
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse flags that are all ours."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = flag_name(unknown[0])
            kind = "flag" if name.startswith("-") else "argument"
            hint = (
                like_flag(name, self._flags()) if kind == "flag" else ". If the shell expanded a glob, quote the glob"
            )
            self.error(f"unknown {kind} {name}{hint}")
        return found

    def _unknown(self) -> str | None:
        """The first flag that nobody knows, of those that were given without all that are required."""
        required = [action for action in self._actions if action.required]
        for action in required:
            action.required = False
        try:
            unknown = super().parse_known_args(self._given, argparse.Namespace())[1]
        finally:
            for action in required:
                action.required = True
        return next((flag_name(each) for each in self.others(unknown) if each.startswith("--")), None)

    def _flags(self) -> set[str]:
        """All flags of this parser and of its commands."""
        found = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found.update(*(parser._flags() for parser in action.choices.values()))
        return found

    def error(self, message: str) -> NoReturn:
        """End with what is wrong, and where to read on; a flag that is missing may be one that was mistyped."""
        if message.startswith(_MISSING) and (name := self._unknown()):
            hint = like_flag(name, self._flags())
            message = f"unknown flag {name}{hint}" if hint else f"unknown flag {name}; {message}"
        message = harmless(redact(message))
        self.exit(ConfigError.exit_code, f"{self.prog}: {message}\n(see {self.prog} --help)\n")


def flag_name(argument: str) -> str:
    """The name of a flag without its value, which may be a secret; an argument that is no flag as it is."""
    if argument.startswith("-") and not argument.startswith("--"):
        return argument[:2]
    return argument.partition("=")[0]


def like_flag(name: str, known: Collection[str]) -> str:
    """``; did you mean --X?``; people write words that are flags elsewhere, and name the side of the candidates."""
    if meant := next((each for each in _ALSO_CALLED.get(name, ()) if each in known), None):
        return f"; did you mean {meant}?"
    plain = re.sub("^--candidates?-", "--", name)
    if plain != name and plain in known:
        return f"; did you mean {plain}?"
    # Dashes, which all flags share, would make --dry like --yes.
    near = did_you_mean(name.lstrip("-"), sorted({each.lstrip("-") for each in known}))
    return near.replace("mean ", "mean --")
