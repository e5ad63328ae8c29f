"""Beam's own options: which there are, and how a file writes them."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from nnn_core.redaction import is_secret


def beam_parser() -> argparse.ArgumentParser:
    """A parser of every option of Beam."""
    parser = argparse.ArgumentParser(prog="Beam", allow_abbrev=False, add_help=False, exit_on_error=False)
    for cls in PipelineOptions.__subclasses__():
        cls._add_argparse_args(parser)
    return parser


def beam_options() -> dict[str, argparse.Action]:
    """Beam's options by name; several names may stand for the same."""
    return {option_name(flag): action for flag, action in beam_parser()._option_string_actions.items()}


def option_name(flag: str) -> str:
    """``temp_location`` of ``--temp_location=gs://b/tmp``; empty for what is no flag."""
    return flag.partition("=")[0].removeprefix("--") if flag.startswith("--") else ""


def nearest(name: str, known: Sequence[str]) -> str:
    """The name that was probably meant."""
    return difflib.get_close_matches(name.replace("-", "_"), known, n=1, cutoff=0.0)[0]


def beam_problem(name: str, value: Any) -> str | None:
    """What is wrong with an option of a file; None if nothing is."""
    known = beam_options()
    if name not in known:
        return f"Beam has no option {name!r}; the nearest is {nearest(name, sorted(known))!r}"
    if value is None:
        return f"{name} has no value. Set one, or remove the line"
    try:
        beam_parser().parse_known_args(beam_flags(name, value))
    except (argparse.ArgumentError, ValueError) as error:
        if is_secret(name, str(value)):
            return f"{name}: the value is wrong"
        reason = getattr(error, "message", None) or str(error)
        return f"{name}: {value!r} is wrong: {reason}"
    return None


def beam_flags(name: str, value: Any) -> list[str]:
    """An option of a file as flags: what takes no value is switched on or off, a list repeats the option."""
    known = beam_options()
    if isinstance(value, bool) and known[name].nargs == 0:
        if value:
            return [f"--{name}"]
        # What the flag would not set is also the default, unless another flag sets it.
        opposite = (known[name].dest, not known[name].const)
        return [f"--{other}" for other, each in known.items() if (each.dest, each.const) == opposite]
    if isinstance(value, list):
        return [f"--{name}={_text(item)}" for item in value]
    return [f"--{name}={_text(value)}"]


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | bool) else str(value)


def without_given(options: Mapping[str, Any], given: Sequence[str]) -> dict[str, Any]:
    """``options`` less those that the flags ``given`` set, under whatever name."""
    known = beam_options()
    named = {known[name].dest for name in map(option_name, given) if name in known}
    return {name: value for name, value in options.items() if known[name].dest not in named}
