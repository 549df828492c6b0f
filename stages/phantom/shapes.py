"""Solid shapes by integer arithmetic: each is a field of depths.

A **depth** is the distance in µm from a voxel's center to the shape's surface, positive inside;
exact on the surface and about right near it. Union is the maximum of two depths, intersection
the minimum, and a reader's line that lies 0.5 mm outside is the depth plus 500.

Axis order is (slices, rows, columns); x grows to the columns (patient's left), y to the rows
(posterior), z with the slices (head); all in µm from the volume's center.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.phantom.chance import Chance, Integers

_ONE = 4096
"""Fixed-point one of relative radii."""
_FAR_UM = 10**9
"""A half-axis so long that the shape is a cylinder."""


@dataclass(frozen=True)
class Space:
    """The voxels' centers of one volume.

    Args:
        shape: voxels (slices, rows, columns).
        spacing_um: distances of neighbors (slices, rows, columns), µm; even numbers.
    """

    shape: tuple[int, int, int]
    spacing_um: tuple[int, int, int]

    def axis(self, index: int) -> Integers:
        """Coordinates in µm along one axis, shaped to broadcast over the volume."""
        count, step = self.shape[index], self.spacing_um[index]
        line = (2 * np.arange(count, dtype=np.int64) - (count - 1)) * (step // 2)
        return line.reshape(tuple(count if axis == index else 1 for axis in range(3)))


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid, or an elliptic cylinder along z where its third half-axis is None.

    Args:
        center_um: (x, y, z).
        radii_um: half-axes (a, b, c).
        turn: (m, n) turns it in the x-y plane by 2·atan(n/m): a rational rotation, exact.
    """

    center_um: tuple[int, int, int]
    radii_um: tuple[int, int, int | None]
    turn: tuple[int, int] = (1, 0)

    def depth(self, space: Space) -> Integers:
        """Depth of every voxel, µm."""
        x, y, z = (space.axis(2 - axis) - self.center_um[axis] for axis in range(3))
        m, n = self.turn
        cosine, sine, norm = m * m - n * n, 2 * m * n, m * m + n * n
        along = (x * cosine + y * sine) // norm
        across = (y * cosine - x * sine) // norm
        a, b, c = (radius or _FAR_UM for radius in self.radii_um)
        square = (along * _ONE // a) ** 2 + (across * _ONE // b) ** 2 + (z * _ONE // c) ** 2
        depth = (_ONE - root(square)) * min(a, b, c) // _ONE
        return np.broadcast_to(depth, space.shape)


def root(square: NDArray[np.int64]) -> Integers:
    """Integer square root of values below 2**52 (IEEE 754 rounds `sqrt` alike everywhere)."""
    return np.sqrt(square.astype(np.float64)).astype(np.int64)


def ripple(space: Space, chance: Chance, cell_um: int) -> Integers:
    """A smooth random field: bell-shaped integers on a lattice, interpolated between.

    Args:
        space: where to evaluate it.
        chance: the lattice's values.
        cell_um: distance of the lattice's points, µm.

    Returns:
        Values around 0 with an SD of about 0.55 `BELL_SD`.
    """
    lines = [space.axis(axis).ravel() for axis in range(3)]
    counts = [int((line[-1] - line[0]) // cell_um) + 2 for line in lines]
    field = chance.bell((counts[0], counts[1], counts[2]))
    for axis, line in enumerate(lines):
        place = line - line[0]
        index, share = place // cell_um, (place % cell_um) * 256 // cell_um
        weight = share.reshape(tuple(-1 if other == axis else 1 for other in range(3)))
        below, above = np.take(field, index, axis), np.take(field, index + 1, axis)
        field = (below * (256 - weight) + above * weight) // 256
    return field
