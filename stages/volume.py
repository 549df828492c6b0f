"""From a series in physical units to the network's input and back: the same in training and use.

NumPy and SciPy alone, so that the released bundle runs it without a training framework. Axis order
is (slices, rows, columns).

Rules:

- VOL-1  A prepared array's bits do not depend on the instruction set: statistics are rounded to
         single precision before use, the rest is elementwise arithmetic, and the result is rounded
         to five decimals.
- VOL-2  Resampling keeps the field of view: the outer faces of the grid stay where they are.
- VOL-3  `restore` gives labels on the grid that `prepare` was given.
- VOL-4  No array but one in the series' own precision is as long as the series: what needs more
         goes slice by slice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stages.params import Volume

T = TypeVar("T", bound=np.generic)
Array = NDArray[np.float32]
Doubles = NDArray[np.float64]
Shape = tuple[int, int, int]

_CHUNK = 2**16
"""Values that are summed in one call."""


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
    resampled = _resize(voxels.astype(np.float32, copy=False), shape, order=1)
    return Prepared(_normalize(resampled, volume.window), (z, y, x), grid)


def restore(labels: NDArray[np.uint8], prepared: Prepared) -> NDArray[np.uint8]:
    """Bring labels of the prepared grid back to the series' own grid (nearest neighbor)."""
    return _resize(labels, prepared.grid, order=0)


def _normalize(voxels: Array, window: tuple[float, float] | None) -> Array:
    """In double precision slice by slice: a copy of the whole would be twice the series."""
    if window is not None:
        low, high = window
        offset, scale = low, high - low
    else:
        low, high = (float(np.float32(v)) for v in np.percentile(voxels, (0.5, 99.5)))
        mean, deviation = _moments(voxels, low, high)
        offset, scale = float(mean), max(float(deviation), 1e-6)
    normalized = np.empty(voxels.shape, np.float32)
    for into, plane in zip(normalized, voxels, strict=True):
        values = np.clip(plane.astype(np.float64), low, high)
        into[:] = np.round((values - offset) / scale, 5)
    return normalized


def _moments(voxels: Array, low: float, high: float) -> tuple[np.float32, np.float32]:
    """Mean and standard deviation of the clipped values (VOL-1)."""
    flat = voxels.ravel(order="K")  # as NumPy would go through it
    mean = _sum(flat, lambda values: np.clip(values, low, high)) / flat.size
    squares = _sum(flat, lambda values: np.square(np.clip(values, low, high) - mean))
    return np.float32(mean), np.float32(np.sqrt(squares / flat.size))


def _sum(flat: Array, of: Callable[[Doubles], Doubles]) -> np.float64:
    """Sum of a function of all values, halved as NumPy's pairwise sum halves.

    So the bits are those of `of(flat).sum()`, without an array of doubles as long as the series.
    """
    if flat.size <= _CHUNK:
        return np.float64(of(flat.astype(np.float64)).sum())
    half = flat.size // 2
    half -= half % 8
    return _sum(flat[:half], of) + _sum(flat[half:], of)


def _resize(array: NDArray[T], shape: tuple[int, ...], order: int) -> NDArray[T]:
    if array.shape == shape:
        return array
    factors = [m / n for n, m in zip(array.shape, shape, strict=True)]
    resized: NDArray[T] = ndimage.zoom(array, factors, order=order, mode="nearest", grid_mode=True)
    return resized
