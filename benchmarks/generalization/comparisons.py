"""Statistics over patients or series: means, intervals, and paired tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

FEWEST_PAIRS = 6
"""With fewer pairs, Wilcoxon's two-sided p cannot fall below 0.05 (it is at least 2 / 2^n), and the percentile
bootstrap gives too narrow an interval: of two values, the values themselves."""
_RESAMPLES = 9999


def paired_p(first: Mapping[str, float], second: Mapping[str, float]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test of values paired by their keys.

    Returns:
        1 if all pairs are equal; None with fewer than `FEWEST_PAIRS` pairs.
    """
    keys = sorted(first.keys() & second.keys())
    differences = np.array([first[key] - second[key] for key in keys])
    differences = differences[np.isfinite(differences)]
    if len(differences) < FEWEST_PAIRS:
        return None
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down method (Scand J Stat 6:65, 1979), in the same order."""
    order = np.argsort(p_values)
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean by the percentile bootstrap, the same in every call.

    Returns:
        Its ends; None with fewer than `FEWEST_PAIRS` values.
    """
    known = np.array([value for value in values if math.isfinite(value)])
    if len(known) < FEWEST_PAIRS:
        return None
    result = stats.bootstrap(
        (known,), np.mean, n_resamples=_RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; NaN where there are too few values."""
    known = [value for value in values if math.isfinite(value)]
    mean = float(np.mean(known)) if known else math.nan
    return mean, float(np.std(known, ddof=1)) if len(known) > 1 else math.nan
