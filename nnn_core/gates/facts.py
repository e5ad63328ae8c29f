"""What the gates judge by: the facts of a version, and what is measured of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from nnn_core.embedded.profile import to_centroid
from nnn_core.encoders.fingerprints import differing
from nnn_core.evaluation.choice import FEWEST_ANSWERS, LIKELY
from nnn_core.gates.row_statistics import RowStatistics
from nnn_core.table.manifest import Manifest

_HUB_DEVIATIONS = "deviations (scaled median absolute ones) beyond which a candidate is a hub"
_MIN_ROWS = "below so many rows on either side, what is compared by distribution is noise and skipped"

#: A number, or the reason why there is none.
Measured = float | str

_FIRST = "there is no previous version to compare with"
_NO_CENTROID = "the previous version has no mean vectors of this dimension"
_NO_LENGTHS = "neither side was given as vectors in both versions"
_NO_QUERIES = "no validation queries were given, or too few"
_NO_CANARIES = "no validation queries were given, or there is no version to compare with"


class _MeasureSettings(BaseModel):
    """What the file of thresholds says of the measures, beside the limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hub_deviations: float = Field(6, strict=True, gt=0, allow_inf_nan=False, description=_HUB_DEVIATIONS)
    min_rows: int = Field(500, strict=True, ge=1, description=_MIN_ROWS)


@dataclass(frozen=True)
class Facts:
    """What is known of a version before it is published, and the measure of each gate as the method of its name.

    The first line of a method's docstring goes to the file of thresholds.

    Attributes:
        manifest: manifest of the version in the making.
        previous: manifest of the current version; None for a first one.
        rows: statistics of the new rows, and of the previous version's.
        base: number of the version whose means got another k or alpha; None if the means were computed anew.
        bits: mean gain of the bias in halvings of right answers' ranks, on queries that did not choose it, and its
            standard error; None without queries.
        bank_agreement: of the bank and the validation queries, see ``evaluation.agreement``; None if unknown.
        queries: number of validation queries, with an answer or without.
        shared_queries: number of validation queries that are in the bank too, by id or by content.
        alpha_chosen: whether k and alpha were chosen on validation queries, so that any values are meant.
        top_overlap: mean overlap of the queries' top 10 with the previous version's, 0 to 1; None if unknown.
    """

    manifest: Manifest
    previous: Manifest | None
    rows: RowStatistics
    base: int | None = None
    bits: tuple[float, float] | None = None
    bank_agreement: float | None = None
    queries: int = 0
    shared_queries: int = 0
    alpha_chosen: bool = False
    top_overlap: float | None = None

    def max_abs_bias(self, _: _MeasureSettings) -> Measured:
        """Largest bias without its sign; unit vectors have similarities up to 1, so alpha is a natural bound."""
        return max(max(abs(part.bias_min), abs(part.bias_max)) for part in self.manifest.files)

    def spread(self, _: _MeasureSettings) -> Measured:
        """Highest less lowest mean; a constant column shifts every score alike and corrects nothing."""
        return self.rows.high - self.rows.low if self.rows.means.rows > 1 else "there is only one candidate"

    def bank_repeats(self, _: _MeasureSettings) -> Measured:
        """Share of candidates whose nearest references are all equally near: a constant bank, or one of copies."""
        if self.manifest.settings.grid[-1] == 1:
            return "only one neighbour per candidate is kept"
        return self.rows.flat / max(1, self.rows.means.rows)

    def near_copies(self, _: _MeasureSettings) -> Measured:
        """Share of candidates with a reference of similarity above 0.999.

        No caption is that near to an image: the bank holds the candidates, or both sides are one modality. Images among
        images, and texts among texts, meet themselves where the bank was drawn from the index.
        """
        return self.rows.near_copies / max(1, self.rows.means.rows)

    def bank_shrinkage(self, _: _MeasureSettings) -> Measured:
        """Reference queries in the bank, relative to the previous version's."""
        if self.previous is None:
            return _FIRST
        return self.manifest.references.rows / max(1, self.previous.references.rows)

    def lost_candidates(self, _: _MeasureSettings) -> Measured:
        """Share of the previous version's ids that are gone: truncated or stale shards of candidates."""
        return self._unread() or 1.0 - self.rows.moved.rows / self.rows.before.rows

    def candidate_rejects(self, _: _MeasureSettings) -> Measured:
        """Rise of the share of rejected candidates; of a first version only --max-reject-rate judges."""
        if self.previous is None:
            return _FIRST
        sides = (self.manifest.candidates, self.previous.candidates)
        now, before = (side.rejected / max(1, side.rows + side.rejected) for side in sides)
        return now - before

    def repeated_files(self, _: _MeasureSettings) -> Measured:
        """Input files of one side with the bytes of another one: a shard that was copied."""
        inputs = (self.manifest.candidates.inputs, self.manifest.references.inputs)
        return sum(len(files) - len(set(files)) for files in inputs)

    def settings(self, _: _MeasureSettings) -> Measured:
        """How many changed of dimension, modalities, --exclude-own-pairs and parts of the encoder's fingerprint."""
        return _FIRST if self.previous is None else len(self.changed_settings)

    @property
    def changed_settings(self) -> list[str]:
        """Names of what ``settings`` counts; none for a first version."""
        if self.previous is None:
            return []
        now, before = ({"dim": each.dim, **vars(each.settings)} for each in (self.manifest, self.previous))
        names = ("candidate_modality", "dim", "exclude_own_pairs", "reference_modality")
        parts = differing(now["encoder"], before["encoder"])
        return [name for name in names if now[name] != before[name]] + [f"encoder {part}" for part in parts]

    def alpha(self, _: _MeasureSettings) -> Measured:
        """Factor between this alpha and the previous, unless it was tuned; 1e9 if only one of them is 0."""
        if self.alpha_chosen:
            return "alpha was chosen on validation queries"
        if self.previous is None:
            return _FIRST
        low, high = sorted((self.manifest.settings.alpha, self.previous.settings.alpha))
        if low == high:
            return 1.0
        return min(1e9, high / low) if low > 0 else 1e9

    def candidate_centroid(self, settings: _MeasureSettings) -> Measured:
        """Distance that the candidates' mean vector moved, 0 to 2, see reference_centroid."""
        return self._few(settings, "candidates") or self._shift("candidates")

    def reference_centroid(self, settings: _MeasureSettings) -> Measured:
        """Distance that the bank's mean vector moved, 0 to 2.

        With n rows of total variance v, sampling alone moves a mean by sqrt(v / n), 0.01 for 10,000 rows. Two
        modalities of one model are 0.5 to 1 apart (Liang et al., "Mind the gap", NeurIPS 2022), so where the sides
        were swapped both mean vectors move far.
        """
        return self._few(settings, "references") or self._shift("references")

    def vector_lengths(self, _: _MeasureSettings) -> Measured:
        """Rise of the share of vectors read with a length other than 1 (within 0.01), of the side where it rose most.

        The table is for unit vectors. Where vectors came normalised and no longer do, a step upstream was lost, and
        an index that holds them as they are would not rank by what these biases correct.
        """
        if self.previous is None:
            return _FIRST
        now, before = self.manifest, self.previous
        rises = [
            after.off_length / max(1, after.rows) - earlier.off_length / max(1, earlier.rows)
            for after, earlier in ((now.candidates, before.candidates), (now.references, before.references))
            if after.off_length is not None and earlier.off_length is not None
        ]
        return max(rises) if rises else _NO_LENGTHS

    def drift_psi(self, settings: _MeasureSettings) -> Measured:
        """Population stability index of the means of both versions, less the common shift; alpha cancels out."""
        unshifted = self.rows.means.shifted(-self.rows.shift)
        return self._drift(settings) or self.rows.before.stability(unshifted)

    def moved_rows(self, settings: _MeasureSettings) -> Measured:
        """Share of common ids whose mean moved, beside the common shift, by a robust deviation of the previous means.

        Between two unrelated draws of a normal distribution it is 0.48: ids that were shuffled leave the
        distribution as it was, and are seen only here and in canary queries.
        """
        reason = self._drift(settings) or ("" if self.rows.moved.rows else "the two versions have no id in common")
        shift, far = self.rows.shift, self.rows.before.deviation
        return reason or self.rows.moved.share_outside(shift - far, shift + far)

    def hubs(self, settings: _MeasureSettings) -> Measured:
        """Share of candidates beyond the median by hub_deviations."""
        few = _too_few(self.manifest.candidates.rows, "candidates", settings)
        return few or self.rows.means.outlier_share(settings.hub_deviations)

    def canary_overlap(self, _: _MeasureSettings) -> Measured:
        """Mean overlap of the canary queries' top 10 with the previous version's, unless another k or alpha was tuned.

        Another alpha moves rankings, and is meant to where it was chosen on validation queries.
        """
        if self.previous is not None and self.alpha_chosen:
            now, before = self.manifest.settings, self.previous.settings
            if (now.k, now.alpha) != (before.k, before.alpha):
                return "another k or alpha was chosen on validation queries"
        return _NO_CANARIES if self.top_overlap is None else self.top_overlap

    def gain(self, _: _MeasureSettings) -> Measured:
        """Upper end of the one-sided 80 % interval of the gain on held-out queries: below 0 harm is likely.

        In halvings of the right answers' ranks, which tell harm from luck by far fewer queries than a recall does.
        """
        return _NO_QUERIES if self.bits is None else self.bits[0] + LIKELY * self.bits[1]

    def agreement(self, _: _MeasureSettings) -> Measured:
        """Correlation of candidates' similarity to the bank with that to the validation queries.

        A bank of another domain corrects hubs that the queries do not see.
        """
        if self.manifest.settings.alpha == 0:
            return "alpha is 0, so there is no correction"
        if self.bank_agreement is None or self.queries < FEWEST_ANSWERS:
            return _NO_QUERIES
        return self.bank_agreement

    def _unread(self) -> str:
        """Why the previous version's rows are unknown; empty if they are known."""
        if self.previous is None:
            return _FIRST
        return "" if self.rows.before.rows else "the previous version's files cannot be read"

    def _drift(self, settings: _MeasureSettings) -> str:
        """Why the biases of both versions cannot be compared; empty if they can."""
        return self._unread() or self._few(settings, "candidates") or self._few(settings, "references")

    def _few(self, settings: _MeasureSettings, side: str) -> str:
        """Why the distribution of a side cannot be compared; empty if it can."""
        if self.previous is None:
            return _FIRST
        return _too_few(min(getattr(each, side).rows for each in (self.manifest, self.previous)), side, settings)

    def _shift(self, side: str) -> Measured:
        now, before = (to_centroid(getattr(each, side).centroid) for each in (self.manifest, self.previous))
        if now is None or before is None or now.shape != before.shape:
            return _NO_CENTROID
        return float(np.linalg.norm(now - before))


def _too_few(rows: int, side: str, settings: _MeasureSettings) -> str:
    return f"{rows:,} {side} are fewer than min_rows = {settings.min_rows:,}" if rows < settings.min_rows else ""
