"""Voxels of any kind as signed 16-bit integers with a rescale.

Rules:

- NII-2  Values that are integers within a range of 65,536 come back exactly; so do integers with a
         slope, to the 10 digits that a DICOM decimal holds. Others are spread evenly over the
         range: the error is half a step. What is not a number refuses the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.valuerep import format_number_as_ds

from audit.errors import Unreadable
from stages.ingest.nifti_box import REMEDY, Volume

_LOW: Final = -32768
_SPAN: Final = 65535
_EXACT: Final = 2.0**53
"""Below it a double holds every integer."""


@dataclass(frozen=True)
class Stored:
    """Stored · slope + intercept is the value."""

    slope: str
    """As DICOM writes it."""
    intercept: str
    volume: Volume = field(repr=False)
    offset: int | None
    """What the stored value lacks of the source's integer; None where values were spread."""

    def plane(self, index: int) -> NDArray[np.int16]:
        """Slice k of the source: (j, i)."""
        raw = self.volume.voxels[index]
        if self.offset is not None:
            whole: NDArray[np.int64] = raw.astype(np.int64) - self.offset
            return whole.astype(np.int16)
        spread = (_values(self.volume, index) - float(self.intercept)) / float(self.slope)
        rounded: NDArray[np.float64] = np.clip(np.rint(spread), _LOW, _LOW + _SPAN)
        return rounded.astype(np.int16)


def stored_of(volume: Volume) -> Stored:
    """Choose the rescale of a volume (NII-2).

    Raises:
        Unreadable: a value is not a finite number.
    """
    planes = range(len(volume.voxels))
    raw = [_range(volume.voxels[index]) for index in planes]
    low, high = min(one[0] for one in raw), max(one[1] for one in raw)
    plain = (volume.slope, volume.inter) == (1.0, 0.0)
    whole = all(one[2] for one in raw)
    if whole and high - low <= _SPAN and (plain or volume.voxels.dtype.kind != "f"):
        offset = 0 if low >= _LOW and high <= _LOW + _SPAN else int(low) - _LOW
        shifted = volume.inter + volume.slope * offset
        return Stored(_ds(volume.slope), _ds(shifted), volume, offset)
    bottom, top = np.inf, -np.inf
    for index in planes:
        values = _values(volume, index)
        bottom, top = min(bottom, float(values.min())), max(top, float(values.max()))
    if not np.isfinite([bottom, top]).all():
        raise _refusal()
    slope = _ds((top - bottom) / _SPAN * (1 + 1e-9)) if top > bottom else "1"
    return Stored(slope, _ds(bottom - _LOW * float(slope)), volume, None)


def _range(plane: NDArray[Any]) -> tuple[float, float, bool]:
    """Lowest and highest value, and whether all are whole."""
    if plane.dtype.kind != "f":
        return int(plane.min()), int(plane.max()), True
    if not np.isfinite(plane).all():
        raise _refusal()
    low, high = float(plane.min()), float(plane.max())
    whole = max(abs(low), abs(high)) < _EXACT and bool((plane == np.rint(plane)).all())
    return low, high, whole


def _values(volume: Volume, index: int) -> NDArray[np.float64]:
    values: NDArray[np.float64] = volume.voxels[index].astype(np.float64) * volume.slope
    return values + volume.inter


def _ds(value: float) -> str:
    return format_number_as_ds(float(value)).removesuffix(".0")


def _refusal() -> Unreadable:
    return Unreadable("A NIfTI image holds values that are not numbers.", REMEDY)
