"""The last step of a refresh: a version of the table is described, judged, reported and committed."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace

from nnn_core import storage
from nnn_core.embedded.corpus import Corpus
from nnn_core.encoders import PRECOMPUTED, EncoderSource
from nnn_core.encoders.probes import recorded
from nnn_core.encoders.prompts import Prompts
from nnn_core.errors import CorruptArtifactError
from nnn_core.evaluation.canaries import find_canaries, store_canaries
from nnn_core.evaluation.metrics import top_overlap
from nnn_core.gates.facts import Facts
from nnn_core.gates.judge import judge, refusal
from nnn_core.gates.thresholds import Thresholds
from nnn_core.inputs.shards import Modality
from nnn_core.report.refresh import Draft, Lineage, refresh_report
from nnn_core.report.review import Review
from nnn_core.scoring.bank import Bank
from nnn_core.table.manifest import Manifest, commit_version
from nnn_core.table.parts import BiasSettings, TablePart


def record_encoder(
    source: EncoderSource | None, prompts: Prompts, work: str, modalities: Collection[Modality], *sides: Corpus | Bank
) -> dict[str, str]:
    """What a table records of its encoder; one that no shard needed is not what a table is valid for.

    Args:
        source: the encoder, not loaded; None when all input holds vectors.
        prompts: what is written around the captions of both sides.
        work: URI of the folder of artefacts.
        modalities: modalities that the two sides have.
        sides: the candidates and the bank.

    Raises:
        InputError: the encoder cannot be loaded.
        CorruptArtifactError: what was measured before is damaged.
    """
    if source is None or all(side.outcome.precomputed == {True} for side in sides):
        return {"kind": PRECOMPUTED}
    return recorded(source, prompts, work, modalities)


def describe_version(
    parts: Sequence[TablePart],
    settings: BiasSettings,
    lineage: Lineage,
    previous: Manifest | None,
    review: Review | None,
) -> Manifest:
    """The manifest of a version, before any gate.

    Args:
        parts: files of the table, in any order.
        settings: how biases follow from means.
        lineage: what they were computed from.
        previous: the current version's manifest; None for a first version.
        review: what held-out queries tell; None without queries.

    Raises:
        CorruptArtifactError: the parts do not have one row for each candidate.
    """
    manifest = Manifest(
        previous.version + 1 if previous else 1,
        settings,
        lineage.corpus.dim,
        replace(lineage.corpus.side, centroid=lineage.sums.candidates.centroid),
        replace(lineage.references.side, centroid=lineage.sums.references.centroid),
        lineage.search,
        tuple(sorted(parts, key=lambda part: part.min_id)),
        evaluation=json.loads(json.dumps(asdict(review.evaluation))) if review else None,
    )
    if manifest.rows != lineage.corpus.side.rows:
        raise CorruptArtifactError(
            f"the table has {manifest.rows} rows for {lineage.corpus.side.rows} candidates, so it was not published; "
            "this is a defect of the pipeline."
        )
    if lineage.corpus.id_digest and manifest.id_digest != lineage.corpus.id_digest:
        raise CorruptArtifactError(
            "the ids of the table's rows are not those of the candidates: their digests differ, so it was not "
            "published. What lies under --work was changed while the job ran; run the same command again."
        )
    return manifest


def publish(draft: Draft, thresholds: Thresholds, accepted: Sequence[str], work: str, report: str) -> Manifest:
    """Judge a draft, report on it, and commit it unless it is blocked or the table says the same already.

    Args:
        draft: the version, described but not judged.
        thresholds: bounds of the gates.
        accepted: names of gates whose failure is overridden.
        work: folder of artefacts, which keeps what the next refresh compares with.
        report: where the content of the report goes, whatever comes of the draft.

    Returns:
        The manifest that stands; that of the version before if nothing changed.

    Raises:
        CorruptArtifactError: what was kept of the previous version is damaged.
        GateError: a gate failed that nobody overrode.
        ConflictError: another job published meanwhile.
    """
    draft = _judged(draft, thresholds, accepted, work)
    manifest = draft.manifest
    if draft.review is not None:
        store_canaries(manifest, draft.review.queries, draft.review.first[1], work)
    draft.lineage.needs.store(manifest, work, draft.table)
    # Before the commit: after it nothing may fail any more.
    storage.create(report, refresh_report(draft).to_json())
    if draft.blocked:
        raise refusal(manifest.gates, work)
    return manifest if draft.unchanged else commit_version(draft.table, manifest)


def _judged(draft: Draft, thresholds: Thresholds, accepted: Sequence[str], work: str) -> Draft:
    """The draft with the gates' verdicts in its manifest, or with the current manifest if the table says the same.

    What is published already was judged when it was new.
    """
    manifest, previous = draft.manifest, draft.previous
    if previous is not None and previous.says_the_same(manifest):
        return replace(draft, manifest=previous)
    gates = judge(_facts(draft, work), thresholds, accepted)
    return replace(draft, manifest=replace(manifest, gates=gates))


def _facts(draft: Draft, work: str) -> Facts:
    """What the gates judge by; as canaries, held-out queries are held against the previous version's ranking."""
    review, previous = draft.review, draft.previous
    if review is None:
        return Facts(draft.manifest, previous, draft.statistics)
    evaluation = review.evaluation
    before = find_canaries(previous, review.queries, work) if previous else None
    return Facts(
        draft.manifest,
        previous,
        draft.statistics,
        bits=evaluation.bits if evaluation.queries else None,
        bank_agreement=evaluation.agreement,
        queries=review.asked,
        shared_queries=review.overlap or 0,
        alpha_chosen=evaluation.choice is not None,
        top_overlap=None if before is None else top_overlap(before, review.first[1]),
    )
