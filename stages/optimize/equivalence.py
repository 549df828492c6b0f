"""How equal a runtime is to the trained network, on real series; and how fast.

Figures are rounded as they are written, before they are judged: the last bits of a runtime differ
between processors, the written figures do not on one class of machine.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.channels import channels_count, to_labels
from stages.overlap import dice
from stages.params import Task, Volume
from stages.runtime import Predict, Window
from stages.windows import blocks

FINEST = 1e-6
"""Differences below this are written as this."""
_WARM_UP = 2


@dataclass(frozen=True)
class Equality:
    """Worst figures over all series."""

    max_abs_difference: float
    """Of a class probability, rounded up to a power of ten."""
    dice_to_reference: float
    """Lowest over structures and series, rounded to three decimals."""


def equality(
    reference: Predict,
    target: Predict,
    series: Sequence[NDArray[np.float32]],
    volume: Volume,
    task: Task,
) -> Equality:
    """Compare two ways to compute one network.

    Args:
        reference: the trained network.
        target: a runtime.
        series: prepared arrays (slices, rows, columns).
        volume: patch and overlap of the sliding window.
        task: gives the output's channels and the labels that they mean.
    """
    channels = channels_count(task)
    differences, agreements = [], []
    for array in series:
        before, after = (np.empty(array.shape, np.uint8) for _ in range(2))
        both = (blocks(predict, array, volume, channels) for predict in (reference, target))
        for (where, expected), (_, found) in zip(*both, strict=True):
            differences.append(float(np.abs(_softmax(expected) - _softmax(found)).max()))
            before[where], after[where] = to_labels(expected, task), to_labels(found, task)
        agreements += [dice(before == item.label, after == item.label) for item in task.structures]
    worst = float(np.max(differences))  # unlike `max`, hands a NaN on
    if not math.isfinite(worst):
        worst = 1.0  # logits that are no numbers: as wrong as can be
    return Equality(_decade(worst), round(min(agreements), 3))


def latency_s(predict: Predict, patch: tuple[int, int, int], runs: int) -> dict[str, float | int]:
    """Seconds of one inference of one patch: median, fastest and slowest of `runs`."""
    window: Window = np.random.default_rng(0).standard_normal((1, 1, *patch), dtype=np.float32)
    for _ in range(_WARM_UP):
        predict(window)
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        predict(window)
        seconds.append(time.perf_counter() - started)
    return {
        "median": statistics.median(seconds),
        "fastest": min(seconds),
        "slowest": max(seconds),
        "runs": runs,
    }


def _decade(value: float) -> float:
    """The smallest power of ten that is not below `value`, at least `FINEST`."""
    return max(FINEST, float(f"1e{math.ceil(math.log10(value))}")) if value > 0 else FINEST


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=0)
    powers = np.exp(shifted)
    shares: NDArray[np.float64] = powers / powers.sum(axis=0)
    return shares
