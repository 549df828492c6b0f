"""A network's answer about a whole case: the probability of each class.

NumPy alone. The same in training, assessment, optimization and use.

Rules:

- CLS-1  The network sees the middle of the prepared array: cropped to the patch, or padded with
         the array's minimum. A network of two dimensions sees every slice; its answer is the mean
         of the slices' probabilities.
- CLS-2  Probabilities are rounded to six decimals, so that the last bits of a processor's
         exponential are in no table; the class is the most probable one, the first of equals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.params import Volume

Array = NDArray[np.float32]
Answer = tuple[Array | None, Array | None]
"""Logits on the grid (1, channels, *patch), logits of classes (1, classes); None for what the task
does not ask."""
DECIMALS = 6


def classify(
    answer: Callable[[Array], Answer], array: Array, volume: Volume
) -> NDArray[np.float64]:
    """Probabilities of the classes, (classes,) (CLS-1, CLS-2).

    Args:
        answer: the network: (1, 1, *patch) → both kinds of logits.
        array: (slices, rows, columns), prepared.
        volume: the patch.
    """
    middle = _middle(array, volume)
    windows = middle[:, None] if volume.planar else middle[None]
    total: Any = 0.0
    for window in windows:
        _, logits = answer(np.ascontiguousarray(window[None, None]))
        if logits is None:
            raise TypeError("the network answers with no classes")
        total = total + softmax(logits[0])
    probabilities: NDArray[np.float64] = np.round(total / len(windows), DECIMALS)
    return probabilities


def softmax(logits: Array) -> NDArray[np.float64]:
    """Probabilities over the first axis."""
    odds = np.exp(logits.astype(np.float64) - logits.max(axis=0))
    shares: NDArray[np.float64] = odds / odds.sum(axis=0)
    return shares


def _middle(array: Array, volume: Volume) -> Array:
    """Cropped or padded around its middle to the patch; a planar network's keeps its slices."""
    sides = (array.shape[0], *volume.patch[1:]) if volume.planar else volume.patch
    lacking = [max(0, side - n) for side, n in zip(sides, array.shape, strict=True)]
    padding = [(lack // 2, lack - lack // 2) for lack in lacking]
    padded = np.pad(array, padding, constant_values=array.min())
    starts = [(n - side) // 2 for side, n in zip(sides, padded.shape, strict=True)]
    return padded[tuple(slice(s, s + side) for s, side in zip(starts, sides, strict=True))]
