"""The frames of a series' instances: gathered, arranged, and checked to be one volume.

Rules: SER-1 to SER-5 (`series.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from audit.errors import Unreadable
from stages.frames import Plane, Rescale, is_enhanced, planes_of, rescales_of
from stages.regrid import Regrid, regrid_of
from stages.stack import ALIKE, FEWEST, Stack, are_alike, arrange

_REMEDY = "Export the series again, complete and evenly spaced, or leave it out."


@dataclass(frozen=True)
class Frame:
    """One frame of one instance."""

    instance: Dataset
    number: int
    plane: Plane
    rescale: Rescale


def frames_of(instances: Sequence[Dataset]) -> list[Frame]:
    """Every frame of every instance, in an order that no file's name decides."""
    if any(instance.SamplesPerPixel != 1 for instance in instances):
        raise refusal("holds color instances")
    enhanced = [is_enhanced(instance.get) for instance in instances]
    if any(enhanced) and len(instances) > 1:
        raise refusal("holds several instances, of which one is multi-frame")
    found = []
    for instance in sorted(instances, key=lambda one: str(one.SOPInstanceUID)):
        planes, rescales = planes_of(instance.get), rescales_of(instance.get)
        if len(planes) != int(instance.get("NumberOfFrames") or 1):
            raise refusal("holds multi-frame instances that do not say where each frame lies")
        found += [
            Frame(instance, number, plane, rescale)
            for number, (plane, rescale) in enumerate(zip(planes, rescales, strict=True))
        ]
    return found


def stack_of(frames: Sequence[Frame]) -> Stack:
    planes = [frame.plane for frame in frames]
    if not are_alike(planes):
        raise refusal("mixes orientations or pixel spacings")
    stack = arrange(planes)
    if stack is None:
        raise refusal("has an orientation that is not two perpendicular unit vectors")
    return stack


def grid_of(stack: Stack, frames: Sequence[Frame], *, resample: bool) -> Regrid | None:
    """The grid to resample to; None if the frames are its slices (SER-2, SER-4)."""
    if stack.doubles:
        same = resample and all(
            _same(frames[place[0]], frames[other]) for place in stack.places for other in place[1:]
        )
        if not same:
            raise refusal("holds two slices at one position")
    if stack.missing:
        raise refusal("is unevenly spaced: a slice is missing or misplaced")
    if not resample:
        if stack.uneven:
            raise refusal("is unevenly spaced: a slice is missing or misplaced")
        if stack.tilted:
            raise refusal("has slices shifted in their plane (a tilted gantry)")
    if len(stack.places) < FEWEST:
        raise refusal(f"has {len(stack.places)} slices; a volume needs three")
    if not (stack.uneven or stack.tilted):
        return None
    first = frames[0].instance
    regrid = regrid_of(stack, int(first.Rows), int(first.Columns))
    if regrid is None:
        raise refusal("is too uneven or too tilted to be resampled")
    return regrid


def _same(one: Frame, other: Frame) -> bool:
    """Whether two frames at one place are one image."""
    aside = np.abs(np.subtract(one.plane.position, other.plane.position)).max()
    alike = aside <= ALIKE and one.rescale == other.rescale
    return bool(alike and np.array_equal(_stored(one), _stored(other)))


def voxels_of(frames: Sequence[Frame]) -> NDArray[np.float32]:
    """(frames, rows, columns) in rescaled units (SER-5)."""
    result: NDArray[np.float32] = np.stack(
        [
            (_stored(frame) * frame.rescale.slope + frame.rescale.intercept).astype(np.float32)
            for frame in frames
        ]
    )
    return result


def _stored(frame: Frame) -> NDArray[Any]:
    """The stored values of a frame; pydicom keeps an instance's decoded frames."""
    array: NDArray[Any] = frame.instance.pixel_array
    return array if array.ndim == 2 else array[frame.number]


def refusal(what: str) -> Unreadable:
    return Unreadable(f"The series {what}.", _REMEDY)
