"""Which voxels of a head are its face: from a volume in patient coordinates, without any I/O.

The work is done on a grid of about 2 mm; the answer is given on the grid of the volume.

Rules:

- FCM-1  The head is what is brighter than air (CT: above -300 HU; MR: above a share of the range
         between its percentiles), opened, its largest piece, closed, its holes filled.
- FCM-2  Levels are told by the length of the skull from front to back, so that a child's head is
         measured like an adult's: the forehead begins `_FOREHEAD` of it below the vertex, the face
         `_BROW`, and it ends `_CHIN` below. A head that the volume cuts off above has its face from
         the top.
- FCM-3  Of these levels all goes that lies in the front `_FRONT` of the skull's length and no
         deeper below the head's surface than `DEPTH_MM`, in the forehead `SHALLOW_MM` (behind it is
         brain; in a tilted head, the bridge of the nose). The air before it goes too, since the
         edge of its noise would draw the face.
- FCM-4  Nothing goes within `MARGIN_MM` of what is to be kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

DEPTH_MM: Final = 20.0
"""Depth below the surface of the head that is taken away."""
SHALLOW_MM: Final = 10.0
MARGIN_MM: Final = 5.0
"""Around what a reader segmented."""
_GRID_MM: Final = 2.0
_HU: Final = -300.0
_SHARE: Final = 0.15
"""Of the range of an MR's values, from air to bright tissue."""
_OPEN_MM: Final = 3.0
_CLOSE_MM: Final = 6.0
_VAULT_MM: Final = 100.0
"""From the top of the head, where its length is measured."""
_FOREHEAD: Final = 0.33
_BROW: Final = 0.45
_CHIN: Final = 1.35
_FRONT: Final = 0.4
_CUT_OFF: Final = 0.6
"""Share of the largest level's area that the topmost has where the volume cuts the head off."""
_LEVEL_MM: Final = 4.0

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Voxel (i, j, k) lies at `origin + i·steps[0] + j·steps[1] + k·steps[2]` (LPS, mm)."""

    origin: Floats
    steps: Floats
    """A row for each axis."""

    def spacing(self) -> list[float]:
        """Distance of neighbors along each axis, mm."""
        return [float(size) for size in np.linalg.norm(self.steps, axis=1)]

    def along(self, shape: tuple[int, ...], axis: int) -> Floats:
        """One patient coordinate of every voxel."""
        i, j, k = (np.arange(size) for size in shape)
        a, b, c = self.steps[:, axis]
        found: Floats = (
            self.origin[axis] + a * i[:, None, None] + b * j[None, :, None] + c * k[None, None, :]
        )
        return found


def face(values: NDArray[Any], grid: Grid, *, ct: bool, kept: Mask) -> Mask:
    """The voxels that are taken away; none where no head or no face is found.

    Args:
        values: of the volume; HU for CT.
        grid: where they lie.
        ct: whether the values are HU.
        kept: what a reader segmented (FCM-4).
    """
    blocks = [max(1, int(_GRID_MM / size)) for size in grid.spacing()]
    coarse = _means(values, blocks)
    steps = grid.steps * np.array(blocks)[:, None]
    within = Grid(grid.origin + (steps - grid.steps).sum(axis=0) / 2, steps)
    found = _face(coarse, within, ct=ct)
    if kept.any():
        near = MARGIN_MM + float(np.linalg.norm(within.spacing()))
        found &= _outer(_means(kept, blocks) > 0, within) > near
    for axis, size in enumerate(blocks):
        found = found.repeat(size, axis=axis)
    depth, rows, columns = values.shape
    return found[:depth, :rows, :columns] & ~kept


def _face(values: NDArray[np.float32], grid: Grid, *, ct: bool) -> Mask:
    head = _head(values, grid, ct=ct)
    if not head.any():
        return head
    front, up = -grid.along(head.shape, 1), grid.along(head.shape, 2)
    heights = up[head]
    top = float(heights.max())
    levels = np.bincount(((top - heights) / _LEVEL_MM).astype(int))
    # two levels: slices may be thicker than one of them
    cut_off = levels[:2].max() > _CUT_OFF * levels.max()
    vault = front[head & (up > top - _VAULT_MM)]
    foremost, length = float(vault.max()), float(np.ptp(vault))
    brow, forehead = (np.inf if cut_off else top - share * length for share in (_BROW, _FOREHEAD))
    part: Mask = (
        (up < forehead) & (up > top - _CHIN * length) & (front > foremost - _FRONT * length)
    )
    if not (part & head).any():
        return part & head
    return part & (_inner(head, grid) <= np.where(up < brow, DEPTH_MM, SHALLOW_MM))


def _head(values: NDArray[np.float32], grid: Grid, *, ct: bool) -> Mask:
    """FCM-1."""
    bright = values > (_HU if ct else _between(values))
    core = _inner(bright, grid) > _OPEN_MM
    pieces, count = ndimage.label(core)
    if not count:
        return np.zeros_like(core)
    largest = pieces == 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    reach = _OPEN_MM + max(grid.spacing())
    head: Mask = bright & (_outer(largest, grid) <= reach)
    wide = _outer(head, grid) <= _CLOSE_MM
    head |= _inner(wide, grid) > _CLOSE_MM
    head = ndimage.binary_fill_holes(head)
    for axis in range(3):
        planes = np.moveaxis(head, axis, 0)
        for plane in planes:
            plane[...] = ndimage.binary_fill_holes(plane)
    return head


def _between(values: NDArray[np.float32]) -> float:
    low, mean = float(np.percentile(values, 1)), float(values.mean())
    bright = values[values > mean]
    high = float(np.percentile(bright, 90)) if bright.size else low
    return low + _SHARE * (high - low)


def _inner(mask: Mask, grid: Grid) -> NDArray[np.float64]:
    """Distance of what is in the mask to what is not, mm; the volume's edge is no surface."""
    if mask.all():
        return np.full(mask.shape, np.inf)
    found: NDArray[np.float64] = ndimage.distance_transform_edt(mask, sampling=grid.spacing())
    return found


def _outer(mask: Mask, grid: Grid) -> NDArray[np.float64]:
    """Distance of what is not in the mask to what is, mm."""
    return _inner(~mask, grid)


def _means(values: NDArray[Any], blocks: list[int]) -> NDArray[np.float32]:
    """Means over blocks; the last ones of an axis may be smaller."""
    for axis, size in enumerate(blocks):
        starts = np.arange(0, values.shape[axis], size)
        counts = np.diff([*starts, values.shape[axis]]).astype(np.float32)
        shape = [1, 1, 1]
        shape[axis] = -1
        sums = np.add.reduceat(values, starts, axis=axis, dtype=np.float32)
        values = sums / counts.reshape(shape)
    return values.astype(np.float32)
