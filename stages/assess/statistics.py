"""Means with confidence intervals over subjects.

The bootstrap draws subjects, not series: the series of one subject are not independent. Percentile
interval; source: Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean over all series, and its interval."""

    subjects: int
    mean: float
    low: float | None
    """None for a single subject: nothing varies."""
    high: float | None


def bootstrap(
    values: Mapping[str, Sequence[float]], *, resamples: int, confidence: float, seed: int
) -> Interval | None:
    """Mean and percentile interval of the mean, subjects resampled with replacement.

    Args:
        values: subject → the values of its series.
        resamples: number of samples.
        confidence: 0.95 gives the 2.5th and the 97.5th percentile.
        seed: the same seed draws the same samples.

    Returns:
        Rounded to six decimals; None without any value.
    """
    kept = [values[subject] for subject in sorted(values) if values[subject]]
    if not kept:
        return None
    mean = round(fmean(value for series in kept for value in series), 6)
    if len(kept) == 1:
        return Interval(1, mean, None, None)
    sums = np.array([sum(series) for series in kept])
    counts = np.array([len(series) for series in kept])
    drawn = np.random.default_rng(seed).integers(len(kept), size=(resamples, len(kept)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(len(kept), mean, round(float(low), 6), round(float(high), 6))
