"""What a refresh settles once its sides are known: the bank, the settings of the biases, what the table comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from apache_beam.metrics import Metrics

from nnn_core import storage
from nnn_core.embedded.corpus import Corpus, embedded_shards
from nnn_core.embedded.profile import SideSums, VectorSum
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.encoders import EncoderSource
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.summary import Request
from nnn_core.publishing import record_encoder
from nnn_core.report.refresh import Lineage
from nnn_core.report.review import Review
from nnn_core.scoring.bank import Bank, Sides
from nnn_core.scoring.merged import Total
from nnn_core.scoring.own_pairs import check_own_pairs
from nnn_core.scoring.partials import Scored
from nnn_core.scoring.search.calibration import CalibratedShard, measure_all
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.table.manifest import SearchReport, current_manifest, read_manifest
from nnn_core.table.parts import BiasSettings, resolve_k
from pipelines.config import RefreshConfig
from pipelines.stages.commit_bias_table import Basis
from pipelines.stages.measure_vectors import measure_vectors
from pipelines.stages.metrics import (
    NAMESPACE,
    OWN_CANDIDATES,
    OWN_REFERENCES,
    POSITIONAL_KEYS,
    WHITENED,
    StageName,
)
from pipelines.stages.once import unite


@dataclass(frozen=True)
class Gathered(Sides):
    """Both sides as a whole, and what is known before anything is scored.

    Attributes:
        reference_sum: sum of the bank's vectors.
        previous: number of the table's current version; None if it has none.
        whole: names of the bank's embedded shards before rows were left out, which the next refresh needs too.
    """

    reference_sum: VectorSum
    previous: int | None
    whole: tuple[str, ...] = ()

    def outline(self) -> Gathered:
        """The same without all that grows with the number of candidate files: what every worker is told."""
        return dataclasses.replace(self, corpus=self.corpus.outline(), whole=())


def gather_sides(
    config: RefreshConfig, files: list[tuple[str, EmbeddedInput]], banked: list[EmbeddedInput] | None = None
) -> Gathered:
    """Check both sides as a whole, and cut the bank into reference shards.

    The bank is grouped as the previous version's was where that follows from the bank and still suits it.

    Args:
        config: what the refresh was asked for.
        files: the embedded files of all sides, by the name of their stage.
        banked: those of the bank without rows that were left out; None if none were.

    Raises:
        NNNError: what cannot be scored, see ``Corpus.gather``, ``Bank.gather`` and ``check_own_pairs``.
    """
    candidates, references = (
        [embedded for name, embedded in files if name == stage]
        for stage in (StageName.EMBED_CANDIDATES, StageName.EMBED_REFERENCES)
    )
    for name, number in (
        (POSITIONAL_KEYS, sum(embedded.positional_keys for embedded in candidates)),
        (WHITENED, sum(embedded.whitened for embedded in candidates)),
    ):
        Metrics.distribution(NAMESPACE, name).update(number)
    before, previous = Needs.of_current(config.table, config.work), current_manifest(config.table)
    bank = Bank.gather(
        references if banked is None else banked,
        config.rows_per_reference_shard,
        config.wanted_k,
        config.reject_rates["references"],
        config.rejects_folder,
        config.exclude_own_pairs,
        before.reference_shard_rows if before else None,
    )
    if config.exclude_own_pairs:
        check_own_pairs(bank, candidates)
    corpus = Corpus.gather(candidates, config.reject_rates["candidates"], config.rejects_folder)
    bank.check_dimension(corpus)  # refused before vectors are summed up
    whole = () if banked is None else tuple(storage.basename(shard.uri) for shard in embedded_shards(references))
    total = measure_vectors(bank.parts, config.work)
    return Gathered(bank, corpus, total, previous.version if previous else None, whole)


def settle_basis(
    config: RefreshConfig, encoder: EncoderSource | None, gathered: Gathered, totals: Iterable[Total]
) -> Basis:
    """All that the parts of the version are written by, once everything is scored.

    Args:
        config: what the refresh was asked for.
        encoder: the model, not loaded; None when all input holds vectors.
        gathered: both sides as a whole; of the candidates an outline will do.
        totals: what is known of the candidate shards together, in pieces.

    Raises:
        BankTooSmallError: some candidate has fewer than k references.
        InputError: the encoder cannot be loaded.
        CorruptArtifactError: what was measured of the encoder is damaged, or the manifest of the version before.
    """
    bank, total = gathered.bank, unite(totals)
    recorded = record_encoder(encoder, config.prompts, config.work, config.modalities, gathered.corpus, bank)
    settings = resolve_settings(config, bank, total.scored, recorded)
    previous = None if gathered.previous is None else read_manifest(config.table, gathered.previous)
    return Basis(settings, previous, total)


def resolve_settings(config: RefreshConfig, bank: Bank, scored: Scored, encoder: dict[str, str]) -> BiasSettings:
    """The settings of the biases, once the bank is known and scored.

    Args:
        config: what the refresh was asked for.
        bank: whose number of references limits the grid.
        scored: what scoring was like for all candidate shards.
        encoder: what a manifest says of it.

    Raises:
        BankTooSmallError: some candidate has fewer than k references.
    """
    for name, number in ((OWN_CANDIDATES, scored.own_pairs.candidates), (OWN_REFERENCES, scored.own_pairs.references)):
        Metrics.distribution(NAMESPACE, name).update(number)
    fitting = tuple(k for k in config.grid if k <= bank.rows)
    k, grid = resolve_k(config.wanted_k, fitting, scored.fewest_seen)
    return BiasSettings(
        k=k,
        alpha=config.alpha,
        grid=grid,
        candidate_modality=config.candidate_modality,
        reference_modality=config.bank_modality,
        exclude_own_pairs=config.exclude_own_pairs,
        encoder=encoder,
        bank_digest=bank.digest,
    )


def describe_lineage(
    config: RefreshConfig, gathered: Gathered, basis: Basis, calibrated: list[CalibratedShard]
) -> Lineage:
    """What the table was computed from, and how.

    Args:
        config: what the refresh was asked for.
        gathered: both sides as a whole.
        basis: what the parts are written by.
        calibrated: how each reference shard was searched; empty for exact searches.
    """
    bank, corpus, scored = gathered.bank, gathered.corpus, basis.total.scored
    error = measure_all(calibrated, config.grid) if calibrated else None
    search = SearchReport(tuple(sorted(scored.searches)), config.bias_tolerance, error)
    names = {*(storage.basename(part.uri) for part in bank.parts), *gathered.whole}
    names.update(name for name, _ in corpus.shards)
    needs = Needs(
        embedded=tuple(sorted(names)),
        candidates=tuple(digest for _, digest in corpus.shards),
        references=tuple(shard.digest for shard in bank.shards),
        searches={bank.shards[each.number].digest: each.digest for each in calibrated},
        k_max=config.kept_scores,
        kept=tuple(sorted(scored.kept)),
        grid=tuple(k for k in config.grid if k <= bank.rows),
        exclude_own_pairs=config.exclude_own_pairs,
        bank=tuple((storage.basename(part.uri), part.digest, part.rows, part.vector_digest) for part in bank.parts),
        reference_shard_rows=bank.grouping.rows if bank.grouping.chosen else None,
    )
    return Lineage(corpus, bank, SideSums(basis.total.vectors, gathered.reference_sum), search, needs)


def request_of(basis: Basis, config: RefreshConfig) -> Request:
    """What validation queries are asked: to choose k and alpha, or to judge the ones of the settings."""
    settings = basis.settings
    point = None if config.tune else Point(settings.k, settings.alpha)
    return Request(point, settings.grid, objective=config.objective)


def take_choice(basis: Basis, review: Review) -> Basis:
    """The same with the k and alpha that were chosen, if they were; without a gain k stays and alpha is 0."""
    if review.evaluation.choice is None:
        return basis
    point, settings = review.evaluation.point, basis.settings
    chosen = dataclasses.replace(settings, k=point.k if point.alpha else settings.k, alpha=point.alpha)
    return dataclasses.replace(basis, settings=chosen)
