"""How equal a runtime is to the trained network, on real series; and how fast.

Figures are rounded as they are written, before they are judged: the last bits of a runtime differ
between processors, the written figures do not on one class of machine.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.channels import channels_count, to_labels
from stages.classify import Answer, classify, softmax
from stages.overlap import dice
from stages.params import Task, Volume
from stages.runtime import Window
from stages.windows import blocks

FINEST = 1e-6
"""Differences below this are written as this."""
_WARM_UP = 2


@dataclass(frozen=True)
class Equality:
    """Worst figures over all series."""

    max_abs_difference: float
    """Of a probability, of a voxel's channel or of a case's class, rounded up to a power of ten."""
    dice_to_reference: float | None
    """Lowest over structures and series, rounded to three decimals; None without structures."""


def equality(
    reference: Callable[[Window], Answer],
    target: Callable[[Window], Answer],
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
        task: gives the output's channels and the labels that they mean, and the classes.
    """
    channels = channels_count(task)
    differences, agreements = [], []
    for array in series:
        if task.structures:
            before, after = (np.empty(array.shape, np.uint8) for _ in range(2))
            both = (
                blocks(_grid(answer), array, volume, channels) for answer in (reference, target)
            )
            for (where, expected), (_, found) in zip(*both, strict=True):
                differences.append(float(np.abs(softmax(expected) - softmax(found)).max()))
                before[where], after[where] = to_labels(expected, task), to_labels(found, task)
            agreements += [dice(before == s.label, after == s.label) for s in task.structures]
        if task.classes:
            one, other = (classify(answer, array, volume) for answer in (reference, target))
            differences.append(float(np.abs(one - other).max()))
    worst = float(np.max(differences))  # unlike `max`, hands a NaN on
    if not math.isfinite(worst):
        worst = 1.0  # logits that are no numbers: as wrong as can be
    return Equality(_decade(worst), round(min(agreements), 3) if agreements else None)


def latency_s(
    predict: Callable[[Window], object], patch: tuple[int, int, int], runs: int
) -> dict[str, float | int]:
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


def _grid(answer: Callable[[Window], Answer]) -> Callable[[Window], Window]:
    """The logits on the grid alone."""

    def predict(window: Window) -> Window:
        grid, _ = answer(window)
        if grid is None:
            raise TypeError("the network answers with no logits on the grid")
        return grid

    return predict
