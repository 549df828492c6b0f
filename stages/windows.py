"""A network of fixed input over a whole volume: overlapping windows, in bounded memory.

NumPy alone, so that the released bundle runs it without a training framework. Axis order is
(slices, rows, columns).

Rules:

- WIN-1  A score is the mean of all windows that see the voxel, each weighted by a Gaussian of the
         voxel's place in it; windows are added in the order of their corners.
- WIN-2  What is held besides the volume does not grow with the number of slices: the sums of those
         slices that the next layer of windows will add to, and of one row of windows.
- WIN-3  Scores that are no numbers are refused, never made labels of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from audit.errors import Refused
from stages.channels import channels_count, to_labels
from stages.params import Task, Volume

Array = NDArray[np.float32]
Shape = tuple[int, int, int]
Where = tuple[slice, slice, slice]
Predict = Callable[[Array], Array]
"""(1, 1, *patch) → (1, channels, *patch), logits or probabilities."""

_PIECE = 2**23
"""Most scores that are handed out at once, if one slice of a row of windows has no more."""


def predict_labels(predict: Predict, array: Array, volume: Volume, task: Task) -> NDArray[np.uint8]:
    """Label a whole volume.

    Args:
        predict: the network.
        array: (slices, rows, columns), prepared; may be memory-mapped.
        volume: patch and overlap.
        task: gives the network's channels and the labels that they mean.

    Returns:
        (slices, rows, columns), values of the task's labels.

    Raises:
        Refused: the network answers with scores that are no numbers (WIN-3).
    """
    labels = np.empty(array.shape, np.uint8)
    for where, scores in blocks(predict, array, volume, channels_count(task)):
        if not np.isfinite(scores).all():
            raise Refused(
                "The network's answer to this series is not made of numbers.",
                "Check the series' voxel values and rescale slope, and the network's training.",
            )
        labels[where] = to_labels(scores, task)
    return labels


def sliding_window(predict: Predict, array: Array, volume: Volume, channels: int) -> Array:
    """The scores of a whole volume at once: (channels, slices, rows, columns), for small ones."""
    whole = np.empty((channels, *array.shape), np.float32)
    for where, scores in blocks(predict, array, volume, channels):
        whole[(slice(None), *where)] = scores
    return whole


def blocks(
    predict: Predict, array: Array, volume: Volume, channels: int
) -> Iterator[tuple[Where, Array]]:
    """Scores of a volume, block by block; each voxel once (WIN-1, WIN-2).

    Args:
        predict: the network.
        array: (slices, rows, columns), prepared; may be memory-mapped. Where it is smaller than
            the patch, windows are padded with its minimum.
        volume: patch and overlap.
        channels: of the network's output.

    Yields:
        Where a block lies in `array`, and its scores (channels, slices, rows, columns).
    """
    depth, rows, columns = volume.patch
    sizes = [max(n, p) for n, p in zip(array.shape, volume.patch, strict=True)]
    low = [(size - n) // 2 for size, n in zip(sizes, array.shape, strict=True)]
    layers, bands, corners = (
        _starts(n, p, volume.overlap) for n, p in zip(sizes, volume.patch, strict=True)
    )
    fill = array.min() if any(low) or sizes != list(array.shape) else np.float32(0)
    weight = _gaussian(volume.patch)
    # The last channel of the sums is that of the weights.
    kept = _kept(layers, depth)
    carried = np.zeros((channels + 1, kept, *sizes[1:]), np.float32)
    band = np.zeros((channels + 1, depth, rows, sizes[2]), np.float32)
    known = 0  # slices of this layer that earlier layers have added to
    for z, next_z in pairwise([*layers, sizes[0]]):
        whole = depth if next_z == sizes[0] else next_z - z  # slices that no later layer adds to
        stay = 0  # rows of this band that earlier bands have added to
        for y, next_y in pairwise([*bands, sizes[1]]):
            band[:, :, :stay] = band[:, :, rows - stay :].copy()
            band[:, :, stay:] = 0
            band[:, :known, stay:] = carried[:, :known, y + stay : y + rows]
            for x in corners:
                window = _window(array, (z - low[0], y - low[1], x - low[2]), volume.patch, fill)
                band[:-1, ..., x : x + columns] += predict(window[None, None])[0] * weight
                band[-1, ..., x : x + columns] += weight
            done = rows if next_y == sizes[1] else next_y - y
            carried[:, : depth - whole, y : y + done] = band[:, whole:, :done]
            yield from _means(band[:, :whole, :done], (z - low[0], y - low[1], -low[2]), array)
            stay = rows - done
        known = depth - whole


def held_bytes(shape: Shape, volume: Volume, channels: int) -> int:
    """What `blocks` holds besides the volume, its network left out (WIN-2)."""
    slices, height, width = (max(n, p) for n, p in zip(shape, volume.patch, strict=True))
    depth, rows, _ = volume.patch
    kept = _kept(_starts(slices, depth, volume.overlap), depth)
    pieces = 3 * min(_PIECE, channels * slices * height * width)
    return 4 * ((channels + 1) * width * (kept * height + 2 * depth * rows) + pieces)


def _kept(layers: Sequence[int], depth: int) -> int:
    """Slices that one layer of windows hands on to the next, at most."""
    return max((z + depth - following for z, following in pairwise(layers)), default=0)


def _means(sums: Array, corner: Shape, array: Array) -> Iterator[tuple[Where, Array]]:
    """Sums over weights, within the array, in pieces."""
    spans = [
        (max(0, -at), min(n, size - at))
        for at, n, size in zip(corner, sums.shape[1:], array.shape, strict=True)
    ]
    (begin, end), rows, columns = spans
    several = max(1, _PIECE // (len(sums) * (rows[1] - rows[0]) * (columns[1] - columns[0])))
    for first in range(begin, end, several):
        last = min(first + several, end)
        piece = sums[:, first:last, slice(*rows), slice(*columns)]
        z, y, x = (
            slice(at + start, at + stop)
            for at, (start, stop) in zip(corner, ((first, last), rows, columns), strict=True)
        )
        yield (z, y, x), piece[:-1] / piece[-1]


def _window(array: Array, corner: Shape, patch: Shape, fill: np.float32) -> Array:
    """A copy of one patch; outside the array it is `fill`."""
    window = np.full(patch, fill, array.dtype)
    inner = tuple(
        slice(max(0, -at), min(p, n - at))
        for at, p, n in zip(corner, patch, array.shape, strict=True)
    )
    outer = tuple(slice(at + s.start, at + s.stop) for at, s in zip(corner, inner, strict=True))
    window[inner] = array[outer]
    return window


def _starts(size: int, patch: int, overlap: float) -> Sequence[int]:
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
