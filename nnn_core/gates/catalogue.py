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


_OTHER_BANK = "Check that --references names the right bank, and that it was encoded by the candidates' model."
_OTHER_CANDIDATES = (
    "Check that --candidates names the whole current corpus, and that the encoder is that of the previous version."
)
_SWAPPED = " Check that the two sides are not swapped and not of the same modality."
_OTHER_ROWS = "Check ids, encoder and bank. Compare some changed rows in both versions (nnn table diff)."

# A table, so it is laid out as one.
# fmt: off
RULES = (
    _Rule("max_abs_bias", 2, "at most", Facts.max_abs_bias, "the largest absolute bias is {value}",
         "Check --alpha."),
    _Rule("spread", 1e-6, "at least", Facts.spread, "the highest and lowest mean differ by {value}",
         "Check that the vectors differ, and that the bank does not repeat one query."),
    _Rule("bank_repeats", 0.5, "at most", Facts.bank_repeats,
         "for {value} of the candidates, the {k} nearest references all have the same score",
         "Check that the bank does not repeat one or a few queries.", unit="share", of_input=True),
    _Rule("near_copies", 0.01, "at most", Facts.near_copies, "{value} of the candidates have a near copy in the bank",
         "Check that --references holds queries, not the candidates themselves. If both sides are of one "
             "modality, use --exclude-own-pairs.", unit="share",
         of_input=True),
    _Rule("bank_shrinkage", 0.75, "at least", Facts.bank_shrinkage, "the bank is {value} times the previous size",
         "Check that no file of --references is missing or cut."),
    _Rule("lost_candidates", 0.05, "at most", Facts.lost_candidates,
         "{value} of the previous version's ids are missing", _OTHER_CANDIDATES, unit="share"),
    _Rule("candidate_rejects", 0.01, "at most", Facts.candidate_rejects,
         "the share of rejected candidates rose by {value}",
         "Read the list of rejects, and repair the input.", unit="share"),
    _Rule("repeated_files", 0, "at most", Facts.repeated_files, "{value} input files are copies of another one",
         "Remove the copies.", unit="count", of_input=True),
    _Rule("settings", 0, "at most", Facts.settings, "{value} settings changed ({changed})",
         "Use the previous settings and encoder, or start a new table.", unit="count"),
    _Rule("alpha", 2, "at most", Facts.alpha, "alpha {alpha:g} differs from the previous one by a factor of {value}",
         "Check --alpha."),
    _Rule("candidate_centroid", 0.1, "at most", Facts.candidate_centroid,
         "the mean vector of the candidates moved by {value}", _OTHER_CANDIDATES + _SWAPPED),
    _Rule("reference_centroid", 0.1, "at most", Facts.reference_centroid,
         "the mean vector of the bank moved by {value}", _OTHER_BANK + _SWAPPED),
    _Rule("vector_lengths", 0.01, "at most", Facts.vector_lengths,
         "the share of vectors that are not unit length rose by {value}",
         "Normalise the vectors where they are made, as before.", unit="share"),
    _Rule("drift_psi", 0.25, "at most", Facts.drift_psi,
         "the population stability index of the means is {value}, after their common shift of {shift:+.4g} is "
             "removed",
         _OTHER_ROWS, figure="population stability index"),
    _Rule("moved_rows", 0.2, "at most", Facts.moved_rows,
         "{value} of the common ids have a mean that moved by a deviation or more, after the common shift of "
             "{shift:+.4g} is removed",
         _OTHER_ROWS, unit="share", figure="share of rows whose mean moved by a deviation or more"),
    _Rule("hubs", 0.05, "at most", Facts.hubs,
         "{value} of the candidates have a mean more than {deviations:g} deviations above the median",
         "Look at the rows with the highest biases (nnn table hubs): broken or blank items are near every "
             "query.", unit="share"),
    _Rule("canary_overlap", 0.7, "at least", Facts.canary_overlap,
         "the canary queries keep {value} of their previous top 10", _OTHER_ROWS, unit="share",
         figure="overlap of the queries' top 10"),
    _Rule("gain", 0, "at least", Facts.gain,
         "the gain is at most {value} halvings of the right answer's rank (one-sided 80 % interval{shared})",
         "Let validation queries choose k and alpha (--tune), or publish with --alpha 0.", signed=True),
    _Rule("agreement", RELATED, "at least", Facts.agreement,
         "the bank and the validation queries have an agreement of {value}",
         "Use queries like those of your users as --references and --validation, or publish with --alpha 0.",
         signed=True),
)
# fmt: on

_CHECKED = "a check that always runs"

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
GONE = {name: f"this gate was removed; {what} covers it" for name, what in _GONE.items()}
