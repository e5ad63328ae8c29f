"""Thresholds of the gates: the defaults of the catalogue, and one YAML file that changes some of them."""

from __future__ import annotations

import contextlib
import difflib
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, ValidationError, create_model

from nnn_core import storage
from nnn_core.errors import ConfigError
from nnn_core.gates.catalogue import RULES, Rule, gone_message
from nnn_core.gates.facts import MeasureSettings


def _number(value: Any) -> Any:
    """YAML 1.1 takes 1e-3, without a point, for a text."""
    with contextlib.suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


# YAML's texts and booleans are no numbers.
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_number)]


def _field(rule: Rule) -> Any:
    bound = _Number if rule.signed else Annotated[_Number, Field(ge=0)]
    definition = (rule.measure.__doc__ or "").partition("\n")[0]
    return bound | None, Field(default=rule.limit, description=f"{rule.direction}: {definition.rstrip('.')}")


_Limits: Any = create_model("_Limits", __base__=MeasureSettings, **{rule.name: _field(rule) for rule in RULES})


class Thresholds(_Limits):  # type: ignore[misc]  # its fields are those of the catalogue
    """A bound for each gate, under the gate's name; null switches it off. With what measures are set by."""


def read_thresholds(uri: str) -> Thresholds:
    """The thresholds that a YAML file changes, and the defaults of the rest.

    Raises:
        ConfigError: no YAML, not a mapping, an unknown key or a value that is no bound.
        InputError: the file cannot be read.
    """
    try:
        record = yaml.safe_load(storage.read_bytes(uri))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"--gates {uri}: not YAML: {error}") from error
    if record is None:
        return Thresholds()
    if not isinstance(record, dict):
        raise ConfigError(f"--gates {uri} must hold lines such as 'drift_psi: 0.25', not a {type(record).__name__}.")
    try:
        return Thresholds(**{str(name): bound for name, bound in record.items()})
    except ValidationError as error:
        lines = "".join(f"\n  {_explain(each)}" for each in error.errors())
        raise ConfigError(f"--gates {uri} cannot be used, so nothing was computed:{lines}") from None


def _explain(error: Any) -> str:
    key = str(error["loc"][0])
    if error["type"] != "extra_forbidden":
        return f"{key}: {error['input']!r} is wrong: {error['msg'][0].lower()}{error['msg'][1:]}"
    if gone := gone_message(key):
        return f"{key}: {gone}"
    close = difflib.get_close_matches(key, Thresholds.model_fields, n=1, cutoff=0.0)
    return f"there is no threshold {key!r}; the nearest is {close[0]!r}"
