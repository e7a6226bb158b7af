"""Confidence intervals: of one net's error, and of a mean over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

RESAMPLES = 10_000
FEWEST_FOR_BOOTSTRAP = 3


def wilson_interval(errors: float, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion `errors`/`total`, both ends in [0, 1]."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = errors / total
    centre = p + z * z / (2 * total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def bootstrap_interval(
    values: Sequence[float],
    rng: np.random.Generator,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Efron's percentile interval of a mean: quantiles of the means of samples with replacement.

    Of few values it is narrower than the truth; of three it is their range, since all of a
    resample are the same one more often than in 2.5 % of cases.

    Raises:
        ValueError: of fewer than three values, whose range says all that there is to say.
    """
    if len(values) < FEWEST_FOR_BOOTSTRAP:
        raise ValueError(f"{len(values)} values are too few to resample")
    drawn = rng.choice(np.asarray(values, dtype=np.float64), (resamples, len(values)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn.mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)
