"""metadata.json of the Flex Template, made from the parser of ``nnn refresh``.

python -m pipelines.commands.template_metadata > deploy/metadata.json
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from pipelines.commands.config_file import describe, file_options
from pipelines.commands.refresh import build_parser

#: What a text has to look like, by the type of the flag. The console fills in a default of its own for parameters that
#: are declared as numbers or booleans, which would override the file of ``config``; so they are texts with a pattern.
_PATTERNS: dict[Any, str] = {int: "^-?[0-9]+$", float: "^[-+.0-9eE]+$", bool: "^(true|false)$"}

#: Options that only make sense where someone waits and watches.
_OF_A_TERMINAL = ("json", "verbose", "log_format", "with_plan", "rates")


def template_metadata(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The record that ``gcloud dataflow flex-template build --metadata-file`` takes.

    Every parameter is optional, because the file of ``config`` may give it; what is still missing is named by the
    launcher. None has a default value, because it would override that file.
    """
    file = {
        "name": "config",
        "label": "Configuration file",
        "helpText": "URI of a YAML file of these parameters, and of Beam's options below the key beam. What is given "
        "here overrides it.",
        "isOptional": True,
        "paramType": "TEXT",
    }
    options = file_options(parser)
    own = [_parameter(name, action, parser) for name, action in options.items() if name not in _OF_A_TERMINAL]
    return {
        "name": "nnn-refresh",
        "description": parser.description,
        "streaming": False,
        "parameters": [file, *own],
    }


def _parameter(name: str, action: argparse.Action, parser: argparse.ArgumentParser) -> dict[str, Any]:
    words = name.replace("_", " ")
    record: dict[str, Any] = {
        "name": name,
        "label": words[0].upper() + words[1:],
        "helpText": describe(action, parser) or f"The {words}, where it differs from that of the candidates.",
        "isOptional": True,
        "paramType": "ENUM" if action.choices else "TEXT",
    }
    if action.choices:
        record["enumOptions"] = [{"value": value, "label": value} for value in action.choices]
    if pattern := _PATTERNS.get(bool if action.nargs == 0 else action.type):
        record["regexes"] = [pattern]
    return record


def render(parser: argparse.ArgumentParser) -> str:
    """The text of metadata.json."""
    return json.dumps(template_metadata(parser), indent=2) + "\n"


if __name__ == "__main__":
    print(render(build_parser()), end="")
