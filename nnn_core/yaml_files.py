"""YAML files that people write: options, thresholds and rates are all read here."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator

from nnn_core import storage
from nnn_core.errors import ConfigError


def _from_text(value: Any) -> Any:
    """A number of a text that is one: YAML 1.1 takes 1e-3, without a point, for a text."""
    with contextlib.suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


#: A number as people write it in YAML, for pydantic's models of a file.
Number = Annotated[float, BeforeValidator(_from_text)]


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML in which a key stands once; of several PyYAML takes the last without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep))


def read_yaml(uri: str, flag: str) -> Any:
    """What a file holds.

    Args:
        uri: URI of the YAML file.
        flag: the flag that named the file, such as ``--rates``, for messages.

    Raises:
        ConfigError: no YAML, or a key that stands twice.
        InputError: the file cannot be read.
    """
    try:
        return yaml.load(storage.read_bytes(uri), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{flag} {uri}: not YAML: {error}") from error


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
        raise ConfigError(f"{flag} {uri} must hold lines such as {example!r}, not a {type(record).__name__}.")
    return {str(key): value for key, value in record.items()}
