"""The command line of every command: what ``--help`` shows first, and how a mistake is told."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from typing import Any, NoReturn

from nnn_core.errors import ConfigError, did_you_mean
from nnn_core.redaction import harmless, redact

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
        common: the flags that ``--help`` shows, by name; all if empty. The others are shown by ``--help-all``.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})
        self.declared: dict[str, Any] = {}
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
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse flags that are all ours."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = flag_name(unknown[0])
            kind = "flag" if name.startswith("-") else "argument"
            self.error(f"unknown {kind} {name}{like_flag(name, self._flags())}")
        return found

    def _flags(self) -> set[str]:
        """All flags of this parser and of its commands."""
        found = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found.update(*(parser._flags() for parser in action.choices.values()))
        return found

    def error(self, message: str) -> NoReturn:
        """End with what is wrong, and where to read on."""
        message = harmless(redact(message))
        self.exit(ConfigError.exit_code, f"{self.prog}: {message}\n(see {self.prog} --help)\n")


def flag_name(argument: str) -> str:
    """The name of a flag without its value, which may be a secret; an argument that is no flag as it is."""
    if argument.startswith("-") and not argument.startswith("--"):
        return argument[:2]
    return argument.partition("=")[0]


def like_flag(name: str, known: Collection[str]) -> str:
    """``; did you mean --X?``; flags of the candidates have no word for their side, which people write all the same."""
    plain = re.sub("^--candidates?-", "--", name)
    return f"; did you mean {plain}?" if plain != name and plain in known else did_you_mean(name, known)
