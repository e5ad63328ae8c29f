"""Our flags and Beam's, from the command line and the file of --config."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions

from nnn_core.errors import ConfigError
from nnn_core.redaction import is_secret
from pipelines.commands._beam_options import beam_parser
from pipelines.commands._config_file import apply_config, file_schema, read_config
from pipelines.commands._options import Switch
from pipelines.commands._parser import Parser, flag_name, like_flag
from pipelines.running.known_runners import settle_runner
from pipelines.running.logs import configure_logging
from pipelines.running.output import hush

#: Not a spelling of ours.
_DRY_RUN_OF_BEAM = "--dry_run"


def parse_flags(parser: Parser, argv: Sequence[str] | None) -> tuple[argparse.Namespace, PipelineOptions]:
    """Our flags by ``parser``, the rest as Beam's, both on top of the file of --config; logging is set up on the way.

    Raises:
        ConfigError: see ``read_config`` and ``parse_beam_options``.
    """
    given = [_spell(flag, parser._option_string_actions) for flag in (sys.argv[1:] if argv is None else argv)]
    ahead = argparse.Namespace(config=None, config_schema=False)
    if "config" in parser.declared:
        ahead = _look_ahead(given, parser.prog)
    if ahead.config_schema:
        print(json.dumps(file_schema(parser), indent=2))
        parser.exit()
    config = read_config(ahead.config, parser) if ahead.config else None
    if config:
        apply_config(config, parser, given)
    parser.others = _unknown_to_beam
    args, beam_flags = parser.parse_known_args(given)
    configure_logging(args.verbose, args.log_format)
    if args.quiet:
        if args.verbose:
            raise ConfigError("--quiet and --verbose exclude each other. Leave one of them out.")
        hush()
    from_file = config.beam_flags(beam_flags) if config else []
    return args, parse_beam_options([*from_file, *beam_flags], parser)


def _unknown_to_beam(flags: list[str]) -> list[str]:
    """Of flags that are not ours, those that are not Beam's; none if Beam's cannot be told."""
    try:
        return beam_parser().parse_known_args(flags)[1]
    except argparse.ArgumentError:
        return []


def _look_ahead(flags: Sequence[str], program: str) -> argparse.Namespace:
    """What is about the file of --config: what else there is cannot be parsed before that file was read."""
    parser = Parser(prog=program, add_help=False)
    parser.add_argument("--config")
    parser.add_argument("--config-schema", action="store_true")
    found: argparse.Namespace = parser.parse_known_args(list(flags))[0]
    return found


def _spell(flag: str, known: Mapping[str, argparse.Action]) -> str:
    """A flag of ours as argparse knows it: a launcher of templates writes ``--k_max=512`` and ``--tune=true``."""
    name, equals, value = flag.partition("=")
    dashed = name.replace("_", "-")
    if not name.startswith("--") or dashed not in known or name == _DRY_RUN_OF_BEAM:
        return flag
    if known[dashed].nargs == 0 and value == "true":
        return dashed
    if isinstance(known[dashed], Switch) and value == "false":
        return dashed.replace("--", "--no-", 1)
    return dashed + equals + value


def _secret_flag(flags: Sequence[str]) -> str | None:
    """Name of the first flag that is for a credential, or is given one, behind = or as the next argument."""
    name = ""
    for each in flags:
        value = each
        if each.startswith("-"):
            name, _, value = each.partition("=")
        if is_secret(name, value):
            return name or "an argument"
    return None


def parse_beam_options(flags: Sequence[str], known: argparse.ArgumentParser) -> PipelineOptions:
    """Beam's options from the flags that are not ours.

    Raises:
        ConfigError: a flag that neither this program nor Beam knows, which Beam would ignore; a value that Beam cannot
            use; a credential; or worker processes of the local runner.
    """
    # Beam writes its options into the job graph; clients of stores read the environment.
    if secret := _secret_flag(flags):
        raise ConfigError(
            f"{secret} would be written into the job graph. Set credentials in the environment "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_CONNECTION_STRING)."
        )
    parser = beam_parser()
    try:
        unknown = parser.parse_known_args(list(flags))[1]
    except argparse.ArgumentError as error:
        raise ConfigError(f"an option of Beam cannot be used: {error}") from None
    if unknown and not unknown[0].startswith("-"):
        raise ConfigError(
            f"unexpected argument {unknown[0]!r}: a flag takes one value. If the shell expanded a glob, quote the glob."
        )
    if unknown:
        names = [*known._option_string_actions, *parser._option_string_actions]
        name = flag_name(unknown[0])
        hint = like_flag(name, names) or f". See {known.prog} --help."
        raise ConfigError(f"unknown flag {name}{hint}")
    options = PipelineOptions(list(flags))
    settle_runner(options)
    debug = options.view_as(DebugOptions)
    if not debug.number_of_worker_harness_threads:
        # A task fills a core and holds blocks of vectors: more at once would only cost memory.
        debug.number_of_worker_harness_threads = 1
    return options
