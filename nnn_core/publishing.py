"""The last step of a refresh: a version of the table is described, judged, reported and committed."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from nnn_core import storage
from nnn_core.embedded.corpus import Corpus
from nnn_core.encoders import PRECOMPUTED, EncoderSource
from nnn_core.encoders.probes import recorded
from nnn_core.encoders.prompts import Prompts
from nnn_core.errors import CorruptArtifactError, InputError
from nnn_core.evaluation.canaries import find_canaries, store_canaries
from nnn_core.evaluation.metrics import top_overlap
from nnn_core.gates.facts import Facts
from nnn_core.gates.judge import judge, refusal
from nnn_core.gates.row_statistics import RowStatistics
from nnn_core.gates.thresholds import Thresholds
from nnn_core.inputs.shards import Modality
from nnn_core.report import HubChanges
from nnn_core.report.refresh import Draft, Lineage
from nnn_core.report.review import Review
from nnn_core.scoring.bank import Bank
from nnn_core.scoring.nearest import Nearest, merge_nearest
from nnn_core.table.hubs import MOST_EXPLAINED, MOST_REFERENCES, MOST_SHOWN, HubList, describe_hubs
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
            f"the table has {manifest.rows} rows for {lineage.corpus.side.rows} candidates, so it was not "
            "published. This is a defect of the pipeline."
        )
    if lineage.corpus.id_digest and manifest.id_digest != lineage.corpus.id_digest:
        raise CorruptArtifactError(
            "the table was not published: the digest of its ids differs from that of the candidates. Files "
            "below --work changed while the job ran. Run the same command again."
        )
    return manifest


@dataclass(frozen=True)
class HubsToName:
    """Ids of hubs of which more is said than numbers.

    Attributes:
        explained: those whose nearest reference queries the list names.
        shown: those that the report names, and shows as far as they are images or have captions.
    """

    explained: frozenset[str] = frozenset()
    shown: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        table: str,
        parts: Sequence[TablePart],
        settings: BiasSettings,
        previous: Manifest | None,
        statistics: RowStatistics,
    ) -> HubsToName:
        """The hubs that the list explains and the report shows; none where the current version's list stays.

        Args:
            table: URI of the table.
            parts: files of the table, in any order.
            settings: how biases follow from means.
            previous: the current version's manifest; None for a first version.
            statistics: of the new rows.
        """
        if _hubs_stay(table, parts, settings, previous):
            return cls()
        names = statistics.hubs.hubs().column("id").to_pylist()
        first = HubChanges.first(names, _read_hubs(previous.hubs if previous else None, table))[:MOST_SHOWN]
        return cls(frozenset(names[:MOST_EXPLAINED]), frozenset(names[place] for place in first))


def publish(
    draft: Draft,
    nearest: Iterable[Mapping[str, Nearest]],
    thresholds: Thresholds,
    accepted: Sequence[str],
    work: str,
    report: str,
) -> Manifest:
    """Judge a draft, report on it, and commit it unless it is blocked or the table says the same already.

    Args:
        draft: the version, described but not judged.
        nearest: for each stretch of the bank the reference queries that are nearest to hubs, by the hub's id.
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
    draft = _judged(_with_hubs(draft, nearest), thresholds, accepted, work)
    manifest = draft.manifest
    if draft.review is not None:
        store_canaries(manifest, draft.review.queries, draft.review.first[1], work)
    draft.lineage.needs.store(manifest, work, draft.table)
    # Before the commit: after it nothing may fail any more.
    storage.create(report, draft.describe().to_json())
    if draft.blocked:
        raise refusal(manifest.gates, work)
    return manifest if draft.unchanged else commit_version(draft.table, manifest)


def _with_hubs(draft: Draft, nearest: Iterable[Mapping[str, Nearest]]) -> Draft:
    """The draft with the list of its hubs, which is stored; with that of the current version where that stays."""
    manifest, previous, review = draft.manifest, draft.previous, draft.review
    before = previous.hubs if previous else None
    if _hubs_stay(draft.table, manifest.files, manifest.settings, previous):
        return replace(draft, manifest=replace(manifest, hubs=before))
    found = Counter(itertools.chain.from_iterable(review.first[0])) if review else None
    parts: dict[str, list[Nearest]] = {}
    for part in nearest:
        for name, references in part.items():
            parts.setdefault(name, []).append(references)
    merged = {name: merge_nearest(references, MOST_REFERENCES) for name, references in parts.items()}
    rows = describe_hubs(draft.statistics.hubs.hubs(), found, merged)
    listed = HubList.write(draft.table, manifest.version, manifest.settings.k, rows, before)
    changes = HubChanges.of(rows, _read_hubs(before, draft.table))
    return replace(draft, manifest=replace(manifest, hubs=listed), hubs=changes)


def _hubs_stay(table: str, parts: Iterable[TablePart], settings: BiasSettings, previous: Manifest | None) -> bool:
    """Whether the current version has the very same rows, and its list, if it has one, is as it was published.

    What held-out queries there are makes no new version, so it makes no new list either.
    """
    if previous is None or previous.settings != settings or {*previous.files} != {*parts}:
        return False
    return previous.hubs is None or previous.hubs.is_whole(table)


def _read_hubs(listed: HubList | None, table: str) -> list[str] | None:
    """Ids of the hubs of the version before; None where it has no list that can be read."""
    try:
        return listed.read(table).column("id").to_pylist() if listed else None
    except (CorruptArtifactError, InputError):
        return None


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
