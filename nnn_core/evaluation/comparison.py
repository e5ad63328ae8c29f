"""All methods on the same footing: the same queries, bank and candidates, the same halves, the same clock."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import threadpoolctl

from nnn_core.embedded.shards import EmbeddedShard, VectorBlock, read_shard
from nnn_core.errors import ConfigError, InputError
from nnn_core.evaluation._leaders import Leaders, gated_ranks
from nnn_core.evaluation._quality import Quality, measure
from nnn_core.evaluation._rivals import Rival, Statistics, all_rivals
from nnn_core.evaluation._statistics import exact_log_sum_exp
from nnn_core.evaluation.choice import OBJECTIVES, choosing_half
from nnn_core.evaluation.intervals import intervals
from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.ranks import Goals, count_ahead, find_targets
from nnn_core.scoring.bank import Bank, ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.vectors import FloatMatrix

Mask = npt.NDArray[np.bool_]

#: So many candidates are compared on at most; of more a sample.
MOST_CANDIDATES = 100_000

_SHOWN = ("recall@1", "recall@5", "recall@10", "mrr", "ndcg@10")
_SEED = 20_231_204
_WARM_ROWS = 64


@dataclass(frozen=True)
class Trial:
    """What methods are compared on; all vectors are float32 on the grid, and answers are not graded.

    Attributes:
        queries: (queries, dim).
        query_ids: by which a query chooses or reports.
        relevant: for each query the ids of its relevant candidates.
        candidates: (rows, dim).
        ids: of the candidates.
        bank: (references, dim), none of them a query.
        gallery: (any, dim), DB-Norm's bank of candidates; None for a seeded sample of the candidates that is
            as large as the bank, or all of them if they are fewer.
    """

    queries: FloatMatrix
    query_ids: Sequence[str]
    relevant: Sequence[Sequence[str]]
    candidates: FloatMatrix
    ids: Sequence[str]
    bank: FloatMatrix
    gallery: FloatMatrix | None = None

    def __post_init__(self) -> None:
        known = set(self.ids)
        if not len(self.queries) == len(self.query_ids) == len(self.relevant) or len(self.ids) != len(self.candidates):
            raise InputError("vectors and ids of a comparison disagree in number, so nothing can be ranked; align them")
        lost = [name for name, each in zip(self.query_ids, self.relevant, strict=True) if not set(each) & known]
        if lost:
            raise InputError(
                f"{len(lost)} of {len(self.query_ids)} queries (first: {lost[0]!r}) have no relevant candidate among "
                f"the {len(self.ids)} compared on, so they have no rank; leave them out"
            )

    @property
    def second_bank(self) -> FloatMatrix:
        """DB-Norm's bank of candidates."""
        if self.gallery is not None:
            return self.gallery
        count = min(len(self.bank), len(self.candidates))
        return self.candidates[np.sort(np.random.default_rng(_SEED).permutation(len(self.candidates))[:count])]

    def asked_by(self, some: Mask) -> Trial:
        """The same with some of the queries."""
        rows = np.flatnonzero(some).tolist()
        names, relevant = [self.query_ids[row] for row in rows], [self.relevant[row] for row in rows]
        return replace(self, queries=self.queries[some], query_ids=names, relevant=relevant)


def gather_trial(queries: QuerySet, shards: Sequence[EmbeddedShard], bank: Bank, most: int = MOST_CANDIDATES) -> Trial:
    """What is compared, from files.

    Beyond ``most`` candidates a sample of the index is compared on: the relevant ones, and others by a hash of
    their ids. Queries whose relevant candidates are not in the index are left out.

    Args:
        queries: held-out ones.
        shards: the candidates.
        bank: the references.
        most: about how many candidates are held in memory.
    """
    relevant = {name for names in queries.relevant for name in names}
    share = min(1.0, most / max(1, sum(shard.rows for shard in shards)))
    ids, vectors = list[str](), list[FloatMatrix]()
    for shard in shards:
        block = read_shard(shard)
        names = block.ids.to_pylist()
        kept = [row for row, name in enumerate(names) if share == 1.0 or name in relevant or _in_sample(name, share)]
        ids += [names[row] for row in kept]
        vectors.append(block.vectors[kept])
    known = relevant.intersection(ids)
    asked = [row for row, names in enumerate(queries.relevant) if known.intersection(names)]
    references = [read_shard(part).vectors for shard in bank.shards for part in shard.parts]
    return Trial(
        queries.vectors[asked],
        [queries.ids[row] for row in asked],
        [queries.relevant[row] for row in asked],
        np.concatenate(vectors),
        ids,
        np.concatenate(references),
    )


def _in_sample(name: str, share: float) -> bool:
    digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"comparison").digest()
    return int.from_bytes(digest, "big") < share * (1 << 64)


@dataclass(frozen=True)
class Fit:
    """What a method learned from the bank.

    Attributes:
        biases: (settings, rows) float32.
        activated: the activation set of a gated method.
        pairs: inner products that it took.
    """

    biases: FloatMatrix
    activated: frozenset[str]
    pairs: int


def fit_rival(trial: Trial, rival: Rival, threads: int = 1) -> Fit:
    """Columns of every setting of a method, from the banks; nothing is shared with another method."""
    needs, rows = rival.needs, len(trial.candidates)
    top = mean = bank = gallery = None
    pairs = 0
    if needs.ks:
        names = pa.array(trial.ids, pa.string())
        search = ExactSearch(ReferenceIndex.of(trial.bank))
        top = score_block(VectorBlock(names, names, trial.candidates), search, max(needs.ks), threads)
        pairs += rows * len(trial.bank)
    if needs.mean:
        mean = _mean_similarity(trial.candidates, trial.bank)
        pairs += rows  # with the mean vector
    if needs.bank:
        bank = exact_log_sum_exp(trial.candidates, trial.bank, needs.bank)
        pairs += rows * len(trial.bank)
    if needs.gallery:
        gallery = exact_log_sum_exp(trial.candidates, trial.second_bank, needs.gallery)
        pairs += rows * len(trial.second_bank)
    activated: frozenset[str] = frozenset()
    if rival.gated:
        activated = Leaders.of(trial.bank, trial.candidates, trial.ids).activated
        pairs += rows * len(trial.bank)
    return Fit(rival.biases(Statistics.of(rows, needs, top, mean, bank, gallery)), activated, pairs)


def _mean_similarity(candidates: FloatMatrix, bank: FloatMatrix) -> npt.NDArray[np.float64]:
    """(rows,) mean similarity to the bank: the similarity to its mean."""
    # Sums of grid vectors are exact in float64, in whatever order.
    mean = bank.sum(axis=0, dtype=np.float64) / len(bank)
    return np.concatenate(
        [(candidates[first : first + 4096] * mean).sum(axis=1) for first in range(0, len(candidates), 4096)]
    )


def rank_quality(trial: Trial, fit: Fit, gated: bool, threads: int = 1) -> Quality:
    """Figures of each query at each row of ``fit.biases``; of a gated method with plain ranks where it says so."""
    biases = np.concatenate([np.zeros((1, len(trial.ids)), np.float32), fit.biases]) if gated else fit.biases
    known = set(trial.ids)
    relevant = [sorted(known.intersection(each)) for each in trial.relevant]
    targets = find_targets(trial.queries, relevant, trial.candidates, trial.ids, np.ascontiguousarray(biases.T))
    goals = Goals.of(targets, relevant, targets.means.T)
    ranks = 1 + count_ahead(trial.queries, goals, trial.candidates, trial.ids, biases, threads)
    if gated:
        flags = Leaders.of(trial.queries, trial.candidates, trial.ids).among(fit.activated)
        ranks = gated_ranks(ranks[0], ranks[1:], flags, goals.query)
    return measure(ranks, goals.query, np.ones(len(goals.query)))


def compare_methods(
    trial: Trial, rivals: Sequence[Rival] | None = None, objective: str = "recall@1", threads: int = 1
) -> list[dict[str, Any]]:
    """Every method with the setting that did best on the choosing half, measured on the reporting half.

    No method is spared: each takes its best setting, whether that gains anything or not. Seconds are the
    processor's: for learning all settings from the bank (``fit``) and for ranking the choosing half with all of
    them (``search``), with nothing reused from another method; ``pairs`` are the inner products of both.

    Args:
        trial: up to about 10^5 candidates, since all is held in memory.
        rivals: to compare; all by default.
        objective: by which settings are chosen, one of ``choice.OBJECTIVES``.
        threads: of the searches and of BLAS; figures do not depend on it.

    Returns:
        For each method ``method``, ``title``, ``additive``, ``setting``, ``settings`` (how many were tried),
        ``seconds`` (fit, search, total), ``pairs``, ``queries`` that report, and each with name to value, low, high:
        ``figures``, ``gains`` over no correction and, where NNN is compared, ``leads`` over it.

    Raises:
        ConfigError: an unknown objective.
        InputError: one of the halves has no query.
    """
    if objective not in OBJECTIVES:
        raise ConfigError(f"objective {objective!r} is unknown, so nothing can be chosen; use one of {OBJECTIVES}")
    choosing = choosing_half(trial.query_ids)
    if choosing.all() or not choosing.any():
        raise InputError(f"{len(choosing)} queries leave one half empty, so nothing can be chosen and shown; add some")
    chosen = all_rivals(len(trial.bank)) if rivals is None else tuple(rivals)
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        _warm_up(trial, chosen)
        base = rank_quality(trial.asked_by(~choosing), _nothing(trial), False, threads)
        runs = [_compare(trial, rival, choosing, objective, threads) for rival in chosen]
    others = {"gains": base}
    others.update(("leads", quality) for row, quality in runs if row["method"] == "nnn")
    for row, quality in runs:
        row["queries"] = int((~choosing).sum())
        row["figures"] = _named(_stacked(quality))
        row |= {name: _named(_stacked(quality) - _stacked(other)) for name, other in others.items()}
    return [row for row, _ in runs]


def _nothing(trial: Trial) -> Fit:
    return Fit(np.zeros((1, len(trial.ids)), np.float32), frozenset(), 0)


def _warm_up(trial: Trial, rivals: Sequence[Rival]) -> None:
    """Compile and page in what is timed afterwards."""
    few = replace(
        trial,
        queries=trial.queries[:1],
        query_ids=trial.query_ids[:1],
        relevant=[trial.ids[:1]],
        candidates=trial.candidates[:_WARM_ROWS],
        ids=trial.ids[:_WARM_ROWS],
        bank=trial.bank[:_WARM_ROWS],
        gallery=trial.second_bank[:_WARM_ROWS],
    )
    for rival in rivals:
        rank_quality(few, fit_rival(few, rival), rival.gated)


def _compare(
    trial: Trial, rival: Rival, choosing: Mask, objective: str, threads: int
) -> tuple[dict[str, Any], Quality]:
    start = time.process_time()
    fit = fit_rival(trial, rival, threads)
    fitted = time.process_time()
    best = 0
    pairs = fit.pairs
    if len(rival.settings) > 1:
        asked = trial.asked_by(choosing)
        best = int(rank_quality(asked, fit, rival.gated, threads).figures[objective].mean(axis=1).argmax())
        pairs += len(asked.queries) * len(trial.ids) * (1 + rival.gated)
    found = time.process_time()
    only = replace(fit, biases=fit.biases[best : best + 1])
    quality = rank_quality(trial.asked_by(~choosing), only, rival.gated, threads)
    row = {
        "method": rival.name,
        "title": rival.title,
        "additive": rival.additive,
        "setting": rival.describe(rival.settings[best]),
        "settings": len(rival.settings),
        "seconds": {"fit": fitted - start, "search": found - fitted, "total": found - start},
        "pairs": pairs,
    }
    return row, quality


def _stacked(quality: Quality) -> npt.NDArray[np.float64]:
    return np.concatenate([quality.figures[name] for name in _SHOWN])


def _named(values: npt.NDArray[np.float64]) -> dict[str, dict[str, float]]:
    return {name: asdict(each) for name, each in zip(_SHOWN, intervals(values), strict=True)}
