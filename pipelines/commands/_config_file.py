"""One file for the flags of a command: ``--config refresh.yaml``.

The model that checks a file, its JSON Schema and the defaults that a file sets are made from the same fields as the
flags of the command, so they cannot drift apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from nnn_core.errors import ConfigError
from nnn_core.yaml_files import Number, read_mapping
from pipelines.commands._beam_options import beam_flags, beam_options, beam_problem, nearest, option_name, without_given
from pipelines.commands._options import Declared
from pipelines.commands._parser import Parser
from pipelines.options import Option

#: Key of a file under which Beam's options stand.
BEAM = "beam"


@dataclass(frozen=True)
class ConfigFile:
    """Where a file of flags is.

    Attributes:
        config: YAML file of these flags (k_max: 512), Beam's below the key beam; flags override it; --config-schema
            prints what it may hold.
    """

    config: Annotated[str | None, Option("FILE")] = None


@dataclass(frozen=True)
class FileConfig:
    """What a file says.

    Attributes:
        uri: URI of the file of flags.
        values: values that the file sets, by name of the option, such as ``k_max``.
        beam: Beam's options that the file sets, by name, such as ``temp_location``.
    """

    uri: str
    values: dict[str, Any]
    beam: dict[str, Any]

    def beam_flags(self, given: Sequence[str]) -> list[str]:
        """Beam's options as flags, without those that the command line gives itself."""
        kept = without_given(self.beam, given)
        return [flag for name, value in kept.items() for flag in beam_flags(name, value)]


def file_options(parser: Parser) -> dict[str, argparse.Action]:
    """The options of a command that a file may set, by key."""
    return {each.dest: each for each in parser._actions if each.dest in parser.declared and each.dest != "config"}


def file_model(parser: Parser) -> type[BaseModel]:
    """The model of a file with options of ``parser``; every key may be left out."""
    # pydantic's models have attributes, such as json, which a field must not hide: so names are not keys.
    fields: dict[str, Any] = {
        f"{key}_": (_type_of(parser.declared[key]), Field(None, alias=key, description=parser.declared[key].help))
        for key in file_options(parser)
    }
    fields["beam_"] = (dict[str, Any], Field(None, alias=BEAM, description="Apache Beam's options by name"))
    title = f"The file of {parser.prog} --config"
    return create_model("File", __config__=ConfigDict(title=title, extra="forbid", strict=True), **fields)


def file_schema(parser: Parser) -> dict[str, Any]:
    """The JSON Schema of a file."""
    schema = file_model(parser).model_json_schema()
    for each in schema["properties"].values():
        each.pop("default")
        each.pop("title")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _type_of(option: Declared) -> Any:
    """The type of an option's value in a file."""
    if option.repeats:
        return list[str]
    if option.choices:
        return Literal[option.choices]
    return Number if option.kind is float else option.kind


def read_config(uri: str, parser: Parser) -> FileConfig:
    """Read and check a file.

    Raises:
        ConfigError: no YAML, not a mapping, an unknown key or a value that cannot be; all of them are named.
        InputError: the file does not exist.
    """
    record = read_mapping(uri, "--config", "k: 128")
    problems: dict[str, str] = {}
    values: dict[str, Any] = {}
    try:
        values = file_model(parser).model_validate(record).model_dump(by_alias=True, exclude_unset=True)
    except ValidationError as error:
        for each in error.errors():
            problems.setdefault(str(each["loc"][0]), _explain(each, parser))
    beam = record.get(BEAM)
    if isinstance(beam, dict):
        found = {f"{BEAM}: {name}": beam_problem(str(name), value) for name, value in beam.items()}
        problems.update({name: f"{BEAM}: {problem}" for name, problem in found.items() if problem})
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems.values())
        raise ConfigError(f"--config {uri} cannot be used, so nothing was computed:{lines}")
    return FileConfig(uri, values, values.pop(BEAM, {}))


def _explain(error: Any, parser: Parser) -> str:
    key = str(error["loc"][0])
    if error["type"] != "extra_forbidden":
        message = error["msg"].removeprefix("Value error, ")
        return f"{key}: {error['input']!r} is wrong: {message[0].lower()}{message[1:]}"
    if key in beam_options():
        return f"{key!r} is a Beam option: put it below the key {BEAM!r}"
    return f"there is no key {key!r}; the nearest is {nearest(key, [*file_options(parser), BEAM])!r}"


def apply_config(config: FileConfig, parser: Parser, given: Sequence[str]) -> None:
    """Make what a file says the defaults of ``parser``; what it says need not be said on the command line.

    Args:
        config: what the file of flags says.
        parser: parser of the command; its defaults are changed.
        given: the command line; where it gives a list, such as that of ``accept``, the file's is left out, because
            argparse would add to it.
    """
    named = {option_name(flag).replace("-", "_") for flag in given}
    for key, action in file_options(parser).items():
        if key in config.values and key not in named:
            action.required = False
            action.default = config.values[key]
