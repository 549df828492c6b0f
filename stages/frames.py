"""Where an instance's frames lie, and how their stored values are rescaled, by its header.

A classic instance says it once, for its one frame; an enhanced one (PS3.3 Section C.7.6.16) in
functional groups, each frame's own before the shared ones. Which it is, its SOP class says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Get = Callable[[str], Any]
"""Keyword → value of the top level; None if it is absent."""

PER_FRAME = "PerFrameFunctionalGroupsSequence"
SHARED = "SharedFunctionalGroupsSequence"
_ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1")
"""Enhanced CT and Enhanced MR Image Storage."""


class Plane(NamedTuple):
    """The plane of one frame (LPS, mm)."""

    position: tuple[float, ...]
    """Center of the first voxel (x, y, z)."""
    orientation: tuple[float, ...]
    """Direction cosines of a row, then of a column."""
    spacing: tuple[float, ...]
    """Between rows, between columns."""


class Rescale(NamedTuple):
    """Stored value · slope + intercept is the value in rescaled units."""

    slope: float = 1.0
    intercept: float = 0.0


def is_enhanced(get: Get) -> bool:
    """Whether an instance's frames are described in functional groups."""
    return str(get("SOPClassUID")) in _ENHANCED


def planes_of(get: Get) -> list[Plane]:
    """The plane of each frame, in the order of the frames.

    Raises:
        Exception: of whatever kind, where one is missing or malformed.
    """
    if not is_enhanced(get):
        said = get("ImagePositionPatient"), get("ImageOrientationPatient"), get("PixelSpacing")
        return [Plane(*(_numbers(value) for value in said))]
    groups = (
        ("PlanePositionSequence", "ImagePositionPatient"),
        ("PlaneOrientationSequence", "ImageOrientationPatient"),
        ("PixelMeasuresSequence", "PixelSpacing"),
    )
    return [
        Plane(*(_numbers(_of(frame, get, group, keyword)) for group, keyword in groups))
        for frame in get(PER_FRAME) or ()
    ]


def rescales_of(get: Get) -> list[Rescale]:
    """The rescale of each frame, in the order of the frames; slope 1 where none is stated."""
    whole = _rescale(get("RescaleSlope"), get("RescaleIntercept"))
    if not is_enhanced(get):
        return [whole]
    group = "PixelValueTransformationSequence"
    found = []
    for frame in get(PER_FRAME) or ():
        said = [_of(frame, get, group, f"Rescale{name}") for name in ("Slope", "Intercept")]
        found.append(whole if said == [None, None] else _rescale(*said))
    return found


def in_groups(get: Get, group: str, keyword: str) -> list[Any]:
    """An attribute of a functional group for each frame; None where a frame has none."""
    return [_of(frame, get, group, keyword) for frame in get(PER_FRAME) or ()]


def _of(frame: Any, get: Get, group: str, keyword: str) -> Any:
    shared = get(SHARED) or ()
    for holder in (frame, *shared[:1]):
        items = holder.get(group)
        if items:
            return items[0].get(keyword)
    return None


def _rescale(slope: Any, intercept: Any) -> Rescale:
    return Rescale(float(slope or 1), float(intercept or 0))


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(float(number) for number in value)
