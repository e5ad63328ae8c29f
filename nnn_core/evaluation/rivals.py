"""Other corrections for hubs, each from its paper's formula, compared with NNN on the same footing.

The same queries, bank and candidates, the same halves, the same clock. All but one rank by <q, r> - column(r), up to
a constant of the query and a positive factor, neither of which moves a candidate. So they are counted as NNN's biases
are (``_counting.count_ahead``), from a candidate's own statistics against the bank. Beta is inverse temperature.

| method | column | beyond one column |
|---|---|---|
| no correction | 0 | |
| NNN | alpha * mean_k | |
| CSLS | mean_k / 2 | |
| Distribution Normalization | weight * mean over the whole bank | |
| Inverted Softmax | logsumexp_beta / beta | |
| QB-Norm | that of Inverted Softmax | only for queries whose plain top 1 is activated |
| DB-Norm | both banks' logsumexp / (beta_1 + beta_2) | a second bank, of candidates |

It follows that CSLS is NNN with alpha 1/2, and Distribution Normalization NNN with k = the whole bank; that
Inverted Softmax goes from Distribution Normalization with weight 1 (beta -> 0) to NNN with k = 1 and alpha 1
(beta -> infinity).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import threadpoolctl

from nnn_core.embedded.shards import EmbeddedShard, VectorBlock, read_shard
from nnn_core.errors import InputError
from nnn_core.evaluation._counting import Goals, count_ahead
from nnn_core.evaluation._quality import Quality, measure
from nnn_core.evaluation.choice import OBJECTIVES, _fold_of
from nnn_core.evaluation.intervals import Interval, _groups_of
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.queries import QuerySet
from nnn_core.evaluation.ranks import Doubles, Targets
from nnn_core.scoring.bank import Bank, ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.exact import ExactSearch
from nnn_core.scoring.topk import grid_of
from nnn_core.vectors import FloatMatrix, Mask

_Rows = npt.NDArray[np.int64]
_Settings = tuple[tuple[float, ...], ...]

#: So many candidates are compared on at most; of more a sample.
_MOST_CANDIDATES = 100_000

#: Around 20, the default of QB-Norm's code. Scores are cosines.
_INVERSE_TEMPERATURES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
_ALPHAS = tuple(step / 8 for step in range(1, 13))
_K_MAX = 128
_CSLS_K = 10

_SEED = 20_231_204
_WARM_ROWS = 64

#: Candidates and references, and candidates and queries, that are scored at once.
_LSE_CANDIDATES, _LSE_REFERENCES = 128, 4096
_LEADER_CANDIDATES, _LEADER_QUERIES = 4096, 512


@dataclass(frozen=True)
class Trial:
    """What methods are compared on; all vectors are float32 on the grid, and answers are not graded.

    Every query has a relevant candidate among those compared on.

    Attributes:
        queries: (queries, dim) float32 vectors of the queries.
        relevant: for each query the ids of its relevant candidates.
        candidates: (rows, dim) float32 vectors of the candidates.
        ids: (rows,) ids of the candidates.
        bank: (references, dim) float32 vectors of the bank, which should hold no query.
        gallery: (any, dim) float32, DB-Norm's bank of candidates; None for a seeded sample of at most the bank's size.
    """

    queries: FloatMatrix
    relevant: Sequence[Sequence[str]]
    candidates: FloatMatrix
    ids: Sequence[str]
    bank: FloatMatrix
    gallery: FloatMatrix | None = None

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
        return replace(self, queries=self.queries[some], relevant=[self.relevant[row] for row in rows])

    @classmethod
    def gather(
        cls, queries: QuerySet, shards: Sequence[EmbeddedShard], bank: Bank, most: int = _MOST_CANDIDATES
    ) -> Trial:
        """What is compared, from files.

        Beyond ``most`` candidates a sample of the index is compared on: the relevant ones, and others by a hash of
        their ids. Queries whose relevant candidates are not in the index are left out.

        Args:
            queries: held-out queries with their relevant candidates.
            shards: embedded shards of the candidates.
            bank: the bank that the methods learn from.
            most: about how many candidates are compared on and held in memory, at most.
        """
        relevant = {name for names in queries.relevant for name in names}
        share = min(1.0, most / max(1, sum(shard.rows for shard in shards)))
        ids, vectors = list[str](), list[FloatMatrix]()
        for shard in shards:
            block = read_shard(shard)
            names = block.ids.to_pylist()
            kept = [
                row for row, name in enumerate(names) if share == 1.0 or name in relevant or _in_sample(name, share)
            ]
            ids += [names[row] for row in kept]
            vectors.append(block.vectors[kept])
        known = relevant.intersection(ids)
        asked = [row for row, names in enumerate(queries.relevant) if known.intersection(names)]
        references = [read_shard(part).vectors for shard in bank.shards for part in shard.parts]
        return cls(
            queries.vectors[asked],
            [queries.relevant[row] for row in asked],
            np.concatenate(vectors),
            ids,
            np.concatenate(references),
        )

    def compare(self, objective: str = "recall@1", threads: int = 1) -> list[dict[str, Any]]:
        """Every method with the setting that did best on the choosing half, measured on the reporting half.

        No method is spared: each takes its best setting, whether that gains anything or not. Seconds are the
        processor's: for learning all settings from the bank (``fit``) and for ranking the choosing half with all of
        them (``search``), with nothing reused from another method; ``pairs`` are the inner products of both.

        Args:
            objective: name of the figure by which settings are chosen, one of ``choice.OBJECTIVES``.
            threads: threads of the searches and of BLAS; figures do not depend on their number.

        Returns:
            For each method ``method``, ``title``, ``additive``, ``setting``, ``settings`` (how many were tried),
            ``seconds`` (fit, search, total), ``pairs``, ``queries`` that report, and each with name to value, low,
            high: ``figures``, ``gains`` over no correction and ``leads`` over NNN.

        Raises:
            InputError: one of the halves has no query.
        """
        choosing = _choosing_half(self.relevant)
        if choosing.all() or not choosing.any():
            raise InputError(f"{len(choosing)} queries are too few: half of them choose and half report. Add some.")
        rivals = _all_rivals(len(self.bank))
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            _warm_up(self, rivals)
            runs = [_compare(self, rival, choosing, objective, threads) for rival in rivals]
        plain, nnn = (next(found for row, found in runs if row["method"] == name) for name in ("none", "nnn"))
        answers = [min(names) for names, chooses in zip(self.relevant, choosing, strict=True) if not chooses]
        groups = _groups_of(answers)
        for row, found in runs:
            row["queries"] = int((~choosing).sum())
            for name, values in (("figures", found), ("gains", found - plain), ("leads", found - nnn)):
                intervals = zip(OBJECTIVES, Interval.of_means(values, groups), strict=True)
                row[name] = {shown: asdict(each) for shown, each in intervals}
        return [row for row, _ in runs]


def _in_sample(name: str, share: float) -> bool:
    digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"comparison").digest()
    return int.from_bytes(digest, "big") < share * (1 << 64)


@dataclass(frozen=True)
class _Rival:
    """A correction with the settings that are tried.

    Attributes:
        name: short name of the method for programs, such as ``qbnorm``.
        title: name of the method for people, such as ``QB-Norm``.
        parameters: names of a setting's values, such as ``beta``.
        settings: settings that are tried; the first of equally good ones is taken.
        formula: (trial, settings, threads) to what is subtracted from scores, (settings, rows) float64, and the
            number of inner products that it took.
        gated: whether the column counts only for queries whose plain top 1 is activated.
    """

    name: str
    title: str
    parameters: tuple[str, ...]
    settings: _Settings
    formula: Callable[[Trial, _Settings, int], tuple[Doubles, int]]
    gated: bool = False


def _all_rivals(
    references: int,
    alphas: Sequence[float] = _ALPHAS,
    betas: Sequence[float] = _INVERSE_TEMPERATURES,
    k_max: int = _K_MAX,
) -> tuple[_Rival, ...]:
    """Every method, no correction first.

    Grids: k = 1, 2, 4, ... up to ``k_max`` and the bank, and 10 for CSLS; alpha, and the weight of Distribution
    Normalization, as given; each inverse temperature, for DB-Norm each pair of them.

    Args:
        references: number of rows of the bank.
        alphas: values of alpha, and weights of Distribution Normalization, to try; above 0, ascending.
        betas: inverse temperatures to try, positive, ascending.
        k_max: highest k to try, unless the bank has fewer rows.
    """
    grid = grid_of(min(k_max, references))
    weights, each = tuple((alpha,) for alpha in alphas), tuple((beta,) for beta in betas)
    pairs = tuple((one, two) for one in betas for two in betas)
    nearest = tuple((k,) for k in sorted({*grid, min(_CSLS_K, references)}))
    return (
        _Rival("none", "no correction", (), ((),), _no_correction),
        _Rival("nnn", "NNN", ("alpha", "k"), tuple((alpha, k) for alpha in alphas for k in grid), _nnn),
        _Rival("csls", "CSLS", ("k",), nearest, _csls),
        _Rival("dn", "Distribution Normalization", ("weight",), weights, _distribution_normalization),
        _Rival("is", "Inverted Softmax", ("beta",), each, _inverted_softmax),
        _Rival("qbnorm", "QB-Norm", ("beta",), each, _inverted_softmax, gated=True),
        _Rival("dbnorm", "DB-Norm", ("beta_1", "beta_2"), pairs, _db_norm),
    )


def _no_correction(trial: Trial, settings: _Settings, threads: int) -> tuple[Doubles, int]:
    return np.zeros((1, len(trial.ids))), 0


def _nnn(trial: Trial, settings: _Settings, threads: int) -> tuple[Doubles, int]:
    """alpha * mean of the k highest similarities to the bank.

    Chowdhury et al., "Nearest Neighbor Normalization Improves Multimodal Retrieval", EMNLP 2024.
    """
    ks = tuple(sorted({int(k) for _, k in settings}))
    names = pa.array(trial.ids, pa.string())
    search = ExactSearch(ReferenceIndex.of(trial.bank))
    top = score_block(VectorBlock(names, names, trial.candidates), search, max(ks), threads)
    means = dict(zip(ks, top.means(ks).astype(np.float64).T, strict=True))
    return np.stack([alpha * means[int(k)] for alpha, k in settings]), len(trial.ids) * len(trial.bank)


def _csls(trial: Trial, settings: _Settings, threads: int) -> tuple[Doubles, int]:
    """Half the mean of the k highest similarities to the bank.

    CSLS(q, r) = 2 cos(q, r) - r_T(q) - r_S(r), with r_S(r) the mean similarity of r to its k nearest
    neighbours among the other side's vectors. r_T(q) is the same for all candidates of a query; the
    factor 2 divides out. Conneau et al., "Word Translation Without Parallel Data", ICLR 2018; k = 10
    there.
    """
    return _nnn(trial, tuple((0.5, k) for (k,) in settings), threads)


def _distribution_normalization(trial: Trial, settings: _Settings, threads: int) -> tuple[Doubles, int]:
    """weight * mean similarity to the whole bank, which is the similarity to its mean.

    (q - w mu_q) . (r - w mu_r) = q . r - w mu_q . r + what does not depend on r, with mu_q the mean of the
    bank. Nothing is scaled to length 1 again, as in the paper. Zhou et al., "Test-Time Distribution
    Normalization for Contrastively Learned Vision-language Models", NeurIPS 2023; w is 1/2 there and 1/4 in its
    code.
    """
    # Sums of grid vectors are exact in float64, in whatever order.
    center = trial.bank.sum(axis=0, dtype=np.float64) / len(trial.bank)
    tiles = [trial.candidates[first : first + 4096] for first in range(0, len(trial.ids), 4096)]
    mean = np.concatenate([(tile * center).sum(axis=1) for tile in tiles])
    return np.stack([weight * mean for (weight,) in settings]), len(trial.ids)


def _inverted_softmax(trial: Trial, settings: _Settings, threads: int) -> tuple[Doubles, int]:
    """log(sum over the bank of exp(beta <q', r>)) / beta; QB-Norm has the same column.

    exp(beta <q, r>) / (alpha_q sum over q' of exp(beta <q', r>)), of which log / beta keeps the order;
    alpha_q is the same for all candidates of a query. Smith et al., "Offline bilingual word vectors, orthogonal
    transformations and the inverted softmax", ICLR 2017.
    """
    betas = [beta for (beta,) in settings]
    sums = _log_sum_exp(trial.candidates, trial.bank, betas)
    return sums / np.array(betas)[:, None], len(trial.ids) * len(trial.bank)


def _db_norm(trial: Trial, settings: _Settings, threads: int) -> tuple[Doubles, int]:
    """(log-sum-exp of beta_1 over the bank + that of beta_2 over a bank of candidates) / (beta_1 + beta_2).

    Dual Inverted Softmax: the product of exp(beta_1 <q, r>) / sum over q' of exp(beta_1 <q', r>) and
    exp(beta_2 <q, r>) / sum over r' of exp(beta_2 <r', r>), of which log / (beta_1 + beta_2) keeps the order.
    The dynamic variant, which gates both factors, is not offered. Wang et al., "Balance Act: Mitigating Hubness
    in Cross-Modal Retrieval with Query and Gallery Banks", EMNLP 2023.
    """
    betas = sorted({beta for setting in settings for beta in setting})
    banks = (trial.bank, trial.second_bank)
    of_bank, of_gallery = (dict(zip(betas, _log_sum_exp(trial.candidates, each, betas), strict=True)) for each in banks)
    columns = np.stack([(of_bank[one] + of_gallery[two]) / (one + two) for one, two in settings])
    return columns, len(trial.ids) * sum(map(len, banks))


def _log_sum_exp(candidates: FloatMatrix, references: FloatMatrix, betas: Sequence[float]) -> Doubles:
    """log(sum over references q' of exp(beta <q', r>)), in tiles of bounded memory.

    float64 scores of grid vectors have no rounding (``vectors``), so values are within 1e-10 of the truth at
    beta <= 100 and do not depend on how candidates are cut.

    Args:
        candidates: (rows, dim) float32 vectors of the candidates, on the grid of ``vectors``.
        references: (references, dim) float32 vectors of the references, on the grid of ``vectors``.
        betas: inverse temperatures, positive and finite.

    Returns:
        (betas, rows) float64, -inf without references.
    """
    values = np.full((len(betas), len(candidates)), -np.inf)
    for first in range(0, len(candidates), _LSE_CANDIDATES):
        rows = slice(first, first + _LSE_CANDIDATES)
        tile = candidates[rows].astype(np.float64)
        for start in range(0, len(references), _LSE_REFERENCES):
            scores = tile @ references[start : start + _LSE_REFERENCES].astype(np.float64).T
            highest = scores.max(axis=1)
            scores -= highest[:, None]
            for total, beta in zip(values[:, rows], betas, strict=True):
                # Of the maximum exp is 1: no overflow, whatever beta. Added one by one, because padding
                # would change how NumPy's sum groups a row's terms.
                sums = np.cumsum(np.exp(beta * scores), axis=1)[:, -1]
                np.logaddexp(total, beta * highest + np.log(sums), out=total)
    return values


def _leaders(queries: FloatMatrix, candidates: FloatMatrix, ids: Sequence[str]) -> _Rows:
    """(queries,) int64, the row of each query's best candidate; of equal ones that with the lowest id.

    Args:
        queries: (queries, dim) float32 vectors of the queries, on the grid of ``vectors``.
        candidates: (rows, dim) float32 vectors of the candidates, on the grid of ``vectors``; at least one.
        ids: (rows,) ids of the candidates.
    """
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    best, rows = np.full(len(queries), -np.inf), np.zeros(len(queries), np.int64)
    for first in range(0, len(ids), _LEADER_CANDIDATES):
        tile = by_id[first : first + _LEADER_CANDIDATES]
        block = candidates[tile].astype(np.float64).T
        for start in range(0, len(queries), _LEADER_QUERIES):
            some = slice(start, start + _LEADER_QUERIES)
            scores = queries[some].astype(np.float64) @ block
            at = scores.argmax(axis=1)  # the first, so the lowest id
            highest = scores[np.arange(len(at)), at]
            rows[some] = np.where(highest > best[some], tile[at], rows[some])
            best[some] = np.maximum(best[some], highest)
    return rows


@dataclass(frozen=True)
class _Fit:
    """What a method learned from the banks.

    Of a gated method, a query whose own plain top 1 is activated is ranked by the biases, any other by plain scores:
    Bogolin et al., "Cross Modal Retrieval with Querybank Normalisation", CVPR 2022, whose default setting is this
    top 1. Unlike a column it needs, for each live query, a plain search before it is known by which scores to rank.

    Attributes:
        biases: (settings, rows) float32 biases of the candidates, rounded as a table rounds them.
        pairs: number of inner products that the method took.
        activated: (activated,) int64 rows of candidates that are a reference's plain top 1; None if not gated.
    """

    biases: FloatMatrix
    pairs: int
    activated: _Rows | None = None


def _fit(trial: Trial, rival: _Rival, threads: int = 1) -> _Fit:
    """Columns of every setting of a method, from the banks; nothing is shared with another method."""
    columns, pairs = rival.formula(trial, rival.settings, threads)
    biases = np.ascontiguousarray(columns, np.float32)
    if not rival.gated:
        return _Fit(biases, pairs)
    activated = np.unique(_leaders(trial.bank, trial.candidates, trial.ids))
    return _Fit(biases, pairs + len(trial.ids) * len(trial.bank), activated)


def _rank_quality(trial: Trial, fit: _Fit, threads: int = 1) -> Quality:
    """Figures of each query at each row of ``fit.biases``; of a gated method with plain ranks where it says so."""
    biases = fit.biases
    if fit.activated is not None:
        biases = np.concatenate([np.zeros((1, len(trial.ids)), np.float32), biases])
    known = set(trial.ids)
    relevant = [sorted(known.intersection(each)) for each in trial.relevant]
    targets = Targets.find(trial.queries, relevant, trial.candidates, trial.ids, np.ascontiguousarray(biases.T))
    goals = Goals.of(targets, relevant)
    # Each setting's biases as means that are taken as they are.
    settings = range(len(biases))
    points = [Point(setting, 1.0) for setting in settings]
    columns = (np.ascontiguousarray(biases.T), settings, points)
    ranks = 1 + count_ahead(trial.queries, goals, trial.candidates, trial.ids, *columns, threads)
    if fit.activated is not None:
        corrected = np.isin(_leaders(trial.queries, trial.candidates, trial.ids), fit.activated)
        ranks = np.where(corrected[goals.query], ranks[1:], ranks[0])
    return measure(ranks, goals.query, np.ones(len(goals.query)))


def _choosing_half(relevant: Sequence[Sequence[str]]) -> Mask:
    """(queries,) whether a query chooses; the others report. By the candidate that answers it, so it stays there."""
    return np.array([_fold_of(min(names)) % 2 == 0 for names in relevant], bool)


def _warm_up(trial: Trial, rivals: Sequence[_Rival]) -> None:
    """Compile and page in what is timed afterwards."""
    rows = slice(_WARM_ROWS)
    banks = trial.bank[rows], trial.second_bank[rows]
    few = Trial(trial.queries[:1], [trial.ids[:1]], trial.candidates[rows], trial.ids[rows], *banks)
    for rival in rivals:
        _rank_quality(few, _fit(few, rival))


def _compare(
    trial: Trial, rival: _Rival, choosing: Mask, objective: str, threads: int
) -> tuple[dict[str, Any], Doubles]:
    """A method's row without its figures, and the (shown, reporting queries) values that these are made of."""
    start = time.process_time()
    fit = _fit(trial, rival, threads)
    fitted = time.process_time()
    best, pairs = 0, fit.pairs
    if len(rival.settings) > 1:
        asked = trial.asked_by(choosing)
        best = int(_rank_quality(asked, fit, threads).figures[objective].mean(axis=1).argmax())
        pairs += len(asked.queries) * len(trial.ids) * (1 + rival.gated)
    found = time.process_time()
    only = replace(fit, biases=fit.biases[best : best + 1])
    quality = _rank_quality(trial.asked_by(~choosing), only, threads)
    row = {
        "method": rival.name,
        "title": rival.title,
        "additive": not rival.gated,  # one column, ready to be stored with the candidates, is all there is to it
        "setting": dict(zip(rival.parameters, rival.settings[best], strict=True)),
        "settings": len(rival.settings),
        "seconds": {"fit": fitted - start, "search": found - fitted, "total": found - start},
        "pairs": pairs,
    }
    return row, np.concatenate([quality.figures[name] for name in OBJECTIVES])
