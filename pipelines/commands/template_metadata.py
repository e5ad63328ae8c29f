"""metadata.json of the Flex Template, made from the options of ``nnn refresh``.

python -m pipelines.commands.template_metadata > deploy/metadata.json
"""

from __future__ import annotations

import json
from typing import Any

from pipelines.commands._config_file import file_options
from pipelines.commands._options import Declared
from pipelines.commands._parser import Parser
from pipelines.commands._refresh_flags import build_parser

#: What a text has to look like, by the type of the flag. The console fills in a default of its own for parameters that
#: are declared as numbers or booleans, which would override the file of ``config``; so they are texts with a pattern.
_PATTERNS: dict[Any, str] = {int: "^-?[0-9]+$", float: "^[-+.0-9eE]+$", bool: "^(true|false)$"}

#: Options that only make sense where someone waits and watches.
_OF_A_TERMINAL = ("json", "quiet", "verbose", "log_format", "with_plan", "rates", "metrics_file", "lineage_url")


def _render(parser: Parser) -> str:
    """The text of metadata.json, which ``gcloud dataflow flex-template build --metadata-file`` takes.

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
    own = [_parameter(parser.declared[name]) for name in file_options(parser) if name not in _OF_A_TERMINAL]
    record = {"name": "nnn-refresh", "description": parser.description, "streaming": False, "parameters": [file, *own]}
    return json.dumps(record, indent=2) + "\n"


def _parameter(option: Declared) -> dict[str, Any]:
    words = option.name.replace("_", " ")
    record: dict[str, Any] = {
        "name": option.name,
        "label": words[0].upper() + words[1:],
        "helpText": option.help or f"The {words}, where it differs from that of the candidates.",
        "isOptional": True,
        "paramType": "ENUM" if option.choices else "TEXT",
    }
    if option.choices:
        record["enumOptions"] = [{"value": value, "label": value} for value in option.choices]
    if pattern := _PATTERNS.get(option.kind):
        record["regexes"] = [pattern]
    return record


if __name__ == "__main__":
    print(_render(build_parser()), end="")
