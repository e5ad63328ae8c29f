"""One file for the flags of a command: ``--config refresh.yaml``.

The parser of the command is the only definition of its options. The model that checks a file, its JSON Schema and the
defaults that a file sets are all made from it, so they cannot drift apart.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from nnn_core.errors import ConfigError
from nnn_core.yaml_files import Number, read_mapping
from pipelines.commands.beam_options import beam_flags, beam_options, beam_problem, nearest, option_name, without_given

#: Key of a file under which Beam's options stand.
BEAM = "beam"

#: Options of a command that make no sense in a file.
_NOT_IN_A_FILE = ("help", "config", "config_schema")


@dataclass(frozen=True)
class FileConfig:
    """What a file says.

    Attributes:
        uri: of the file.
        values: by the names of ``argparse``, such as ``k_max``.
        beam: Beam's options by name, such as ``temp_location``.
    """

    uri: str
    values: dict[str, Any]
    beam: dict[str, Any]

    def beam_flags(self, given: Sequence[str]) -> list[str]:
        """Beam's options as flags, without those that the command line gives itself."""
        kept = without_given(self.beam, given)
        return [flag for name, value in kept.items() for flag in beam_flags(name, value)]


class ShowSchema(argparse.Action):
    """``--config-schema``: print the JSON Schema of the file and leave."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help, default=argparse.SUPPRESS)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(json.dumps(file_schema(parser), indent=2))
        parser.exit()


class Switch(argparse.BooleanOptionalAction):
    """``--tune`` and ``--no-tune``: what a file switches on, a flag can switch off."""

    def format_usage(self) -> str:
        return self.option_strings[0].replace("--", "--[no-]", 1)


def add_config_arguments(parser: argparse._ActionsContainer) -> None:
    """The flags of a command that takes a file."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="YAML file of these flags (k_max: 512), Beam's below the key beam; flags override it; --config-schema "
        "prints what it may hold",
    )
    parser.add_argument("--config-schema", action=ShowSchema, help=argparse.SUPPRESS)


def file_options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The options of a command that a file may set, by key."""
    return {action.dest: action for action in parser._actions if action.dest not in _NOT_IN_A_FILE}


def describe(action: argparse.Action, parser: argparse.ArgumentParser) -> str | None:
    """The help of an option as a person reads it; None if it has none."""
    if action.help is None or action.help == argparse.SUPPRESS:
        return None
    return str(action.help % {**vars(action), "prog": parser.prog})


def file_model(parser: argparse.ArgumentParser) -> type[BaseModel]:
    """The model of a file, made from the options of ``parser``; every key may be left out."""
    # pydantic's models have attributes, such as json, which a field must not hide: so names are not keys.
    fields: dict[str, Any] = {
        f"{key}_": (_type_of(action), Field(default=None, alias=key, description=describe(action, parser)))
        for key, action in file_options(parser).items()
    }
    fields["beam_"] = (dict[str, Any], Field(default=None, alias=BEAM, description="Apache Beam's options by name"))
    title = f"The file of {parser.prog} --config"
    return create_model("File", __config__=ConfigDict(title=title, extra="forbid", strict=True), **fields)


def file_schema(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The JSON Schema of a file."""
    schema = file_model(parser).model_json_schema()
    for each in schema["properties"].values():
        each.pop("default")
        each.pop("title")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _type_of(action: argparse.Action) -> Any:
    """The type of an option's value in a file."""
    if action.nargs == 0:
        return bool
    if isinstance(action, argparse._AppendAction):
        return list[str]
    if action.choices:
        return Literal[tuple(action.choices)]
    if action.type is float:
        return Number
    if action.type in (int, str, None):
        return action.type or str
    return Annotated[int | str, AfterValidator(_converted(action.type))]  # type: ignore[arg-type]


def _converted(convert: Callable[[str], Any]) -> Callable[[Any], Any]:
    """``convert``, the function of a flag, for a value of a file."""

    def validate(value: Any) -> Any:
        try:
            return convert(str(value))
        except argparse.ArgumentTypeError as error:
            raise ValueError(str(error)) from None

    return validate


def read_config(uri: str, parser: argparse.ArgumentParser) -> FileConfig:
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


def _explain(error: Any, parser: argparse.ArgumentParser) -> str:
    key = str(error["loc"][0])
    if error["type"] != "extra_forbidden":
        message = error["msg"].removeprefix("Value error, ")
        return f"{key}: {error['input']!r} is wrong: {message[0].lower()}{message[1:]}"
    if key in beam_options():
        return f"{key!r} is an option of Beam; put it below the key {BEAM!r}"
    return f"there is no key {key!r}; the nearest is {nearest(key, [*file_options(parser), BEAM])!r}"


def apply_config(config: FileConfig, parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Make what a file says the defaults of ``parser``; what it says need not be said on the command line.

    Args:
        config: the file.
        parser: of the command; it is changed.
        given: the command line; where it gives a list, such as that of ``accept``, the file's is left out, because
            argparse would add to it.
    """
    named = {option_name(flag).replace("-", "_") for flag in given}
    for key, action in file_options(parser).items():
        if key in config.values and key not in named:
            action.required = False
            action.default = config.values[key]


def spell(flags: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """Our flags as ``parser`` knows them: a launcher of templates writes ``--k_max=512`` and ``--tune=true``."""
    return [_spell(flag, parser._option_string_actions) for flag in flags]


def _spell(flag: str, known: Mapping[str, argparse.Action]) -> str:
    name, equals, value = flag.partition("=")
    dashed = name.replace("_", "-")
    if not name.startswith("--") or dashed not in known:
        return flag
    if known[dashed].nargs == 0 and value == "true":
        return dashed
    if isinstance(known[dashed], Switch) and value == "false":
        return dashed.replace("--", "--no-", 1)
    return dashed + equals + value
