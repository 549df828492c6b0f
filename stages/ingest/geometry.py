"""Where an instance's frames lie and what its header says of its pixels: facts, no judgement.

Read from the pseudonymized header alone; no pixel is decoded. What follows: `geometry_policy.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import is_
from typing import Any, Final, NamedTuple, TypeVar

from stages.frames import (
    PER_FRAME,
    SHARED,
    Plane,
    Rescale,
    in_groups,
    is_enhanced,
    planes_of,
    rescales_of,
)
from stages.ingest.values import parts

_ALIKE: Final = ("Rows", "Columns", "FrameOfReferenceUID", "Modality", "PhotometricInterpretation")
KEYWORDS: Final = (
    "SOPClassUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "NumberOfFrames",
    "SamplesPerPixel",
    "ImageType",
    "InstanceNumber",
    "GantryDetectorTilt",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    SHARED,
    PER_FRAME,
    *_ALIKE,
)
"""What a place is read from."""
_COMMON: Final = tuple(
    keyword
    for keyword in KEYWORDS
    if keyword not in ("ImagePositionPatient", "InstanceNumber", SHARED, PER_FRAME)
)
_LOCALIZERS: Final = frozenset(("LOCALIZER", "SCOUT", "TOPOGRAM"))
Numbers = tuple[float, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slice:
    """Where one frame lies (LPS, mm)."""

    position: tuple[float, ...]
    """Center of the first voxel (x, y, z)."""
    orientation: tuple[float, ...]
    """Direction cosines of a row, then of a column."""
    spacing: tuple[float, ...]
    """Between rows, between columns."""
    grid: tuple[str, ...]
    """What must be alike in a series: see `_ALIKE`."""

    @property
    def plane(self) -> Plane:
        """Without the grid."""
        return Plane(self.position, self.orientation, self.spacing)


class Said(NamedTuple):
    """What a header says, alike in most instances of a series."""

    localizer: bool = False
    """Image Type calls it a localizer, scout or topogram."""
    tilt_deg: float | None = None
    """Gantry/Detector Tilt (0018,1120)."""
    signed: bool | None = None
    padding: str = ""
    """Pixel Padding Value (0028,0120), and with a Range Limit (0028,0121) `low..high`."""
    rescales: tuple[Rescale, ...] = ()
    """Of its frames, each once."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance's frames lie, and what it says of them."""

    frames: tuple[Slice, ...]
    """Empty where a place is missing or malformed, or the image is no gray one."""
    said: Said
    number: int | None
    """Instance Number (0020,0013)."""
    multi_frame: bool
    """An enhanced instance: its frames' places stand in functional groups."""


class _Values(tuple[Any, ...]):
    """Values of a header, equal to others if they are the same objects.

    What instances have in common is one object in the facts of all (`raw_memo.py`).
    """

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(tuple(map(id, self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Values) and all(map(is_, self, other))


def place_of(facts: Mapping[str, Any]) -> Place:
    """An instance's place, by keyword (see `KEYWORDS`)."""
    number = _number(facts["InstanceNumber"])
    said, frames = (_several if is_enhanced(facts.__getitem__) else _single)(facts)
    return Place(
        frames, said, None if number is None else int(number), is_enhanced(facts.__getitem__)
    )


def _single(facts: Mapping[str, Any]) -> tuple[Said, tuple[Slice, ...]]:
    """What a classic instance says, and its one frame; none if its place is malformed."""
    said, alike = _common(_Values(facts[keyword] for keyword in _COMMON))
    try:
        position = tuple(float(value) for value in facts["ImagePositionPatient"])
    except Exception:  # noqa: BLE001 - any fault of the parser: the frame has no place
        return said, ()
    if alike is None or len(position) != 3 or not all(map(math.isfinite, position)):
        return said, ()
    return said, (Slice(position, *alike),)


@lru_cache(maxsize=64)
def _common(values: _Values) -> tuple[Said, tuple[Numbers, Numbers, tuple[str, ...]] | None]:
    """What the instances of a series mostly share: orientation, spacing and grid beside it."""
    facts = {**dict(zip(_COMMON, values, strict=True)), "ImagePositionPatient": (0, 0, 0)}
    said, frames = _several({**facts, SHARED: None, PER_FRAME: None})
    alike = [(frame.orientation, frame.spacing, frame.grid) for frame in frames]
    return said, alike[0] if alike else None


def _several(facts: Mapping[str, Any]) -> tuple[Said, tuple[Slice, ...]]:
    """What an instance says, and its frames; none if a place is malformed."""
    try:
        return _said(facts), _frames(facts)
    except Exception:  # noqa: BLE001 - any fault of the parser: the frames have no place
        return _said(facts), ()


def _frames(facts: Mapping[str, Any]) -> tuple[Slice, ...]:
    planes = planes_of(facts.__getitem__)
    grid = tuple(str(facts[keyword] or "") for keyword in _ALIKE)
    if len(planes) != int(facts["NumberOfFrames"] or 1) or facts["SamplesPerPixel"] != 1:
        return ()
    if not facts["FrameOfReferenceUID"] or not all(map(_is_whole, planes)):
        return ()
    return tuple(
        Slice(plane.position, _shared(plane.orientation), _shared(plane.spacing), grid)
        for plane in planes
    )


def _is_whole(plane: Plane) -> bool:
    sizes = tuple(map(len, plane))
    numbers = (*plane.position, *plane.orientation, *plane.spacing)
    return sizes == (3, 6, 2) and all(map(math.isfinite, numbers)) and min(plane.spacing) > 0


def _said(facts: Mapping[str, Any]) -> Said:
    tilts = [facts["GantryDetectorTilt"]]
    try:
        if is_enhanced(facts.__getitem__):
            group = "CTAcquisitionDetailsSequence"
            tilts += in_groups(facts.__getitem__, group, "GantryDetectorTilt")
        rescales = tuple(sorted(set(rescales_of(facts.__getitem__))))
        words = {text.upper() for text in parts(facts["ImageType"])}
        padding = [*parts(facts["PixelPaddingValue"]), *parts(facts["PixelPaddingRangeLimit"])]
    except Exception:  # noqa: BLE001 - any fault of the parser: then nothing is said
        return Said()
    stated = [tilt for tilt in map(_number, tilts) if tilt is not None]
    signed = facts["PixelRepresentation"]
    result: Said = _shared(
        Said(
            localizer=bool(words & _LOCALIZERS),
            tilt_deg=max(stated, key=abs, default=None),
            signed=None if signed is None else bool(signed),
            padding="..".join(padding[:2]),
            rescales=rescales,
        )
    )
    return result


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


@lru_cache(maxsize=1024)
def _shared(value: T) -> T:
    """A value, and no second copy of it: what is kept for each instance shall be little."""
    return value
