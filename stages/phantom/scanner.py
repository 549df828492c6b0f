"""Three scanners: voxel grid, reconstruction kernel, noise and storage of each vendor.

Vendors are invented; each keeps to a habit seen in real scanners' files: a sharp kernel with
unsigned 12 bits; a smooth kernel with signed values, a padded circle and implicit VR; a medium
kernel with an offset of -8192 and slices stored from head to foot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.phantom.anatomy import FINE
from stages.phantom.chance import BELL_SD, Chance, Integers
from stages.phantom.shapes import Space


@dataclass(frozen=True)
class Vendor:
    """What a vendor's scanner does to a phantom and to its files."""

    name: str
    model: str
    software: str
    character_set: tuple[str, ...]
    space: Space
    sharpen: tuple[int, int]
    """Share of the difference to the smoothed image that is added: a fraction, or 0."""
    smooth: int
    """Passes of the binomial kernel in the slice's plane."""
    noise_hu: int
    """SD of the noise before the kernel, HU."""
    kernel: str
    signed: bool
    bits_stored: int
    intercept: int
    padding: int | None
    """Stored value outside the scan's circle."""
    head_first: bool
    """Instance numbers count from head to foot."""
    implicit_vr: bool
    kvp: int
    creator: str
    """Private creator of the vendor's block in group 0x0019."""

    @property
    def origin_um(self) -> tuple[int, int, int]:
        """Position (x, y, z) of the first voxel's center, µm."""
        x, y, z = (int(self.space.axis(axis).ravel()[0]) for axis in (2, 1, 0))
        return x, y, z


VENDORS: Final = (
    Vendor(
        name="AURORA IMAGING",
        model="Aurora Helix 64",
        software="syncro VA48A",
        character_set=("ISO_IR 100",),
        space=Space((28, 64, 64), (2500, 1500, 1500)),
        sharpen=(1, 3),
        smooth=0,
        noise_hu=9,
        kernel="AB50f",
        signed=False,
        bits_stored=12,
        intercept=-1024,
        padding=None,
        head_first=False,
        implicit_vr=False,
        kvp=120,
        creator="AURORA CT HEADER",
    ),
    Vendor(
        name="BOREAS MEDICAL SYSTEMS",
        model="Boreas Spectrum",
        software="bo_4.12",
        character_set=("", "ISO 2022 IR 87"),
        space=Space((24, 64, 64), (3000, 1700, 1700)),
        sharpen=(0, 1),
        smooth=1,
        noise_hu=26,
        kernel="SOFT",
        signed=True,
        bits_stored=16,
        intercept=-1024,
        padding=-2000,
        head_first=False,
        implicit_vr=True,
        kvp=140,
        creator="BOREAS_ACQU_01",
    ),
    Vendor(
        name="Cirrus Healthcare",
        model="Cirrus One",
        software="7.3.1",
        character_set=("ISO_IR 192",),
        space=Space((32, 64, 64), (2250, 1400, 1400)),
        sharpen=(0, 1),
        smooth=0,
        noise_hu=15,
        kernel="C30",
        signed=False,
        bits_stored=16,
        intercept=-8192,
        padding=None,
        head_first=True,
        implicit_vr=False,
        kvp=100,
        creator="Cirrus Private Group",
    ),
)


def scan(density: Integers, vendor: Vendor, chance: Chance) -> NDArray[np.int64]:
    """Stored pixel values of a phantom (slices, rows, columns).

    Args:
        density: Hounsfield units times `FINE`.
        vendor: whose scanner.
        chance: the noise of this scan.
    """
    noisy: Integers = density + chance.bell(density.shape) * (vendor.noise_hu * FINE) // BELL_SD
    for _ in range(vendor.smooth):
        noisy = _binomial(noisy)
    share, of = vendor.sharpen
    noisy = noisy + (noisy - _binomial(noisy)) * share // of
    units = (noisy + FINE // 2) // FINE
    low = -(1 << (vendor.bits_stored - 1)) if vendor.signed else 0
    high = low + (1 << vendor.bits_stored) - 1
    stored: Integers = np.clip(units - vendor.intercept, max(low, -1024 - vendor.intercept), high)
    if vendor.padding is not None:
        count = vendor.space.shape[1]
        line = (2 * np.arange(count) - (count - 1)) ** 2
        stored[:, line[:, None] + line[None, :] > count * count] = vendor.padding
    return stored


def _binomial(image: Integers) -> Integers:
    """Smooth rows and columns by (1, 2, 1) / 4; edges repeat."""
    for axis in (1, 2):
        padded = np.pad(image, [(1, 1) if axis == other else (0, 0) for other in range(3)], "edge")
        count = image.shape[axis]
        before, here, after = (
            np.take(padded, range(start, start + count), axis) for start in range(3)
        )
        image = (before + 2 * here + after) // 4
    return image
