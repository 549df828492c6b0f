"""How the planes of a series lie to each other: a volume, or what keeps them from being one.

Pure: what is found depends on the set of planes, not on their order. Lengths are mm in LPS.

Rules:

- STK-1  Planes are one stack if their direction cosines and pixel spacings are alike within 0.001.
- STK-2  Positions closer than 0.001 mm along the normal are one place, held by several planes.
- STK-3  Steps between places are even within 1 % of their median + 0.01 mm. Where they are not: if
         every step is a whole multiple of the median, and no more than a quarter of them (or one)
         is more than one, slices are missing there; else the spacing is uneven.
- STK-4  Planes that move within their own plane by more than that from one to the next are tilted:
         a gantry's tilt is the angle between the normal and the line through the places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.frames import Plane

FEWEST = 3
"""Slices of a volume."""
ALIKE = 1e-3
"""Highest difference of direction cosines, of pixel spacings (mm), and within one place (mm)."""
Array = NDArray[np.float64]


class Fit(StrEnum):
    """What ingestion decided about an image series: the column `geometry` of `series.parquet`."""

    VOLUME = "volume"
    RESAMPLE = "resample"
    """Its instances are no even volume, and whoever reads it resamples it."""
    FLAGGED = "flagged"
    """It is no volume, and takes no part after ingestion."""


def fit_of(row: Mapping[str, Any]) -> Fit:
    """Of a row of `series.parquet`; before there was the column, all were volumes."""
    return Fit(row.get("geometry") or Fit.VOLUME)


@dataclass(frozen=True)
class Stack:
    """Parallel planes, sorted along their normal."""

    places: tuple[tuple[int, ...], ...]
    """Indices of the planes at each place, in the order of the places."""
    positions: Array
    """(places, 3) of the first plane at each."""
    depths: Array
    """(places,) along the normal."""
    normal: Array
    along_column: Array
    """Direction in which the row index grows."""
    along_row: Array
    spacing: tuple[float, float]
    """Between rows, between columns."""
    missing: tuple[tuple[int, int], ...]
    """(index of the place before a gap, how many slices are missing there)."""
    uneven: bool
    tilted: bool

    @property
    def steps(self) -> Array:
        """(places - 1,) from one place to the next."""
        return np.diff(self.depths)

    @property
    def doubles(self) -> int:
        """Planes beyond the first at their place."""
        return sum(len(place) - 1 for place in self.places)

    @property
    def tilt_deg(self) -> float:
        """Angle between the normal and the line from the first place to the last, degrees."""
        line = self.positions[-1] - self.positions[0]
        depth = float(line @ self.normal)
        aside = float(np.linalg.norm(line - depth * self.normal))
        return math.degrees(math.atan2(aside, depth))

    @property
    def is_volume(self) -> bool:
        """Whether the planes are evenly spaced along their normal, one at each place."""
        found = self.doubles, self.missing, self.uneven, self.tilted
        return len(self.places) >= FEWEST and not any(found)


def are_alike(planes: Sequence[Plane]) -> bool:
    """Whether planes are parallel, turned alike and of one pixel spacing (STK-1)."""
    orientations = np.array([plane.orientation for plane in planes])
    spacings = np.array([plane.spacing for plane in planes])
    return bool(
        np.ptp(orientations, axis=0).max() <= ALIKE and np.ptp(spacings, axis=0).max() <= ALIKE
    )


def arrange(planes: Sequence[Plane]) -> Stack | None:
    """Sort planes that are alike along their normal (STK-2 to STK-4).

    Returns:
        None where the orientation is not two perpendicular unit vectors.
    """
    # The first in an order of their own, so that no other order decides a last bit.
    first = min(planes)
    along_row, along_column = np.array(first.orientation, np.float64).reshape(2, 3)
    lengths = [along_row @ along_row, along_column @ along_column, along_row @ along_column]
    if not np.allclose(lengths, [1, 1, 0], atol=ALIKE):
        return None
    normal = np.cross(along_row, along_column)
    normal /= np.linalg.norm(normal)
    positions = np.array([plane.position for plane in planes], np.float64)
    depths = positions @ normal
    order = sorted(range(len(planes)), key=lambda index: (depths[index], planes[index], index))
    places: list[list[int]] = []
    for index in order:
        if places and depths[index] - depths[places[-1][-1]] <= ALIKE:
            places[-1].append(index)
        else:
            places.append([index])
    firsts = [place[0] for place in places]
    missing, uneven, tilted = _faults(positions[firsts], normal)
    return Stack(
        places=tuple(map(tuple, places)),
        positions=positions[firsts],
        depths=depths[firsts],
        normal=normal,
        along_column=along_column,
        along_row=along_row,
        spacing=(first.spacing[0], first.spacing[1]),
        missing=missing,
        uneven=uneven,
        tilted=tilted,
    )


def _faults(positions: Array, normal: Array) -> tuple[tuple[tuple[int, int], ...], bool, bool]:
    """Missing slices, whether unevenly spaced, whether tilted."""
    steps = np.diff(positions, axis=0)
    depth = steps @ normal
    if not len(depth):
        return (), False, False
    tolerance = 0.01 * float(np.median(depth)) + 0.01
    aside = np.linalg.norm(steps - np.outer(depth, normal), axis=1)
    tilted = bool(aside.max() > tolerance)
    if np.abs(depth - np.median(depth)).max() <= tolerance:
        return (), False, tilted
    step = float(np.sort(depth)[(len(depth) - 1) // 2])
    multiples = np.maximum(np.round(depth / step), 1)
    wide = np.flatnonzero(multiples > 1)
    off = np.abs(depth - multiples * step) > (0.01 * step + 0.01) * multiples
    if off.any() or len(wide) > max(1, len(depth) // 4):
        return (), True, tilted
    return tuple((int(at), int(multiples[at]) - 1) for at in wide), False, tilted
