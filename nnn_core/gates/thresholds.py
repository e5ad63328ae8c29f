"""Thresholds of the gates: the defaults of the catalogue, and one YAML file that changes some of them."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

from pydantic import Field, ValidationError, create_model

from nnn_core.errors import ConfigError
from nnn_core.gates.catalogue import GONE, RULES, _Rule
from nnn_core.gates.facts import _MeasureSettings
from nnn_core.yaml_files import Number, read_mapping

# YAML's texts and booleans are no numbers.
_Number = Annotated[Number, Field(strict=True, allow_inf_nan=False)]


def _field(rule: _Rule) -> Any:
    bound = _Number if rule.signed else Annotated[_Number, Field(ge=0)]
    definition = (rule.measure.__doc__ or "").partition("\n")[0]
    return bound | None, Field(default=rule.limit, description=f"{rule.direction}: {definition.rstrip('.')}")


_Limits: Any = create_model("_Limits", __base__=_MeasureSettings, **{rule.name: _field(rule) for rule in RULES})


class Thresholds(_Limits):  # type: ignore[misc]  # its fields are those of the catalogue
    """A bound for each gate, under the gate's name; null switches it off. With what measures are set by."""

    @classmethod
    def read(cls, uri: str | None) -> Thresholds:
        """The thresholds that a YAML file changes, and the defaults of the rest; all defaults where none is named.

        Raises:
            ConfigError: no YAML, not a mapping, an unknown key or a value that is no bound.
            InputError: the file cannot be read.
        """
        try:
            return cls(**read_mapping(uri, "--gates", "drift_psi: 0.25") if uri else {})
        except ValidationError as error:
            lines = "".join(f"\n  {_explain(each)}" for each in error.errors())
            raise ConfigError(f"--gates {uri} cannot be used, so nothing was computed:{lines}") from None


def _explain(error: Any) -> str:
    key = str(error["loc"][0])
    if error["type"] != "extra_forbidden":
        return f"{key}: {error['input']!r} is wrong: {error['msg'][0].lower()}{error['msg'][1:]}"
    if key in GONE:
        return f"{key}: {GONE[key]}"
    close = difflib.get_close_matches(key, Thresholds.model_fields, n=1, cutoff=0.0)
    return f"there is no threshold {key!r}; the nearest is {close[0]!r}"
