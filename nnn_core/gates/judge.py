"""All gates on one version in the making, and the refusal to publish it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from nnn_core import storage
from nnn_core.digests import sha256
from nnn_core.embedded.profile import to_centroid
from nnn_core.embedded.side import Side
from nnn_core.errors import ConfigError, GateError
from nnn_core.evaluation.intervals import Interval
from nnn_core.gates import _checks as checks
from nnn_core.gates._checks import FIRST
from nnn_core.gates.comparison import RowStatistics
from nnn_core.gates.thresholds import GATES, Thresholds
from nnn_core.table.gate import Gate
from nnn_core.table.manifest import Manifest


@dataclass(frozen=True)
class Evidence:
    """What only queries can tell, as far as there are any.

    Attributes:
        gain: of the published point over no correction, on queries that did not choose it.
        canary_overlap: mean overlap of the canary queries' top 10 with the previous version's, 0 to 1.
        validation_overlap: validation queries that are in the bank, by id or by content.
        alpha_chosen: whether alpha was chosen on validation queries, so that any value is meant.
    """

    gain: Interval | None = None
    canary_overlap: float | None = None
    validation_overlap: int | None = None
    alpha_chosen: bool = False


@dataclass(frozen=True)
class Facts:
    """What the gates judge by.

    Attributes:
        manifest: of the version in the making.
        previous: the current version's; None for a first one.
        candidates: how many there are.
        rows: statistics of the new rows, and of the previous version's.
        origins: 1, or 2 if some vectors came ready-made and others from the encoder.
        evidence: from queries.
    """

    manifest: Manifest
    previous: Manifest | None
    candidates: int
    rows: RowStatistics
    origins: int = 1
    evidence: Evidence = field(default_factory=Evidence)


def judge(facts: Facts, thresholds: Thresholds, accepted: Sequence[str] = ()) -> tuple[Gate, ...]:
    """Every gate, in the order of the thresholds.

    Args:
        facts: what to judge by.
        thresholds: a bound for each gate.
        accepted: names of gates whose failure is overridden.
    """
    gates = {
        gate.name: gate
        for group in (_sound, _against_previous, _centroids, _drift, _queries)
        for gate in group(facts, thresholds)
    }
    return tuple(gates[name].accept() if name in accepted else gates[name] for name in GATES)


def _sound(facts: Facts, limits: Thresholds) -> Iterable[Gate]:
    manifest, rows = facts.manifest, facts.rows
    sides = (manifest.candidates, manifest.references)
    yield checks.coverage(manifest.rows, facts.candidates, limits.coverage)
    yield checks.finite(rows.not_finite, limits.finite)
    low, high = min(part.bias_min for part in manifest.files), max(part.bias_max for part in manifest.files)
    yield checks.max_abs_bias(low, high, limits.max_abs_bias)
    yield checks.spread(rows.low, rows.high, rows.rows, limits.spread)
    yield checks.bank_repeats(rows.flat, rows.rows, manifest.settings.grid[-1], limits.bank_repeats)
    yield checks.near_copies(rows.near_copies, rows.rows, limits.near_copies)
    yield checks.min_bank_rows(manifest.references.rows, limits.min_bank_rows)
    yield checks.repeated_files([side.inputs for side in sides], limits.repeated_files)
    yield checks.mixed_origins(facts.origins, limits.mixed_origins)
    few = _too_few(facts.manifest.candidates.rows, limits, "candidates")
    yield checks.hubs(rows.means, few, limits.hub_deviations, limits.hubs)


def _against_previous(facts: Facts, limits: Thresholds) -> Iterable[Gate]:
    manifest, before = facts.manifest, facts.previous
    bank = before.references.rows if before else None
    yield checks.bank_shrinkage(manifest.references.rows, bank, limits.bank_shrinkage)
    yield checks.bank_growth(manifest.references.rows, bank, limits.bank_growth)
    known = facts.rows.before.rows if before else None
    yield checks.lost_candidates(facts.rows.common, known, _unread(facts), limits.lost_candidates)
    for name, side, earlier, limit in (
        ("candidate_rejects", manifest.candidates, before and before.candidates, limits.candidate_rejects),
        ("reference_rejects", manifest.references, before and before.references, limits.reference_rejects),
    ):
        counts = (earlier.rows, earlier.rejected) if earlier else None
        yield checks.rejects(name, side.rows, side.rejected, counts, limit)
    yield checks.encoder(manifest.settings.encoder, before.settings.encoder if before else None, limits.encoder)
    yield checks.settings(_settings(manifest), _settings(before) if before else None, limits.settings)
    chosen, earlier_alpha = facts.evidence.alpha_chosen, before.settings.alpha if before else None
    yield checks.alpha(manifest.settings.alpha, earlier_alpha, chosen, limits.alpha)
    lengths = [_other_lengths(side) for side in (manifest.candidates, manifest.references)]
    earlier_lengths = [_other_lengths(side) for side in (before.candidates, before.references)] if before else None
    yield checks.vector_lengths(lengths, earlier_lengths, limits.vector_lengths)


def _settings(manifest: Manifest) -> dict[str, object]:
    names = ("candidate_modality", "reference_modality", "exclude_own_pairs")
    return {"dim": manifest.dim, **{name: getattr(manifest.settings, name) for name in names}}


def _other_lengths(side: Side) -> float | None:
    return None if side.off_length is None else side.off_length / max(1, side.rows)


def _centroids(facts: Facts, limits: Thresholds) -> Iterable[Gate]:
    # Where a side is too small its mean vector is noise, so it is as good as unknown.
    reasons = [_few(facts, limits, side) for side in ("candidates", "references")]
    before = _mean_vectors(facts.previous)
    now = _mean_vectors(facts.manifest)
    after = (None if reasons[0] else now[0], None if reasons[1] else now[1])
    unknown = "the previous version keeps no mean vectors, or of another dimension"
    bounds = {"candidate_centroid": limits.candidate_centroid, "reference_centroid": limits.reference_centroid}
    for at, (name, limit) in enumerate(bounds.items()):
        yield checks.centroid_shift(name, after[at], before[at], reasons[at] or unknown, limit)
    either = reasons[0] or reasons[1] or unknown
    yield checks.modalities(after, before, either, limits.modalities)
    yield checks.mean_similarity(after, before, either, limits.mean_similarity)


def _mean_vectors(manifest: Manifest | None) -> tuple[checks.Vector | None, checks.Vector | None]:
    if manifest is None:
        return None, None
    return to_centroid(manifest.candidates.centroid), to_centroid(manifest.references.centroid)


def _few(facts: Facts, limits: Thresholds, side: str) -> str:
    """Why the distribution of a side cannot be compared; empty if it can."""
    if facts.previous is None:
        return FIRST
    return _too_few(min(getattr(each, side).rows for each in (facts.manifest, facts.previous)), limits, side)


def _too_few(rows: int, limits: Thresholds, side: str) -> str:
    return f"{rows} {side} are fewer than min_rows {limits.min_rows}" if rows < limits.min_rows else ""


def _unread(facts: Facts) -> str:
    if facts.previous is None:
        return FIRST
    return "" if facts.rows.before.rows else "no file of the previous version can be read"


def _drift(facts: Facts, limits: Thresholds) -> Iterable[Gate]:
    after, before = facts.rows, facts.rows.before
    missing = _unread(facts) or _few(facts, limits, "candidates") or _few(facts, limits, "references")
    yield checks.drift_psi(after.means, before, missing, limits.drift_psi)
    yield checks.drift_quantiles(after.means, before, missing, limits.drift_quantiles)
    yield checks.moved_rows(after.moved, before, missing, limits.moved_rows)
    yield checks.hub_growth(after.means, before, missing, limits.hub_deviations, limits.hub_growth)


def _queries(facts: Facts, limits: Thresholds) -> Iterable[Gate]:
    evidence = facts.evidence
    yield checks.canary_overlap(evidence.canary_overlap, limits.canary_overlap)
    yield checks.gain(evidence.gain, limits.gain)
    yield checks.validation_overlap(evidence.validation_overlap, limits.validation_overlap)


def check_accepted(names: Sequence[str]) -> None:
    """Refuse to override what is no gate.

    Raises:
        ConfigError: naming the gates there are.
    """
    unknown = [name for name in names if name not in GATES]
    if unknown:
        raise ConfigError(f"--accept {unknown[0]}: there is no such gate; there are {', '.join(GATES)}.")


def require_pass(gates: Sequence[Gate], report: str) -> None:
    """Refuse to publish when a gate failed that nobody overrode.

    Args:
        gates: from ``judge``.
        report: where all of them are listed.

    Raises:
        GateError: naming each such gate with value, threshold and remedy.
    """
    failed = [gate for gate in gates if gate.blocks]
    if not failed:
        return
    lines = "".join(f"\n  {gate.name}: {gate.sentence}. {REMEDIES[gate.name]}" for gate in failed)
    flags = " ".join(f"--accept {gate.name}" for gate in failed)
    raise GateError(
        f"{len(failed)} of {len(gates)} gates failed, so nothing was published:{lines}\n"
        f"All gates are listed in {report}. Where the change is meant, run the same command again with {flags}; "
        "finished work is kept."
    )


def write_report(work: str, gates: Sequence[Gate]) -> str:
    """List the gates of a version that is not published; returns where."""
    data = json.dumps({"gates": [asdict(gate) for gate in gates]}, indent=1, sort_keys=True).encode() + b"\n"
    uri = storage.join(work, "gates", f"{sha256(data)[:16]}.json")
    storage.create(uri, data)
    return uri


_OTHER_BANK = "Check that --references is the bank that was meant, encoded by the model of the candidates."
_OTHER_CANDIDATES = "Check that --candidates are the whole current corpus, in the encoding of the previous version."
_OTHER_ROWS = "Check ids, encoder and bank: look at some of the changed rows in both versions."

#: What to do about a failure, by gate.
REMEDIES = {
    "coverage": "This is a defect of the pipeline.",
    "finite": "This is a defect of the pipeline.",
    "max_abs_bias": "Check --alpha.",
    "spread": "Check that the vectors differ, and that the bank is not one query again and again.",
    "bank_repeats": "Check that the bank is not one query again and again, or a few.",
    "near_copies": "Check that --references holds queries, not the candidates themselves; where both are of one "
    "modality, --exclude-own-pairs leaves each candidate's own references out, by pair id or else by id.",
    "min_bank_rows": "Give more --references.",
    "bank_shrinkage": "Check that no file of --references is missing or cut.",
    "bank_growth": "Check that --references names no file twice or too many.",
    "lost_candidates": _OTHER_CANDIDATES,
    "candidate_rejects": "Look at the list of rejects and repair the input.",
    "reference_rejects": "Look at the list of rejects and repair the input.",
    "repeated_files": "Remove the copies.",
    "mixed_origins": "Give vectors on both sides, or images and captions on both.",
    "encoder": "Use the previous encoder, or start a table of its own for the new one.",
    "settings": "Use the previous settings, or start another table.",
    "alpha": "Check --alpha.",
    "candidate_centroid": _OTHER_CANDIDATES,
    "reference_centroid": _OTHER_BANK,
    "modalities": "Check that --candidates and --references are not swapped, nor of one modality.",
    "mean_similarity": _OTHER_BANK,
    "vector_lengths": "Normalise the vectors where they are made, as they were before.",
    "drift_psi": _OTHER_ROWS,
    "drift_quantiles": _OTHER_ROWS,
    "moved_rows": _OTHER_ROWS,
    "hubs": "Look at the rows with the highest biases: broken or blank items are near everything.",
    "hub_growth": "Look at the rows with the highest biases: broken or blank items are near everything.",
    "canary_overlap": _OTHER_ROWS,
    "gain": "Choose k and alpha on validation queries, or publish with alpha 0.",
    "validation_overlap": "Take the validation queries out of the bank.",
}
