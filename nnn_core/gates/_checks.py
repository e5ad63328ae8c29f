"""The gates themselves: plain functions on numbers and arrays.

Each docstring defines the measure. ``limit`` is the threshold of the same name, see ``thresholds``; a
measure that needs a previous version, or input that is not there, is skipped with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nnn_core.encoders.fingerprints import differing
from nnn_core.evaluation.intervals import Interval
from nnn_core.gates.histogram import Histogram, outlier_share, population_stability, quantile_shift
from nnn_core.table.gate import Gate, at_least, at_most

Vector = npt.NDArray[np.float64]
Limit = float | None

FIRST = "there is no previous version to compare with"

#: Distance of two mean vectors from which the modalities can be told apart by them.
_GAP = 0.2

#: Share of hubs below which its growth is noise.
_FEW_HUBS = 1e-3


def coverage(rows: int, candidates: int, limit: Limit) -> Gate:
    """|rows of the table - candidates|. (An id that occurs twice never gets here: it is an error of its own.)"""
    return at_most("coverage", abs(rows - candidates), limit, "the number of candidates without exactly one row")


def finite(not_finite: int, limit: Limit) -> Gate:
    """Rows of which a mean is NaN or infinite."""
    return at_most("finite", not_finite, limit, "the number of rows with a mean that is no number")


def max_abs_bias(low: float, high: float, limit: Limit) -> Gate:
    """max(|lowest bias|, |highest bias|). Unit vectors have similarities up to 1, so alpha is a natural bound."""
    return at_most("max_abs_bias", max(abs(low), abs(high)), limit, "the largest bias, without its sign,")


def spread(low: float, high: float, rows: int, limit: Limit) -> Gate:
    """Highest less lowest mean: a constant column shifts every score alike and corrects nothing."""
    value = high - low if rows > 1 else None
    return at_least("spread", value, limit, "the highest less the lowest mean", "there is only one candidate")


def bank_repeats(flat: int, rows: int, k: int, limit: Limit) -> Gate:
    """Share of candidates whose mean of 1 equals that of k neighbours: a constant bank, or one of copies."""
    value = flat / max(1, rows) if k > 1 else None
    what = f"the share of candidates whose {k} nearest references are all equally near"
    return at_most("bank_repeats", value, limit, what, "only one neighbour is kept for each candidate")


def near_copies(copies: int, rows: int, limit: Limit) -> Gate:
    """Share of candidates with a reference of similarity above 0.999.

    No caption is that near to an image: the bank holds the candidates, or both sides are one modality. Images among
    images, and texts among texts, meet themselves where the bank was drawn from the index.
    """
    return at_most("near_copies", copies / max(1, rows), limit, "the share of candidates that the bank holds a copy of")


def min_bank_rows(rows: int, limit: Limit) -> Gate:
    """Reference queries in the bank."""
    return at_least("min_bank_rows", rows, limit, "the size of the bank")


def bank_shrinkage(rows: int, before: int | None, limit: Limit) -> Gate:
    """Size of the bank divided by that of the previous version."""
    return at_least("bank_shrinkage", _ratio(rows, before), limit, "the size of the bank, to the previous, ", FIRST)


def bank_growth(rows: int, before: int | None, limit: Limit) -> Gate:
    """Size of the bank divided by that of the previous version."""
    return at_most("bank_growth", _ratio(rows, before), limit, "the size of the bank, to the previous, ", FIRST)


def _ratio(rows: int, before: int | None) -> float | None:
    return rows / max(1, before) if before is not None else None


def lost_candidates(common: int, before: int | None, missing: str, limit: Limit) -> Gate:
    """Share of the ids of the previous version that this one lacks: truncated or stale shards of candidates."""
    value = 1.0 - common / before if before else None
    return at_most("lost_candidates", value, limit, "the share of the previous version's ids that are gone", missing)


def rejects(name: str, rows: int, rejected: int, before: tuple[int, int] | None, limit: Limit) -> Gate:
    """Rise of the share of rejected rows. Of a first version only --max-reject-rate judges.

    Args:
        name: of the gate.
        rows: used rows of one side.
        rejected: rejected rows.
        before: the two numbers of the previous version.
        limit: the threshold.
    """
    value = _share(rows, rejected) - _share(*before) if before is not None else None
    return at_most(name, value, limit, "the rise of the share of rejected rows", FIRST)


def _share(rows: int, rejected: int) -> float:
    return rejected / max(1, rows + rejected)


def repeated_files(inputs: Sequence[Sequence[str]], limit: Limit) -> Gate:
    """Input files whose bytes another file of the same side has, by digest: a shard that was copied."""
    repeated = sum(sum(Counter(side).values()) - len(set(side)) for side in inputs)
    return at_most("repeated_files", repeated, limit, "the number of input files that repeat another one")


def mixed_origins(origins: int, limit: Limit) -> Gate:
    """1 if some vectors came ready-made and others from the encoder, which nobody can compare by fingerprint."""
    return at_most("mixed_origins", origins - 1, limit, "the number of further origins of vectors")


def encoder(after: Mapping[str, str], before: Mapping[str, str] | None, limit: Limit) -> Gate:
    """Parts of the encoder's fingerprint (weights, preprocessing, tokenizer, ...) that are not the previous ones."""
    changed = differing(after, before) if before is not None else None
    what = f"the number of parts of the encoder's fingerprint that changed ({', '.join(changed or ['none'])})"
    return at_most("encoder", len(changed) if changed is not None else None, limit, what, FIRST)


def settings(after: Mapping[str, object], before: Mapping[str, object] | None, limit: Limit) -> Gate:
    """How many of the settings changed that make another table: dimension, modalities, own pairs."""
    changed = _changed(after, before) if before is not None else None
    what = f"the number of settings that changed ({', '.join(changed or ['none'])})"
    return at_most("settings", len(changed) if changed is not None else None, limit, what, FIRST)


def _changed(after: Mapping[str, object], before: Mapping[str, object]) -> list[str]:
    return sorted(name for name in after.keys() | before.keys() if after.get(name) != before.get(name))


def alpha(after: float, before: float | None, chosen: bool, limit: Limit) -> Gate:
    """Factor between two alphas, the larger over the smaller; infinite (1e9) where only one of them is 0."""
    if limit is not None and chosen:
        return Gate("alpha", None, limit, "skipped", "alpha was chosen on validation queries")
    value = None if before is None else _factor(after, before)
    return at_most("alpha", value, limit, f"the factor between alpha {after:g} and the previous", FIRST)


def _factor(one: float, other: float) -> float:
    low, high = sorted((one, other))
    if low == high:
        return 1.0
    return min(1e9, high / low) if low > 0 else 1e9


def centroid_shift(name: str, after: Vector | None, before: Vector | None, missing: str, limit: Limit) -> Gate:
    """Euclidean distance of a side's mean vector from the previous one, of unit vectors: 0 to 2.

    With n rows of total variance v, sampling alone moves a mean by sqrt(v / n), 0.01 for 10,000 rows. Two
    modalities of one model are 0.5 to 1 apart (Liang et al., "Mind the gap", NeurIPS 2022).
    """
    value = _distance(after, before)
    return at_most(name, value, limit, "the distance that the mean vector moved", missing)


def _distance(one: Vector | None, other: Vector | None) -> float | None:
    if one is None or other is None or one.shape != other.shape:
        return None
    return float(np.linalg.norm(one - other))


def modalities(
    after: tuple[Vector | None, Vector | None],
    before: tuple[Vector | None, Vector | None],
    missing: str,
    limit: Limit,
) -> Gate:
    """Distance of a side's mean vector from its own previous one over that from the other side's; the larger of both.

    Above 1 a side looks more like what the other side was: candidates and references were swapped, or both
    are of one modality. Skipped where the previous mean vectors are too near to tell the sides apart.

    Args:
        after: mean vectors of candidates and references.
        before: those of the previous version.
        missing: why there may be none.
        limit: the threshold.
    """
    gap = _distance(*before)
    if gap is not None and gap < _GAP:
        missing = f"the two sides' mean vectors were only {gap:.3g} apart, so they cannot be told from each other"
    ratios = [_nearer(after[side], before[side], before[1 - side]) for side in (0, 1)]
    known = [ratio for ratio in ratios if ratio is not None]
    value = max(known) if len(known) == 2 and gap is not None and gap >= _GAP else None
    what = "a side's distance from its own previous mean vector, over that from the other side's,"
    return at_most("modalities", value, limit, what, missing)


def _nearer(after: Vector | None, own: Vector | None, other: Vector | None) -> float | None:
    near, far = _distance(after, own), _distance(after, other)
    return None if near is None or far is None else near / max(far, 1e-9)


def mean_similarity(
    after: tuple[Vector | None, Vector | None],
    before: tuple[Vector | None, Vector | None],
    missing: str,
    limit: Limit,
) -> Gate:
    """Change of the mean similarity of all pairs, which is the inner product of the two mean vectors."""
    now, then = _inner(*after), _inner(*before)
    value = abs(now - then) if now is not None and then is not None else None
    return at_most("mean_similarity", value, limit, "the change of the mean similarity of the two sides", missing)


def _inner(one: Vector | None, other: Vector | None) -> float | None:
    return None if one is None or other is None or one.shape != other.shape else float(one @ other)


def vector_lengths(after: Sequence[float | None], before: Sequence[float | None] | None, limit: Limit) -> Gate:
    """Rise of the share of ready-made vectors whose length was not 1 (within 0.01), of the side where it rose most.

    The table is for unit vectors. Where vectors came normalised and no longer do, a step upstream was lost, and
    an index that holds them as they are would not rank by what these biases correct.

    Args:
        after: share of candidates and of references; None where vectors were computed here.
        before: those of the previous version.
        limit: the threshold.
    """
    if before is None:
        return at_most("vector_lengths", None, limit, "", FIRST)
    rises = [a - b for a, b in zip(after, before, strict=True) if a is not None and b is not None]
    what = "the rise of the share of vectors with a length other than 1"
    missing = "no side of both versions came as ready-made vectors of known length"
    return at_most("vector_lengths", max(rises) if rises else None, limit, what, missing)


def drift_psi(after: Histogram, before: Histogram, missing: str, limit: Limit) -> Gate:
    """Population stability index of the means, see ``histogram.population_stability``. Alpha cancels out."""
    value = None if missing else population_stability(before, after)
    return at_most("drift_psi", value, limit, "the population stability index of the biases", missing)


def drift_quantiles(after: Histogram, before: Histogram, missing: str, limit: Limit) -> Gate:
    """Largest move of a quantile of the means, see ``histogram.quantile_shift``. Alpha cancels out."""
    value = None if missing else quantile_shift(before, after)
    return at_most("drift_quantiles", value, limit, "the largest move of a quantile, in deviations,", missing)


def moved_rows(moved: Histogram, before: Histogram, missing: str, limit: Limit) -> Gate:
    """Share of common ids whose mean moved by more than one robust deviation of the previous means.

    Between two unrelated draws of a normal distribution it is 0.48: ids that were shuffled leave the
    distribution as it was, and are seen only here and in canary queries.
    """
    if not missing and not moved.rows:
        missing = "no id is in both versions"
    value = None if missing else moved.share_above(before.deviation)
    return at_most("moved_rows", value, limit, "the share of common ids whose bias moved by a deviation", missing)


def hubs(means: Histogram, missing: str, deviations: float, limit: Limit) -> Gate:
    """Share of candidates above median + deviations * MAD, see ``histogram.outlier_share``."""
    value = None if missing else outlier_share(means, deviations)
    return at_most("hubs", value, limit, f"the share of candidates {deviations:g} deviations above the median", missing)


def hub_growth(after: Histogram, before: Histogram, missing: str, deviations: float, limit: Limit) -> Gate:
    """Factor by which the share of hubs rose; shares below 0.001 count as that."""
    shares = [max(_FEW_HUBS, outlier_share(means, deviations)) for means in (after, before)]
    value = None if missing else shares[0] / shares[1]
    return at_most("hub_growth", value, limit, "the factor by which the share of hubs rose", missing)


def canary_overlap(overlap: float | None, limit: Limit) -> Gate:
    """Mean over canary queries of |top 10 now and before| / 10, both ranked by debiased scores."""
    what = "the mean overlap of the canary queries' top 10 with the previous version's"
    return at_least(
        "canary_overlap", overlap, limit, what, "no validation queries were given, or nothing to compare with"
    )


def gain(interval: Interval | None, limit: Limit) -> Gate:
    """Upper end of the 95 % interval of the gain on held-out queries: below the bound harm is certain.

    The estimate itself would fail one good table in two on small sets, whose noise is several points.
    """
    high = None if interval is None else interval.high
    return at_least("gain", high, limit, "the upper end of the gain's interval", "no validation queries were given")


def validation_overlap(shared: int | None, limit: Limit) -> Gate:
    """Validation queries that are in the bank, by id or by content: their gain would be no evidence."""
    what = "the number of validation queries in the bank"
    return at_most("validation_overlap", shared, limit, what, "no validation queries were given")
