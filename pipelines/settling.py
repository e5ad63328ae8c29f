"""What a refresh settles once its sides are known: the bank, the settings of the biases, what the table comes from."""

from __future__ import annotations

import dataclasses

from apache_beam.metrics import Metrics

from nnn_core import storage
from nnn_core.embedded.corpus import Corpus, embedded_shards
from nnn_core.embedded.profile import SideSums
from nnn_core.embedded.shards import EmbeddedInput
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.summary import Request
from nnn_core.report.refresh import Lineage
from nnn_core.report.review import Review
from nnn_core.scoring.bank import Bank, gather_references
from nnn_core.scoring.partials import Scored
from nnn_core.scoring.search.calibration import CalibratedShard, measure_all
from nnn_core.table.lifecycle.cleaning import Needs
from nnn_core.table.manifest import SearchReport
from nnn_core.table.parts import BiasSettings, resolve_k
from pipelines.config import RefreshConfig
from pipelines.stages.metrics import NAMESPACE, OWN_CANDIDATES, OWN_REFERENCES


def gather_bank(embedded: list[EmbeddedInput], config: RefreshConfig) -> Bank:
    """The bank, grouped as the previous version's was where that follows from the bank and still suits it."""
    before = Needs.of_current(config.table, config.work)
    return gather_references(
        embedded,
        config.rows_per_reference_shard,
        config.wanted_k,
        config.reject_rates["references"],
        config.rejects_folder,
        config.exclude_own_pairs,
        before.reference_shard_rows if before else None,
    )


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
    config: RefreshConfig,
    corpus: Corpus,
    bank: Bank,
    sums: SideSums,
    scored: Scored,
    calibrated: list[CalibratedShard],
    whole: list[EmbeddedInput],
) -> Lineage:
    """What the table was computed from, and how.

    Args:
        config: what the refresh was asked for.
        corpus: all candidates, as a whole.
        bank: all reference queries, as a whole.
        sums: of the vectors of both sides.
        scored: what scoring was like for all candidate shards.
        calibrated: how each reference shard was searched; empty for exact searches.
        whole: the bank's files before rows were left out, which the next refresh needs too; empty if none were.
    """
    error = measure_all(calibrated, config.grid) if calibrated else None
    search = SearchReport(tuple(sorted(scored.searches)), config.bias_tolerance, error)
    names = {storage.basename(part.uri) for part in (*bank.parts, *embedded_shards(whole))}
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
    return Lineage(corpus, bank, sums, search, needs)


def request_of(settings: BiasSettings, config: RefreshConfig) -> Request:
    """What validation queries are asked: to choose k and alpha, or to judge the ones of the settings."""
    point = None if config.tune else Point(settings.k, settings.alpha)
    return Request(point, settings.grid, objective=config.objective)


def take_choice(settings: BiasSettings, review: Review) -> BiasSettings:
    """The settings with the k and alpha that were chosen, if they were; without a gain k stays and alpha is 0."""
    if review.evaluation.choice is None:
        return settings
    point = review.evaluation.point
    return dataclasses.replace(settings, k=point.k if point.alpha else settings.k, alpha=point.alpha)
