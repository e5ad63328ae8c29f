"""The table of gates: all that the program knows of each, in one place.

Thresholds, the file of their defaults, verdicts, refusals and the report's figures are made from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nnn_core.evaluation.choice import RELATED
from nnn_core.gates.facts import Facts, Measured, _MeasureSettings


@dataclass(frozen=True)
class _Rule:
    """One gate.

    Attributes:
        name: word for the gate in the file of thresholds, in manifests and for ``--accept``.
        limit: default bound of the measure.
        direction: on which side of the bound a version passes.
        measure: facts to a number, or to the reason why there is none.
        finding: what was measured, a sentence with ``{value}`` and the words that ``judge`` fills in.
        remedy: what to do about a failure, for people.
        unit: what kind of number the value is.
        figure: what the report calls the value where it says how far the biases moved; empty to leave it out.
        of_input: whether it judges what came in, which another k or alpha does not change.
        signed: whether the bound may be negative.
    """

    name: str
    limit: float
    direction: Literal["at most", "at least"]
    measure: Callable[[Facts, _MeasureSettings], Measured]
    finding: str
    remedy: str
    unit: Literal["number", "share", "count"] = "number"
    figure: str = ""
    of_input: bool = False
    signed: bool = False

    def shown(self, value: float, digits: int = 4) -> str:
        """A value or a bound, for people."""
        if not math.isfinite(value):
            return "not a number"
        if self.unit == "count":
            return f"{value:,.0f}"
        return f"{100 * value:.{digits}g} %" if self.unit == "share" else f"{value:.{digits}g}"


_OTHER_BANK = "Check that --references is the bank that was meant, encoded by the model of the candidates."
_OTHER_CANDIDATES = "Check that --candidates are the whole current corpus, in the encoding of the previous version."
_SWAPPED = " Check that the two sides are not swapped, nor of one modality."
_OTHER_ROWS = "Check ids, encoder and bank: look at some of the changed rows in both versions."

# A table, so it is laid out as one.
# fmt: off
RULES = (
    _Rule("max_abs_bias", 2, "at most", Facts.max_abs_bias, "the largest bias is {value}, without its sign",
         "Check --alpha."),
    _Rule("spread", 1e-6, "at least", Facts.spread, "the highest and the lowest mean differ by {value}",
         "Check that the vectors differ, and that the bank is not one query again and again."),
    _Rule("bank_repeats", 0.5, "at most", Facts.bank_repeats,
         "{value} of the candidates have {k} nearest references that are all equally near",
         "Check that the bank is not one query again and again, or a few.", unit="share", of_input=True),
    _Rule("near_copies", 0.01, "at most", Facts.near_copies, "the bank holds a copy of {value} of the candidates",
         "Check that --references holds queries, not the candidates themselves; where both are of one modality, "
         "--exclude-own-pairs leaves each candidate's own references out, by pair id or else by id.", unit="share",
         of_input=True),
    _Rule("bank_shrinkage", 0.75, "at least", Facts.bank_shrinkage, "the bank is {value} times the previous size",
         "Check that no file of --references is missing or cut."),
    _Rule("lost_candidates", 0.05, "at most", Facts.lost_candidates,
         "{value} of the previous version's ids are gone", _OTHER_CANDIDATES, unit="share"),
    _Rule("candidate_rejects", 0.01, "at most", Facts.candidate_rejects, "the share of rejected rows rose by {value}",
         "Look at the list of rejects and repair the input.", unit="share"),
    _Rule("repeated_files", 0, "at most", Facts.repeated_files, "{value} input files repeat another one",
         "Remove the copies.", unit="count", of_input=True),
    _Rule("settings", 0, "at most", Facts.settings, "{value} settings changed ({changed})",
         "Use the previous settings and encoder, or start another table.", unit="count"),
    _Rule("alpha", 2, "at most", Facts.alpha, "alpha {alpha:g} and the previous differ by a factor of {value}",
         "Check --alpha."),
    _Rule("candidate_centroid", 0.1, "at most", Facts.candidate_centroid,
         "the mean vector of the candidates moved by {value}", _OTHER_CANDIDATES + _SWAPPED),
    _Rule("reference_centroid", 0.1, "at most", Facts.reference_centroid,
         "the mean vector of the bank moved by {value}", _OTHER_BANK + _SWAPPED),
    _Rule("vector_lengths", 0.01, "at most", Facts.vector_lengths,
         "the share of vectors that are not unit length rose by {value}",
         "Normalise the vectors where they are made, as they were before.", unit="share"),
    _Rule("drift_psi", 0.25, "at most", Facts.drift_psi,
         "the population stability index of the means is {value}, without their common shift of {shift:+.4g}",
         _OTHER_ROWS, figure="population stability index"),
    _Rule("moved_rows", 0.2, "at most", Facts.moved_rows,
         "the means of {value} of the common ids moved by a deviation, without their common shift of {shift:+.4g}",
         _OTHER_ROWS, unit="share", figure="share of rows that moved by a deviation"),
    _Rule("hubs", 0.05, "at most", Facts.hubs,
         "{value} of the candidates are {deviations:g} deviations above the median",
         "Look at the rows with the highest biases: broken or blank items are near everything.", unit="share"),
    _Rule("canary_overlap", 0.7, "at least", Facts.canary_overlap,
         "the canary queries' top 10 and the previous version's have {value} in common", _OTHER_ROWS, unit="share",
         figure="overlap of the queries' top 10"),
    _Rule("gain", 0, "at least", Facts.gain,
         "right answers gain at most {value} halvings of their rank (one-sided 80 % interval{shared})",
         "Choose k and alpha by validation queries with --tune, or publish with alpha 0.", signed=True),
    _Rule("agreement", RELATED, "at least", Facts.agreement,
         "the agreement of the bank and the validation queries is {value}",
         "Use queries like those of your users as --references and as --validation, or publish with alpha 0.",
         signed=True),
)
# fmt: on

_CHECKED = "a check that no table can skip"

#: What covers a gate of an earlier release.
_GONE = {
    "coverage": _CHECKED,
    "finite": _CHECKED,
    "min_bank_rows": "bank_shrinkage",
    "bank_growth": "moved_rows",
    "reference_rejects": "bank_shrinkage",
    "mixed_origins": "settings",
    "encoder": "settings",
    "modalities": "candidate_centroid, with reference_centroid",
    "mean_similarity": "candidate_centroid, with reference_centroid",
    "drift_quantiles": "drift_psi",
    "hub_growth": "hubs",
    "validation_overlap": "the check that --allow-overlap lifts",
}

#: What is said of each gate of an earlier release, a clause.
GONE = {name: f"this gate is gone, {what} covers it" for name, what in _GONE.items()}
