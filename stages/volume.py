"""From a series in physical units to the network's input and back: the same in training and use.

NumPy and SciPy alone, so that the released bundle runs it without a training framework. Axis order
is (slices, rows, columns).

Rules:

- VOL-1  A prepared array's bits do not depend on the instruction set: statistics are rounded to
         single precision before use, the rest is elementwise arithmetic, and the result is rounded
         to five decimals.
- VOL-2  Resampling keeps the field of view: the outer faces of the grid stay where they are.
- VOL-3  `restore` gives labels on the grid that `prepare` was given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stages.params import Volume

T = TypeVar("T", bound=np.generic)
Array = NDArray[np.float32]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Prepared:
    """A series as the network sees it."""

    array: Array
    """(slices, rows, columns), normalized."""
    spacing_mm: tuple[float, float, float]
    """Of `array`: near the spacing asked for, so that whole voxels fill the field of view."""
    grid: Shape
    """Shape before resampling."""


def prepare(
    voxels: NDArray[np.float32], spacing_mm: tuple[float, float, float], volume: Volume
) -> Prepared:
    """Resample (linear) and normalize a series.

    Args:
        voxels: (slices, rows, columns) in rescaled units (HU for CT).
        spacing_mm: of `voxels`, in the same order.
        volume: what the network was trained on.
    """
    depth, height, width = voxels.shape
    grid = (depth, height, width)
    target = volume.spacing_mm or spacing_mm
    shape = tuple(
        max(1, round(n * have / want))
        for n, have, want in zip(grid, spacing_mm, target, strict=True)
    )
    z, y, x = (have * n / m for n, have, m in zip(grid, spacing_mm, shape, strict=True))
    resampled = _resize(voxels.astype(np.float32), shape, order=1)
    return Prepared(_normalize(resampled, volume.window), (z, y, x), grid)


def sliding_window(
    predict: Callable[[Array], Array], array: Array, volume: Volume, channels: int
) -> Array:
    """Run a network of fixed input over a whole volume; overlapping windows, Gaussian weights.

    Args:
        predict: (1, 1, *patch) → (1, channels, *patch), logits or probabilities.
        array: (slices, rows, columns), prepared; padded with its minimum to at least one patch.
        volume: patch and overlap.
        channels: of the network's output.

    Returns:
        (channels, slices, rows, columns), the weighted mean of the windows.
    """
    lacking = [max(0, p - n) for p, n in zip(volume.patch, array.shape, strict=True)]
    padding = [(lack // 2, lack - lack // 2) for lack in lacking]
    padded = np.pad(array, padding, constant_values=array.min())
    weight = _gaussian(volume.patch)
    total = np.zeros((channels, *padded.shape), np.float32)
    weights = np.zeros(padded.shape, np.float32)
    starts = [
        _starts(n, p, volume.overlap) for n, p in zip(padded.shape, volume.patch, strict=True)
    ]
    for corner in product(*starts):
        window = tuple(slice(c, c + p) for c, p in zip(corner, volume.patch, strict=True))
        result = predict(np.ascontiguousarray(padded[window])[None, None])
        total[(slice(None), *window)] += result[0] * weight
        weights[window] += weight
    crop = tuple(slice(low, low + n) for (low, _), n in zip(padding, array.shape, strict=True))
    total /= weights
    return np.ascontiguousarray(total[(slice(None), *crop)])


def restore(labels: NDArray[np.uint8], prepared: Prepared) -> NDArray[np.uint8]:
    """Bring labels of the prepared grid back to the series' own grid (nearest neighbor)."""
    return _resize(labels, prepared.grid, order=0)


def _normalize(voxels: Array, window: tuple[float, float] | None) -> Array:
    values = voxels.astype(np.float64)
    if window is not None:
        low, high = window
        values = (np.clip(values, low, high) - low) / (high - low)
    else:
        low, high = np.percentile(voxels, (0.5, 99.5))
        values = np.clip(values, float(np.float32(low)), float(np.float32(high)))
        mean, deviation = np.float32(values.mean()), np.float32(values.std())
        values = (values - mean) / max(float(deviation), 1e-6)
    return np.round(values, 5).astype(np.float32)


def _resize(array: NDArray[T], shape: tuple[int, ...], order: int) -> NDArray[T]:
    if array.shape == shape:
        return array
    factors = [m / n for n, m in zip(array.shape, shape, strict=True)]
    resized: NDArray[T] = ndimage.zoom(array, factors, order=order, mode="nearest", grid_mode=True)
    return resized


def _starts(size: int, patch: int, overlap: float) -> list[int]:
    """First indices of the windows along one axis; the last window ends with the axis."""
    step = max(1, int(patch * (1 - overlap)))
    return [*range(0, size - patch, step), size - patch]


def _gaussian(patch: Shape) -> Array:
    """Weights of a window's voxels: highest in its middle, sigma an eighth of its side."""
    weight = np.ones(patch, np.float64)
    for axis, size in enumerate(patch):
        offsets = np.arange(size) - (size - 1) / 2
        line = np.exp(-0.5 * (offsets / (0.125 * size)) ** 2)
        weight *= line.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.round(np.maximum(weight, 1e-3), 6).astype(np.float32)
