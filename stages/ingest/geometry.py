"""Whether the slices of a series are one volume, from their headers alone.

The same limits as `stages/series.py` (SER-2), so that what is kept can be read downstream; here
each refusal has its own reason, and no pixels are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stages.ingest.quarantine import Reason

_FEWEST: Final = 3
_DIRECTION: Final = 1e-3
"""Highest difference of direction cosines, and of pixel spacings (mm)."""
_ALIKE: Final = ("Rows", "Columns", "FrameOfReferenceUID", "Modality", "PhotometricInterpretation")
KEYWORDS: Final = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "NumberOfFrames",
    "SamplesPerPixel",
    *_ALIKE,
)
"""What a slice's place is read from."""


@dataclass(frozen=True)
class Slice:
    """Where one slice lies (LPS, mm)."""

    position: tuple[float, ...]
    """Center of the first voxel (x, y, z)."""
    orientation: tuple[float, ...]
    """Direction cosines of a row, then of a column."""
    spacing: tuple[float, ...]
    """Between rows, between columns."""
    grid: tuple[str, ...]
    """What must be alike in a series: see `_ALIKE`."""


def slice_of(facts: Mapping[str, Any]) -> Slice | None:
    """A slice's place, by keyword (see `KEYWORDS`); None if it is missing or malformed."""
    try:
        place = Slice(
            tuple(float(value) for value in facts["ImagePositionPatient"]),
            tuple(float(value) for value in facts["ImageOrientationPatient"]),
            tuple(float(value) for value in facts["PixelSpacing"]),
            tuple(str(facts[keyword] or "") for keyword in _ALIKE),
        )
        single = int(facts["NumberOfFrames"] or 1) == 1 and facts["SamplesPerPixel"] == 1
    except Exception:  # noqa: BLE001 - any fault of the parser: the slice has no place
        return None
    numbers = (*place.position, *place.orientation, *place.spacing)
    if not single or not facts["FrameOfReferenceUID"] or not np.isfinite(numbers).all():
        return None
    sizes = len(place.position), len(place.orientation), len(place.spacing)
    return place if sizes == (3, 6, 2) and min(place.spacing) > 0 else None


def judge(slices: Sequence[Slice | None]) -> Reason | None:
    """Why a series is no volume; None if it is one."""
    places = [place for place in slices if place is not None]
    if len(slices) < _FEWEST:
        return Reason.FEW_SLICES
    if len(places) < len(slices):
        return Reason.NO_GEOMETRY
    orientations = np.array([place.orientation for place in places])
    spacings = np.array([place.spacing for place in places])
    if (
        len({place.grid for place in places}) > 1
        or np.ptp(orientations, axis=0).max() > _DIRECTION
        or np.ptp(spacings, axis=0).max() > _DIRECTION
    ):
        return Reason.MIXED
    along_row, along_column = np.median(orientations, axis=0).reshape(2, 3)
    lengths = [along_row @ along_row, along_column @ along_column, along_row @ along_column]
    if not np.allclose(lengths, [1, 1, 0], atol=_DIRECTION):
        return Reason.NO_GEOMETRY
    normal = np.cross(along_row, along_column)
    return _spacing(np.array([place.position for place in places]), normal / np.linalg.norm(normal))


def _spacing(positions: np.ndarray, normal: np.ndarray) -> Reason | None:
    steps = np.diff(positions[np.argsort(positions @ normal, kind="stable")], axis=0)
    depth = steps @ normal
    tolerance = 0.01 * float(np.median(depth)) + 0.01
    if depth.min() <= _DIRECTION:
        return Reason.DOUBLE_SLICE
    if np.abs(depth - np.median(depth)).max() > tolerance:
        return Reason.UNEVEN
    if np.linalg.norm(steps - np.outer(depth, normal), axis=1).max() > tolerance:
        return Reason.TILTED
    return None
