"""From frames that are no even volume to an orthogonal, evenly spaced grid, and back.

Rules:

- GRD-1  Values are linear along the normal between the two nearest frames, and linear within a
         frame where a tilted gantry moved it: a shear. A voxel that lies on a frame's voxel keeps
         its value; one that no frame covers gets the lowest value of the series.
- GRD-2  Slices are no farther apart than the two nearest frames, so that each frame has a slice of
         its own: a label map of the frames comes back from the grid as it was.
- GRD-3  The grid covers every voxel of every frame, and stays within `_GROWTH` times their number.
- GRD-4  Bits do not depend on the instruction set: elementwise arithmetic in double precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.stack import Array, Stack

_GROWTH = 4
_LIMIT = 20_000
"""Slices of a grid."""
_TOUCH = 1e-3
"""Share of a voxel within which a point lies on it."""
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Regrid:
    """A grid around frames; rows and columns of both are of one size."""

    shape: tuple[int, int, int]
    """(slices, rows, columns) of the grid."""
    step_mm: float
    origin_mm: Array
    """Center of the grid's first voxel (LPS)."""
    depths: Array
    """(frames,) along the normal from the grid's first slice, mm."""
    shifts: Array
    """(frames, 2): row and column of the grid on which a frame's first voxel lies, fractions
    included."""
    frame: tuple[int, int]
    """Rows and columns of a frame."""

    def values(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample values (GRD-1): (frames, rows, columns) → (slices, rows, columns)."""
        fill = float(frames.min())
        result = np.empty(self.shape, np.float32)
        held: dict[int, tuple[Array, NDArray[np.bool_]]] = {}
        for index in range(self.shape[0]):
            depth = min(index * self.step_mm, float(self.depths[-1]))
            upper = min(int(np.searchsorted(self.depths, depth, "left")), len(self.depths) - 1)
            lower = max(upper - 1, 0)
            held = {k: held.get(k) or self._spread(frames[k], k) for k in (lower, upper)}
            gap = float(self.depths[upper] - self.depths[lower])
            share = (depth - float(self.depths[lower])) / gap if gap else 1.0
            share = 1.0 if share > 1 - _TOUCH else 0.0 if share < _TOUCH else share
            (below, has_below), (above, has_above) = held[lower], held[upper]
            result[index] = _blend(below, has_below, above, has_above, share=share, fill=fill)
        return result

    def labels(self, frames: NDArray[T]) -> NDArray[T]:
        """Carry labels to the grid, each slice from its nearest frame (GRD-2)."""
        result = np.zeros(self.shape, frames.dtype)
        for index, frame in enumerate(self._nearest()):
            rows, columns = self._window(frame)
            result[index, rows, columns] = frames[frame]
        return result

    def to_frames(self, grid: NDArray[T]) -> NDArray[T]:
        """Carry labels of the grid to the frames: (slices, rows, columns) → (frames, …)."""
        result = np.zeros((len(self.depths), *self.frame), grid.dtype)
        for frame, index in enumerate(_own_slices(self.depths, self.step_mm)):
            rows, columns = self._window(frame)
            result[frame] = grid[index, rows, columns]
        return result

    def _spread(self, plane: NDArray[np.float32], frame: int) -> tuple[Array, NDArray[np.bool_]]:
        """A frame on the grid's rows and columns, and which of them it covers."""
        down, across = self.shifts[frame]
        rows, has_rows = _along(plane.astype(np.float64), float(down), self.shape[1])
        both, has_columns = _along(np.ascontiguousarray(rows.T), float(across), self.shape[2])
        return np.ascontiguousarray(both.T), has_rows[:, None] & has_columns[None, :]

    def _nearest(self) -> list[int]:
        """For each slice its frame: the one whose own it is, else the nearest."""
        own = {index: frame for frame, index in enumerate(_own_slices(self.depths, self.step_mm))}
        return [
            own.get(index, int(np.abs(self.depths - index * self.step_mm).argmin()))
            for index in range(self.shape[0])
        ]

    def _window(self, frame: int) -> tuple[slice, slice]:
        down, across = (math.floor(float(shift) + 0.5) for shift in self.shifts[frame])
        return slice(down, down + self.frame[0]), slice(across, across + self.frame[1])


def regrid_of(stack: Stack, rows: int, columns: int) -> Regrid | None:
    """Lay a grid around the frames of a stack, one at each place.

    Returns:
        None where it would be too large (GRD-3), or the stack has no two places.
    """
    if len(stack.depths) < 2:
        return None
    depths = stack.depths - stack.depths[0]
    closest = float(stack.steps.min())
    slices = math.ceil(float(depths[-1]) / closest - 1e-6) + 1
    if slices > min(_GROWTH * len(depths), _LIMIT):
        return None
    step = float(depths[-1]) / (slices - 1)
    while len(set(_own_slices(depths, step))) < len(depths):
        slices += 1
        step = float(depths[-1]) / (slices - 1)
    inward = np.stack([stack.positions @ stack.along_column, stack.positions @ stack.along_row], 1)
    corner = inward.min(axis=0) if stack.tilted else inward[0]
    shifts = (inward - corner) / np.array(stack.spacing) if stack.tilted else np.zeros_like(inward)
    shifts = np.where(np.abs(shifts - np.round(shifts)) < _TOUCH, np.round(shifts), shifts)
    height, width = (
        size + math.ceil(float(most))
        for size, most in zip((rows, columns), shifts.max(axis=0), strict=True)
    )
    if height * width > _GROWTH * rows * columns:
        return None
    aside = corner[0] * stack.along_column + corner[1] * stack.along_row
    return Regrid(
        shape=(slices, height, width),
        step_mm=step,
        origin_mm=stack.depths[0] * stack.normal + aside,
        depths=depths,
        shifts=shifts,
        frame=(rows, columns),
    )


def _own_slices(depths: Array, step: float) -> list[int]:
    """For each frame the slice nearest to it."""
    return [math.floor(float(depth) / step + 0.5) for depth in depths]


def _along(array: Array, shift: float, size: int) -> tuple[Array, NDArray[np.bool_]]:
    """Move an array along its first axis, linearly; and which places of the result it covers."""
    at = np.arange(size) - shift
    covered = (at > -_TOUCH) & (at < len(array) - 1 + _TOUCH)
    whole = np.clip(np.floor(at + _TOUCH).astype(np.int64), 0, len(array) - 1)
    share = at - whole
    share = np.where(np.abs(share) < _TOUCH, 0.0, np.clip(share, 0, 1))[:, None]
    after = np.minimum(whole + 1, len(array) - 1)
    moved: Array = array[whole] * (1 - share) + array[after] * share
    return moved, covered


def _blend(
    below: Array, has_below: NDArray[np.bool_], above: Array, has_above: NDArray[np.bool_],
    *, share: float, fill: float,
) -> Array:  # fmt: skip
    """Values between two frames; of one alone where the other does not reach."""
    both: Array = below * (1 - share) + above * share
    one = np.where(has_above, above, below)
    return np.where(has_below & has_above, both, np.where(has_below | has_above, one, fill))
