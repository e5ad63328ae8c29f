"""How uneven counts are: measures of hubness when they count how often candidates are retrieved."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def skewness(values: npt.NDArray[np.integer]) -> float:
    """Third standardised moment; the usual measure of hubness when taken of N_n. 0 without spread."""
    centred = values - values.mean()
    spread = np.sqrt((centred**2).mean())
    return float((centred**3).mean() / spread**3) if spread > 0 else 0.0


def gini(counts: npt.NDArray[np.integer]) -> float:
    """Gini index: 0 where all are equal, (n - 1) / n where one of n has everything; 0 for all zero.

    Half the mean absolute difference of two draws over their mean. Gini, "Variabilità e mutabilità" (1912).
    """
    ordered, total = np.sort(counts).astype(np.float64), float(counts.sum())
    weights = 2.0 * np.arange(1, len(ordered) + 1) - len(ordered) - 1.0
    return float(weights @ ordered) / (len(ordered) * total) if total > 0 else 0.0


def robin_hood(counts: npt.NDArray[np.integer]) -> float:
    """Share of the total that would have to move for all to be equal; 0 for all zero.

    Hoover, "The Measurement of Industrial Localization", Review of Economics and Statistics 18 (1936); of
    N_n in Feldbauer et al., "Fast Approximate Hubness Reduction for Large High-Dimensional Data", ICBK 2018.
    """
    total = float(counts.sum())
    return float(np.abs(counts - counts.mean()).sum()) / (2.0 * total) if total > 0 else 0.0
