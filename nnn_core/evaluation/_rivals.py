"""Other corrections for hubs, each from its paper's formula, as columns of the same pass.

All but one rank by <q, r> - column(r), up to a constant of the query and a positive factor, neither of
which moves a candidate. So they are counted as NNN's biases are (``ranks.count_ahead``), shard by shard,
from a candidate's own statistics against the bank. What is said of beta is inverse temperature.

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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnn_core.evaluation._statistics import ExactLogSumExp
from nnn_core.scoring.topk import TopK, grid_means, grid_of
from nnn_core.vectors import FloatMatrix

Doubles = npt.NDArray[np.float64]

#: Around 20, the default of QB-Norm's code. Scores are cosines.
INVERSE_TEMPERATURES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
ALPHAS = tuple(step / 8 for step in range(1, 13))
_K_MAX = 128
_CSLS_K = 10


@dataclass(frozen=True)
class Needs:
    """What must be known of every candidate; ``a | b`` serves both.

    Attributes:
        ks: k of means of the k highest similarities to the bank.
        mean: whether the mean of all similarities to the bank.
        bank: inverse temperatures of log-sum-exps over the bank.
        gallery: inverse temperatures of log-sum-exps over a bank of candidates.
    """

    ks: tuple[int, ...] = ()
    mean: bool = False
    bank: tuple[float, ...] = ()
    gallery: tuple[float, ...] = ()

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            tuple(sorted({*self.ks, *other.ks})),
            self.mean or other.mean,
            tuple(sorted({*self.bank, *other.bank})),
            tuple(sorted({*self.gallery, *other.gallery})),
        )


@dataclass(frozen=True)
class Statistics:
    """What is known of a shard's candidates; only what was needed.

    Attributes:
        rows: candidates.
        means: k to (rows,) mean of the k highest similarities to the bank.
        mean: (rows,) mean of all of them.
        bank: inverse temperature to (rows,) log-sum-exp over the bank.
        gallery: the same over a bank of candidates.
    """

    rows: int
    means: Mapping[int, Doubles]
    mean: Doubles
    bank: Mapping[float, Doubles]
    gallery: Mapping[float, Doubles]

    @classmethod
    def of(
        cls,
        rows: int,
        needs: Needs,
        top: TopK | None = None,
        mean: npt.NDArray[np.floating] | None = None,
        bank: ExactLogSumExp | None = None,
        gallery: ExactLogSumExp | None = None,
    ) -> Statistics:
        """From values that were merged over the shards of the banks.

        Args:
            rows: candidates of this shard.
            needs: what to keep.
            top: with k at least the highest of ``needs.ks``.
            mean: (rows,), as ``BankMoments.similarities`` gives it.
            bank: of the inverse temperatures that are needed.
            gallery: likewise.
        """
        columns = np.zeros((0, rows)) if top is None else grid_means(top, needs.ks).astype(np.float64).T
        return cls(
            rows,
            dict(zip(needs.ks, columns, strict=True)),
            np.zeros(0) if mean is None else mean.astype(np.float64),
            _by_temperature(bank),
            _by_temperature(gallery),
        )


def _by_temperature(total: ExactLogSumExp | None) -> dict[float, Doubles]:
    return {} if total is None else dict(zip(total.inverse_temperatures, total.values.T, strict=True))


def no_column(statistics: Statistics) -> Doubles:
    """Nothing is subtracted."""
    return np.zeros(statistics.rows)


def nnn_column(statistics: Statistics, alpha: float, k: int) -> Doubles:
    """alpha * mean of the k highest similarities to the bank.

    Chowdhury et al., "Nearest Neighbor Normalization Improves Multimodal Retrieval", EMNLP 2024.
    """
    return alpha * statistics.means[k]


def csls_column(statistics: Statistics, k: int) -> Doubles:
    """Half the mean of the k highest similarities to the bank.

    CSLS(q, r) = 2 cos(q, r) - r_T(q) - r_S(r), with r_S(r) the mean similarity of r to its k nearest
    neighbours among the other side's vectors. r_T(q) is the same for all candidates of a query; the
    factor 2 divides out. Conneau et al., "Word Translation Without Parallel Data", ICLR 2018; k = 10
    there.
    """
    return 0.5 * statistics.means[k]


def distribution_column(statistics: Statistics, weight: float) -> Doubles:
    """weight * mean similarity to the whole bank.

    (q - w mu_q) . (r - w mu_r) = q . r - w mu_q . r + what does not depend on r, with mu_q the mean of the
    bank. Nothing is scaled to length 1 again, as in the paper. Zhou et al., "Test-Time Distribution
    Normalization for Contrastively Learned Vision-language Models", NeurIPS 2023; w is 1/2 there and 1/4 in its
    code.
    """
    return weight * statistics.mean


def inverted_softmax_column(statistics: Statistics, beta: float) -> Doubles:
    """log(sum over the bank of exp(beta <q', r>)) / beta.

    exp(beta <q, r>) / (alpha_q sum over q' of exp(beta <q', r>)), of which log / beta keeps the order;
    alpha_q is the same for all candidates of a query. Smith et al., "Offline bilingual word vectors, orthogonal
    transformations and the inverted softmax", ICLR 2017.
    """
    return statistics.bank[beta] / beta


def db_norm_column(statistics: Statistics, beta_1: float, beta_2: float) -> Doubles:
    """(log-sum-exp of beta_1 over the bank + that of beta_2 over a bank of candidates) / (beta_1 + beta_2).

    Dual Inverted Softmax: the product of exp(beta_1 <q, r>) / sum over q' of exp(beta_1 <q', r>) and
    exp(beta_2 <q, r>) / sum over r' of exp(beta_2 <r', r>), of which log / (beta_1 + beta_2) keeps the order.
    The dynamic variant, which gates both factors, is not offered. Wang et al., "Balance Act: Mitigating Hubness
    in Cross-Modal Retrieval with Query and Gallery Banks", EMNLP 2023.
    """
    return (statistics.bank[beta_1] + statistics.gallery[beta_2]) / (beta_1 + beta_2)


@dataclass(frozen=True)
class Rival:
    """A correction with the settings that are tried.

    Attributes:
        name: for machines.
        title: for people.
        parameters: names of a setting's values.
        settings: the grid, the first of equally good ones is taken.
        formula: (statistics, *setting) to (rows,) float64.
        needs: of all settings.
        gated: whether the column counts only for queries whose plain top 1 is activated (``leaders``).
    """

    name: str
    title: str
    parameters: tuple[str, ...]
    settings: tuple[tuple[float, ...], ...]
    formula: Callable[..., Doubles]
    needs: Needs = Needs()
    gated: bool = False

    @property
    def additive(self) -> bool:
        """Whether one column, ready to be stored with the candidates, is all there is to it."""
        return not self.gated

    def column(self, statistics: Statistics, setting: tuple[float, ...]) -> Doubles:
        """What to subtract from a candidate's score: (rows,) float64."""
        return self.formula(statistics, *setting)

    def biases(self, statistics: Statistics) -> FloatMatrix:
        """(settings, rows) float32, rounded as a table rounds them, for ``ranks.count_ahead``."""
        return np.stack([self.column(statistics, setting).astype(np.float32) for setting in self.settings])

    def describe(self, setting: tuple[float, ...]) -> dict[str, float]:
        """A setting by the names of its parameters."""
        return dict(zip(self.parameters, setting, strict=True))


def all_rivals(
    references: int,
    alphas: Sequence[float] = ALPHAS,
    inverse_temperatures: Sequence[float] = INVERSE_TEMPERATURES,
    k_max: int = _K_MAX,
) -> tuple[Rival, ...]:
    """Every method, no correction first.

    Grids: k = 1, 2, 4, ... up to ``k_max`` and the bank, and 10 for CSLS; alpha, and the weight of Distribution
    Normalization, as given; each inverse temperature, for DB-Norm each pair of them.

    Args:
        references: rows of the bank.
        alphas: above 0, ascending.
        inverse_temperatures: positive, ascending.
        k_max: the highest k.
    """
    betas = tuple(map(float, inverse_temperatures))
    grid = grid_of(min(k_max, references))
    csls = tuple(sorted({*grid, min(_CSLS_K, references)}))
    softmax, over_bank = tuple((beta,) for beta in betas), Needs(bank=betas)
    pairs = tuple((one, two) for one in betas for two in betas)
    return (
        Rival("none", "no correction", (), ((),), no_column),
        Rival("nnn", "NNN", ("alpha", "k"), tuple((a, k) for a in alphas for k in grid), nnn_column, Needs(ks=grid)),
        Rival("csls", "CSLS", ("k",), tuple((k,) for k in csls), csls_column, Needs(ks=csls)),
        Rival(
            "dn", "Distribution Normalization", ("weight",), tuple((a,) for a in alphas), distribution_column,
            Needs(mean=True),
        ),
        Rival("is", "Inverted Softmax", ("beta",), softmax, inverted_softmax_column, over_bank),
        Rival("qbnorm", "QB-Norm", ("beta",), softmax, inverted_softmax_column, over_bank, gated=True),
        Rival("dbnorm", "DB-Norm", ("beta_1", "beta_2"), pairs, db_norm_column, over_bank | Needs(gallery=betas)),
    )  # fmt: skip
