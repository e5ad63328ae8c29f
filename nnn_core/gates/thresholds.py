"""Thresholds of the gates: documented defaults, and one YAML file that changes some of them."""

from __future__ import annotations

import contextlib
import difflib
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from nnn_core import storage
from nnn_core.errors import ConfigError


def _number(value: Any) -> Any:
    """YAML 1.1 takes 1e-3, without a point, for a text."""
    with contextlib.suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


_Number = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_number)]

#: A bound that is a number, or null to switch the gate off. YAML's texts and booleans are no numbers.
Signed = _Number | None
Bound = Annotated[_Number, Field(ge=0)] | None


def _bound(default: float, description: str) -> Any:
    return Field(default=default, description=description)


class Thresholds(BaseModel):
    """A bound for each gate, under the gate's name; null switches it off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    coverage: Bound = _bound(0, "candidates without a row, or rows too many")
    finite: Bound = _bound(0, "rows with a mean that is no number")
    max_abs_bias: Bound = _bound(2, "largest bias, without its sign; similarities are at most 1")
    spread: Bound = _bound(1e-6, "at least: highest less lowest mean; a constant column changes no ranking")
    bank_repeats: Bound = _bound(0.5, "share of candidates whose nearest references are all equally near")
    near_copies: Bound = _bound(0.01, "share of candidates with a reference of similarity above 0.999")
    min_bank_rows: Bound = _bound(1, "at least: reference queries in the bank")
    bank_shrinkage: Bound = _bound(0.75, "at least: size of the bank, relative to the previous version's")
    bank_growth: Bound = _bound(4, "size of the bank, relative to the previous version's")
    lost_candidates: Bound = _bound(0.05, "share of the previous version's ids that are gone")
    candidate_rejects: Bound = _bound(0.01, "rise of the share of rejected candidates")
    reference_rejects: Bound = _bound(0.01, "rise of the share of rejected references")
    repeated_files: Bound = _bound(0, "input files of one side with the bytes of another one")
    mixed_origins: Bound = _bound(1, "1 if some vectors came ready-made and others from the encoder; 0 forbids it")
    encoder: Bound = _bound(0, "parts of the encoder's fingerprint that changed")
    settings: Bound = _bound(0, "of dimension, the two modalities and --exclude-own-pairs, how many changed")
    alpha: Bound = _bound(2, "factor by which alpha rose or fell, unless it was tuned")
    candidate_centroid: Bound = _bound(0.1, "distance that the candidates' mean vector moved")
    reference_centroid: Bound = _bound(0.1, "distance that the bank's mean vector moved")
    modalities: Bound = _bound(1, "how much nearer a side is to the other's previous mean vector than to its own")
    mean_similarity: Bound = _bound(0.03, "change of the mean similarity of all candidates and references")
    vector_lengths: Bound = _bound(0.01, "rise of the share of vectors read with a length other than 1")
    drift_psi: Bound = _bound(0.25, "population stability index of the biases")
    drift_quantiles: Bound = _bound(0.5, "largest move of a quantile of the biases, in their robust deviations")
    moved_rows: Bound = _bound(0.2, "share of common ids whose bias moved by more than one robust deviation")
    hubs: Bound = _bound(0.05, "share of candidates beyond the median by hub_deviations")
    hub_growth: Bound = _bound(3, "factor by which that share rose, above 0.001")
    canary_overlap: Bound = _bound(0.7, "at least: mean overlap of the canary queries' top 10 with the previous")
    gain: Signed = _bound(0, "at least: upper end of the gain's 95 % interval, so below it harm is certain")
    validation_overlap: Bound = _bound(0, "validation queries that are in the bank")

    hub_deviations: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] = Field(
        default=6, description="deviations (scaled median absolute ones) beyond which a candidate is a hub"
    )
    min_rows: Annotated[int, Field(strict=True, ge=1)] = Field(
        default=500,
        description="below so many rows on either side, what is compared by distribution is noise and skipped",
    )


#: Names of the gates: of all thresholds that are not settings of a measure.
GATES = tuple(name for name in Thresholds.model_fields if name not in ("hub_deviations", "min_rows"))


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
        return Thresholds.model_validate(record)
    except ValidationError as error:
        lines = "".join(f"\n  {_explain(each)}" for each in error.errors())
        raise ConfigError(f"--gates {uri} cannot be used, so nothing was computed:{lines}") from None


def _explain(error: Any) -> str:
    key = str(error["loc"][0])
    if error["type"] not in ("extra_forbidden", "invalid_key"):
        return f"{key}: {error['input']!r} is wrong: {error['msg'][0].lower()}{error['msg'][1:]}"
    close = difflib.get_close_matches(key, Thresholds.model_fields, n=1, cutoff=0.0)
    return f"there is no threshold {key!r}; the nearest is {close[0]!r}"


def to_yaml(thresholds: Thresholds) -> str:
    """The thresholds as a file with a comment to each."""
    lines = []
    for name, field in Thresholds.model_fields.items():
        value = getattr(thresholds, name)
        lines.append(f"{name}: {'null' if value is None else format(value, 'g')}  # {field.description}\n")
    return "".join(lines)
