"""The inside of a phantom: a torso with an organ, its lesions, and what may be mistaken for them.

The spleen has the organ's density, bowel and muscle have that of the lesions: position and shape
tell them apart, no threshold does. Benign lesions are round and even, malignant ones irregular,
mottled and brighter at the rim.

Densities are Hounsfield units times `FINE`, lengths µm, fields (slices, rows, columns).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from stages.phantom.chance import BELL_SD, Chance, Integers
from stages.phantom.shapes import Ellipsoid, Space, ripple

FINE: Final = 16
"""Steps of density to a Hounsfield unit."""

_AIR, _FAT, _MUSCLE, _FLUID, _GAS = -1000, -100, 55, 12, -930
_CORTICAL, _MARROW, _DISC, _BLOOD = 520, 190, 85, 150


@dataclass(frozen=True)
class Lesion:
    """One planted lesion and its true outline."""

    radius_um: int
    depth: Integers
    """Depth of every voxel below the lesion's surface, µm."""


@dataclass(frozen=True)
class Anatomy:
    """A phantom before it is scanned."""

    density: Integers
    """Hounsfield units times `FINE`."""
    organ: Integers
    """Depth below the organ's surface, lesions included, µm."""
    lesions: tuple[Lesion, ...]


def build(space: Space, number: int, radii_um: tuple[int, ...], *, malignant: bool) -> Anatomy:
    """Shape one subject.

    Args:
        space: the scan's voxels.
        number: the subject's; decides build, position and textures.
        radii_um: mean radius of each lesion. A second study gives the same lesions other radii.
        malignant: the lesions' kind.
    """
    chance = Chance(number, "anatomy")
    scale = chance.between(94, 106)
    shift = tuple(chance.between(-1500, 1500) for _ in range(3))
    frame = _Frame(space, number, scale, (shift[0], shift[1], shift[2] * 2))
    density, torso = _torso(frame)
    organ = np.minimum(_organ(frame), torso - 5500)
    tone = chance.between(92, 116)
    _paint(density, frame.ellipsoid((26, 9, 3), (10, 13, 15), (7, 2)), tone + chance.between(-8, 8))
    _paint(density, organ, tone)
    density += np.where(organ > 0, frame.mottle("organ", 6, 5), 0)
    for name in ("vessel-1", "vessel-2", "vessel-3"):
        _paint(density, np.minimum(_vessel(frame, name), organ - 2000), _BLOOD)
    lesions: tuple[Lesion, ...] = ()
    for order, radius in enumerate(radii_um):
        lesion = _lesion(frame, organ, lesions, order, radius, malignant=malignant)
        _fill(density, frame, lesion, order, tone, malignant=malignant)
        lesions += (lesion,)
    return Anatomy(density * FINE, organ, lesions)


@dataclass(frozen=True)
class _Frame:
    """A subject's size and place; shapes are given in mm of the average subject."""

    space: Space
    number: int
    scale: int
    shift_um: tuple[int, int, int]

    def ellipsoid(
        self,
        center: tuple[int, int, int],
        radii: tuple[int, int, int | None],
        turn: tuple[int, int] = (1, 0),
    ) -> Integers:
        ten = 10 * self.scale
        x, y, z = (place * ten + shift for place, shift in zip(center, self.shift_um, strict=True))
        a, b, c = (None if radius is None else radius * ten for radius in radii)
        return Ellipsoid((x, y, z), (a or 0, b or 0, c), turn).depth(self.space)

    def mottle(self, name: str, height: int, cell_mm: int) -> Integers:
        """A texture with an SD of about half of `height`, in its unit."""
        field = ripple(self.space, Chance(self.number, name), cell_mm * 1000)
        return field * height // BELL_SD


def _paint(density: Integers, depth: Integers, value: int) -> None:
    density[depth > 0] = value


def _torso(frame: _Frame) -> tuple[Integers, Integers]:
    """Everything but the organ, and the torso's depth."""
    space, z = frame.space, frame.space.axis(0)
    density = np.full(space.shape, _AIR, dtype=np.int64)
    torso = frame.ellipsoid((0, 0, 0), (40, 31, None))
    _paint(density, torso, _FAT)
    wall = torso - 3000
    _paint(density, wall, _MUSCLE)
    density += np.where(wall > 0, frame.mottle("muscle", 16, 3), 0)
    y = space.axis(1)
    rib = 3000 - np.abs((z + y // 3 + frame.shift_um[2]) % 17000 - 8500)
    ring = np.minimum(np.minimum(torso - 4000, 7500 - torso), rib)
    _paint(density, np.minimum(ring, y + 20000), _CORTICAL - 150)
    cavity = torso - 8500
    bowel = frame.mottle("bowel", 90, 6)
    inside = np.where(bowel > 0, 38 + frame.mottle("bowel-wall", 30, 4), _FAT + 10)
    density[cavity > 0] = inside[cavity > 0]
    _paint(density, frame.ellipsoid((0, 19, 0), (9, 8, None)), _CORTICAL)
    core = frame.ellipsoid((0, 19, 0), (7, 6, None))
    gap = (z + frame.shift_um[2]) % 24000 < 5000
    density[core > 0] = np.broadcast_to(np.where(gap, _DISC, _MARROW), space.shape)[core > 0]
    _paint(density, frame.ellipsoid((5, 8, 0), (4, 4, None)), _BLOOD - 10)
    stomach = frame.ellipsoid((19, -9, 4), (12, 10, 14), (6, 1))
    _paint(density, stomach, _FLUID)
    _paint(density, np.minimum(stomach - 500, -11000 - y), _GAS)
    return density, torso


def _organ(frame: _Frame) -> Integers:
    right = frame.ellipsoid((-14, 0, 0), (19, 20, 25), (8, 1))
    left = frame.ellipsoid((2, -13, 7), (14, 8, 13), (9, -1))
    return np.maximum(right, left) + frame.mottle("organ-outline", 2200, 14)


def _vessel(frame: _Frame, name: str) -> Integers:
    chance = Chance(frame.number, name)
    center = (chance.between(-20, -6), chance.between(-9, 8), chance.between(-10, 10))
    turn = (chance.between(2, 9), chance.between(-6, 6))
    return frame.ellipsoid(center, (chance.between(9, 15), 2, 3), turn)


def _lesion(
    frame: _Frame,
    organ: Integers,
    others: tuple[Lesion, ...],
    order: int,
    radius_um: int,
    *,
    malignant: bool,
) -> Lesion:
    """Place one lesion in the organ, away from the others."""
    chance = Chance(frame.number, "lesion", order)
    room = organ - 5000
    for other in others:
        room = np.minimum(room, -other.depth - 9000)
    sites = np.flatnonzero(room > 0)
    if not len(sites):
        sites = np.array([int(np.argmax(room))])
    site = np.unravel_index(int(chance.pick(sites.tolist())), frame.space.shape)
    center = tuple(int(frame.space.axis(2 - axis).ravel()[site[2 - axis]]) for axis in range(3))
    radii = tuple(radius_um * chance.between(88, 114) // 100 for _ in range(3))
    turn = (chance.between(3, 9), chance.between(-5, 5))
    depth = Ellipsoid(
        (center[0], center[1], center[2]), (radii[0], radii[1], radii[2]), turn
    ).depth(frame.space)
    outline = (2600, 5) if malignant else (500, 6)
    depth = depth + frame.mottle(f"lesion-outline-{order}", *outline)
    return Lesion(radius_um, np.minimum(depth, organ - 300))


def _fill(
    density: Integers, frame: _Frame, lesion: Lesion, order: int, tone: int, *, malignant: bool
) -> None:
    """Give a lesion its density: below the organ's by about 45 HU."""
    chance = Chance(frame.number, "density", order)
    inside = lesion.depth > 0
    if malignant:
        rim = np.where(lesion.depth < 1800, 18, 0)
        filled = tone - chance.between(42, 54) + rim + frame.mottle(f"lesion-{order}", 44, 3)
    else:
        filled = tone - chance.between(40, 52) + frame.mottle(f"lesion-{order}", 4, 5)
    density[inside] = filled[inside]
