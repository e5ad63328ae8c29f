"""YAML files that people write: options, thresholds and rates are all read here."""

from __future__ import annotations

import contextlib
import math
import re
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator

from nnn_core import storage
from nnn_core.errors import ConfigError, InputError


def _from_text(value: Any) -> Any:
    """A number of a text that is one: YAML 1.1 takes 1e-3, without a point, for a text."""
    with contextlib.suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


#: A number as people write it in YAML, for pydantic's models of a file.
Number = Annotated[float, BeforeValidator(_from_text)]


_LARGEST = 1 << 20
_DEEPEST = 20
_MOST_DIGITS = 19

#: What else to do about a file of this flag that is not there.
_INSTEAD = {"--config": ", or write the file with nnn init", "--rates": ", or write auto to measure this machine"}

_NAME = re.compile(r"[\w-]{1,40}\Z")
_TAG = re.compile(r"(the )?tag '[^']*'")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML as people mean it: a key stands once, numbers are decimal, and nothing refers to anything else.

    PyYAML's own takes the last of several equal keys without a word, 010 for 8, 1:30 for 90, and lets a few lines
    grow into gigabytes by aliases.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", self.peek_event().start_mark)
        self.depth += 1
        if self.depth > _DEEPEST:
            problem = f"nested too deep (limit: {_DEEPEST} levels)"
            raise yaml.composer.ComposerError(None, None, problem, self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                name = repr(key.value) if _NAME.match(key.value) else "a key"
                raise yaml.constructor.ConstructorError(None, None, f"{name} stands twice", key.start_mark)
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep))

    def construct_number(self, node: Any) -> int:
        if len(node.value) > _MOST_DIGITS:
            problem = f"a number has too many digits (limit: {_MOST_DIGITS})"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return int(node.value)


_INT, _FLOAT, _DATE = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp"))

_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT, _DATE)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# As YAML 1.2 has them, less the octal and hexadecimal ones.
_Loader.add_implicit_resolver(_INT, re.compile(r"[-+]?(0|[1-9][0-9]*)\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf)\Z|\.(nan|NaN)\Z"),
    list("-+0123456789."),
)
_Loader.add_constructor(_INT, _Loader.construct_number)


def read_yaml(uri: str, flag: str) -> Any:
    """What a file holds.

    Args:
        uri: URI of the YAML file.
        flag: the flag that named the file, such as ``--rates``, for messages.

    Raises:
        ConfigError: no YAML, too large or too deep, an alias, or a key that stands twice; says where, and not what
            stands there.
        InputError: the file cannot be read.
    """
    try:
        if storage.size(uri) > _LARGEST:
            raise ConfigError(f"{flag} {uri}: the file is too large (limit: {_LARGEST:,} bytes).")
        data = storage.read_bytes(uri)
    except InputError as error:
        raise InputError(f"{flag}: {error} Check the path{_INSTEAD.get(flag, '')}.") from None
    try:
        return yaml.load(data.decode(), _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "a character that YAML does not allow"
        raise ConfigError(f"{flag} {uri}: not YAML: {place}{_TAG.sub('a tag', problem)}") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{flag} {uri}: not YAML: {type(error).__name__}") from None


def read_mapping(uri: str, flag: str, example: str) -> dict[str, Any]:
    """The lines ``key: value`` of a file; none of an empty one.

    Args:
        uri: URI of the YAML file.
        flag: the flag that named the file, such as ``--gates``, for messages.
        example: a line that such a file may hold, such as ``k: 128``, for messages.

    Raises:
        ConfigError: see ``read_yaml``; or something else than such lines.
        InputError: the file cannot be read.
    """
    record = read_yaml(uri, flag)
    if record is None:
        return {}
    if not isinstance(record, dict):
        raise ConfigError(f"{flag} {uri} must have lines such as {example!r}, not a {type(record).__name__}.")
    return {str(key): value for key, value in record.items()}


def _quoted(text: str) -> str:
    """A text as a file can hold it, in quotes. (JSON escapes some characters as two, for which YAML takes them.)"""
    line: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return line.rstrip("\n")
