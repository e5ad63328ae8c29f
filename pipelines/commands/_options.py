"""The command line, made from the fields of configurations: see ``pipelines.options``."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shlex
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from nnn_core.encoders import FLOAT32, PRECOMPUTED, EncoderSource, parse_encoder
from nnn_core.encoders.fingerprints import PROBES, check_encoder
from nnn_core.encoders.generations import settle
from nnn_core.encoders.probes import recorded, static_parts
from nnn_core.encoders.prompts import Prompts
from nnn_core.redaction import redact
from nnn_core.table.manifest import read_manifest
from pipelines.commands._parser import Parser
from pipelines.options import OUTPUT, Option
from pipelines.running.logs import FORMATS

_Model = TypeVar("_Model")

#: An attribute in the docstring of a class.
_DESCRIBED = re.compile(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", re.M)


@dataclass(frozen=True)
class Declared:
    """An option as its field declares it.

    Attributes:
        name: name of the field; also the key in a file, and the flag with dashes.
        kind: type of a value that is given, so without None.
        default: value that holds where none is given; None if one is required, or found by the command.
        required: whether a value must be given.
        option: the ``Option`` that the field is annotated with.
        description: what the docstring of the field's class says of the option; None if nothing.
    """

    name: str
    kind: Any
    default: Any
    required: bool
    option: Option
    description: str | None

    @property
    def choices(self) -> tuple[str, ...]:
        """All values that there are; none where there is a rule instead."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else self.option.choices

    @property
    def repeats(self) -> bool:
        """Whether the value is a list, to which each flag adds one."""
        return get_origin(self.kind) is tuple

    @property
    def help(self) -> str | None:
        """What it is, for a person; None if it is not shown."""
        return self.description and self.description % {"default": self.default}


@dataclass(frozen=True)
class Output:
    """What a program that runs a pipeline prints.

    Attributes:
        json: print one JSON object on the last line.
        quiet: print only warnings, errors and the object of --json.
        verbose: log every shard, and what Beam says of its jobs.
        log_format: json writes one object a line, the last at the end of a good run (default: text).
    """

    json: Annotated[bool, Option(group=OUTPUT)] = False
    quiet: Annotated[bool, Option(group=OUTPUT)] = False
    verbose: Annotated[bool, Option(group=OUTPUT)] = False
    log_format: Annotated[str, Option(group=OUTPUT, choices=FORMATS)] = "text"


class Switch(argparse.BooleanOptionalAction):
    """``--tune`` and ``--no-tune``: what a file switches on, a flag can switch off."""

    def format_usage(self) -> str:
        return self.option_strings[0].replace("--", "--[no-]", 1)


def make_parser(
    command: str,
    description: str,
    models: Sequence[type],
    groups: Mapping[str, str | None] = types.MappingProxyType({}),
    epilog: str = "Any Apache Beam option may follow.",
) -> Parser:
    """A command line.

    Args:
        command: name of the command, such as ``refresh``.
        description: text that --help shows above the options.
        models: classes whose fields are options.
        groups: headings of --help in order, with descriptions or None; options of no such group come first.
        epilog: text that --help shows below the options.
    """
    parser = Parser(prog=f"nnn {command}", description=description, epilog=epilog)
    options = [each for model in models for each in declared(model)]
    places = {None: parser} | {title: parser.add_argument_group(title, text) for title, text in groups.items()}
    for title, place in places.items():
        for each in options:
            if title == (each.option.group if each.option.group in groups else None):
                _add(place, each)
                parser.declared[each.name] = each
    return parser


def add_options(place: argparse._ActionsContainer, model: type, *names: str) -> None:
    """Add the options of ``model`` to a parser or a group of it; with ``names`` only these."""
    for each in declared(model):
        if not names or each.name in names:
            _add(place, each)


def build(model: type[_Model], args: argparse.Namespace, **more: Any) -> _Model:
    """A configuration of what was given, and of ``more``, which counts before it.

    Args:
        model: class of the configuration, whose fields are options.
        args: what a parser with options of ``model`` found; what is left out, or None, has its default.
        **more: values by name of the field, which count before those that were given.
    """
    given = {each.name: getattr(args, each.name, None) for each in declared(model)}
    return model(**{**{name: value for name, value in given.items() if value is not None}, **more})


def command_line(command: str, *models: Any) -> str:
    """The command with all options that have other values than by default, as a shell takes it, without secrets.

    Args:
        command: name of the command, such as ``refresh``.
        models: configurations of it, whose fields are options.
    """
    words = ["nnn", command]
    for model in models:
        for each in declared(type(model)):
            value, flag = getattr(model, each.name), f"--{each.name.replace('_', '-')}"
            if value is None or value == each.default or each.option.filled:
                continue
            if each.kind is bool:
                words.append(flag)
            else:
                values = value if each.repeats else (value,)
                words += [word for item in values for word in (flag, shlex.quote(str(item)))]
    return redact(" ".join(words))


def threads_of(args: argparse.Namespace, local: bool) -> int:
    """Threads of one worker process: all cores of the machine locally; a cluster has a process a core.

    Args:
        args: what a parser found; its ``threads`` count where they were given.
        local: whether the job runs in this process.
    """
    return args.threads or (len(os.sched_getaffinity(0)) if local else 1)


def encoder_of_table(spec: str | None, table: str, version: int, work: str | None = None) -> EncoderSource | None:
    """The encoder that ``--encoder`` names for a published table, in the precision of its manifest.

    Args:
        spec: what ``--encoder`` says; None for no encoder.
        table: URI of the table's folder.
        version: number of the version.
        work: URI of the folder of artefacts, which knows vectors of the encoder; None to compare its files alone.

    Raises:
        InputError: it is not the encoder that the table is valid for; names the parts that differ.
    """
    if spec is None:
        return None
    settings = read_manifest(table, version).settings
    made_with = settings.encoder
    encoder = parse_encoder(spec, made_with.get("precision", FLOAT32))
    modalities = {settings.candidate_modality, settings.reference_modality}
    prompts = Prompts.recorded(made_with)
    if made_with.get("kind") != PRECOMPUTED:
        check_encoder(made_with, static_parts(encoder, prompts), table, f"--encoder {spec}")
    if work is None:
        return encoder
    settled = settle(encoder, work, modalities)
    if PROBES in made_with:
        check_encoder(made_with, recorded(settled, prompts, work, modalities), table, f"--encoder {spec}")
    return settled


def declared(model: type) -> Iterator[Declared]:
    """The options of a dataclass: those of its fields that hold an ``Option``."""
    hints, found = get_type_hints(model, include_extras=True), _descriptions(model)
    for field in dataclasses.fields(model):
        marks = getattr(hints[field.name], "__metadata__", ())
        for option in (mark for mark in marks if isinstance(mark, Option)):
            required = field.default is dataclasses.MISSING
            default = None if required or option.filled else field.default
            checks = tuple(mark for mark in marks if mark is not option)
            kind = _without_none(get_args(hints[field.name])[0])
            kind = Annotated[kind, *checks] if checks else kind
            yield Declared(field.name, kind, default, required and not option.filled, option, found.get(field.name))


def _descriptions(model: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of attributes, without the full stop."""
    texts: dict[str, str] = {}
    for each in reversed(model.__mro__):
        texts.update(_DESCRIBED.findall(each.__doc__ or ""))
    return {name: " ".join(text.split()).removesuffix(".") for name, text in texts.items()}


def _without_none(kind: Any) -> Any:
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    return Union[tuple(each for each in get_args(kind) if each is not types.NoneType)]  # noqa: UP007


def _add(place: argparse._ActionsContainer, each: Declared) -> None:
    """One option as a flag."""
    flag = f"--{each.name.replace('_', '-')}"
    common: dict[str, Any] = {"default": each.default, "help": each.description or argparse.SUPPRESS}
    if each.kind is bool:
        place.add_argument(flag, action=Switch if each.option.switch else "store_true", **common)
        return
    common |= {"metavar": each.option.metavar, "required": each.required}
    if each.repeats:
        place.add_argument(flag, action="append", **common | {"default": list(each.default)})
    elif each.choices:
        place.add_argument(flag, choices=each.choices, **common)
    else:
        place.add_argument(flag, **common | {"type": _converter(each.kind)})


def _converter(kind: Any) -> Callable[[str], Any] | None:
    """The function from the text of a flag to its value."""
    if kind in (str, int, float):
        return None if kind is str else kind

    def convert(text: str) -> Any:
        try:
            return TypeAdapter(kind).validate_python(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None

    return convert
