"""The table of gates: all that the program knows of each, in one place.

Thresholds, the file of their defaults, verdicts, refusals and the report's figures are made from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nnn_core.evaluation.choice import RELATED
from nnn_core.gates.facts import Facts, Measured, MeasureSettings


@dataclass(frozen=True)
class Rule:
    """One gate.

    Attributes:
        name: word for the gate in the file of thresholds, in manifests and for ``--accept``.
        limit: default bound of the measure.
        direction: on which side of the bound a version passes.
        measure: facts to a number, or to the reason why there is none.
        subject: what is measured, the subject of the verdict's sentence; may hold the words that ``judge`` fills in.
        remedy: what to do about a failure, for people.
        figure: what the report calls the value where it says how far the biases moved; empty to leave it out.
        of_input: whether it judges what came in, which another k or alpha does not change.
        signed: whether the bound may be negative.
    """

    name: str
    limit: float
    direction: Literal["at most", "at least"]
    measure: Callable[[Facts, MeasureSettings], Measured]
    subject: str
    remedy: str
    figure: str = ""
    of_input: bool = False
    signed: bool = False


_OTHER_BANK = "Check that --references is the bank that was meant, encoded by the model of the candidates."
_OTHER_CANDIDATES = "Check that --candidates are the whole current corpus, in the encoding of the previous version."
_SWAPPED = " Check that the two sides are not swapped, nor of one modality."
_OTHER_ROWS = "Check ids, encoder and bank: look at some of the changed rows in both versions."

# A table, so it is laid out as one.
# fmt: off
RULES = (
    Rule("max_abs_bias", 2, "at most", Facts.max_abs_bias, "the largest bias, without its sign,", "Check --alpha."),
    Rule("spread", 1e-6, "at least", Facts.spread, "the highest less the lowest mean",
         "Check that the vectors differ, and that the bank is not one query again and again."),
    Rule("bank_repeats", 0.5, "at most", Facts.bank_repeats,
         "the share of candidates whose {k} nearest references are all equally near",
         "Check that the bank is not one query again and again, or a few.", of_input=True),
    Rule("near_copies", 0.01, "at most", Facts.near_copies,
         "the share of candidates that the bank holds a copy of",
         "Check that --references holds queries, not the candidates themselves; where both are of one modality, "
         "--exclude-own-pairs leaves each candidate's own references out, by pair id or else by id.", of_input=True),
    Rule("bank_shrinkage", 0.75, "at least", Facts.bank_shrinkage, "the size of the bank, to the previous,",
         "Check that no file of --references is missing or cut."),
    Rule("lost_candidates", 0.05, "at most", Facts.lost_candidates,
         "the share of the previous version's ids that are gone", _OTHER_CANDIDATES),
    Rule("candidate_rejects", 0.01, "at most", Facts.candidate_rejects, "the rise of the share of rejected rows",
         "Look at the list of rejects and repair the input."),
    Rule("repeated_files", 0, "at most", Facts.repeated_files, "the number of input files that repeat another one",
         "Remove the copies.", of_input=True),
    Rule("settings", 0, "at most", Facts.settings, "the number of settings that changed ({changed})",
         "Use the previous settings and encoder, or start another table."),
    Rule("alpha", 2, "at most", Facts.alpha, "the factor between alpha {alpha:g} and the previous", "Check --alpha."),
    Rule("candidate_centroid", 0.1, "at most", Facts.candidate_centroid, "the distance that the mean vector moved",
         _OTHER_CANDIDATES + _SWAPPED),
    Rule("reference_centroid", 0.1, "at most", Facts.reference_centroid, "the distance that the mean vector moved",
         _OTHER_BANK + _SWAPPED),
    Rule("vector_lengths", 0.01, "at most", Facts.vector_lengths,
         "the rise of the share of vectors with a length other than 1",
         "Normalise the vectors where they are made, as they were before."),
    Rule("drift_psi", 0.25, "at most", Facts.drift_psi,
         "the population stability index of the means, less their common shift of {shift:+.4g},", _OTHER_ROWS,
         figure="population stability index"),
    Rule("moved_rows", 0.2, "at most", Facts.moved_rows,
         "the share of common ids whose mean moved by a deviation, less the common shift of {shift:+.4g},", _OTHER_ROWS,
         figure="share of rows that moved by a deviation"),
    Rule("hubs", 0.05, "at most", Facts.hubs, "the share of candidates {deviations:g} deviations above the median",
         "Look at the rows with the highest biases: broken or blank items are near everything."),
    Rule("canary_overlap", 0.7, "at least", Facts.canary_overlap,
         "the mean overlap of the canary queries' top 10 with the previous version's", _OTHER_ROWS,
         figure="overlap of the queries' top 10"),
    Rule("gain", 0, "at least", Facts.gain,
         "the upper end of the one-sided 80 % interval of the gain, in halvings of right answers' ranks{shared},",
         "Choose k and alpha by validation queries with --tune, or publish with alpha 0.", signed=True),
    Rule("agreement", RELATED, "at least", Facts.agreement, "the agreement of the bank and the validation queries",
         "Check that --references are queries like those that the index gets, and --validation too; or publish with "
         "alpha 0.", signed=True),
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
