"""How a network should see a cohort's series: spacing, window, size, patches, overlap.

Pure. The rules are nnU-Net's (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z, Supplementary
Note 2), where Kette's parameters allow; each choice comes with its reason.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stages.fingerprint import Fingerprint, Triple

Patch = tuple[int, int, int]

FEWEST_SLICES = 8
"""With fewer in the median series the network sees single slices."""
MANY_WINDOWS = 1000


def target_spacing(found: Fingerprint) -> tuple[Triple | None, str]:
    """The median; of thick slices the 10th percentile; none if all series have the same."""
    spacings = np.array(found.spacings_mm)
    middle = np.array(median_spacing(found.spacings_mm))
    if (np.abs(spacings / middle - 1) <= 0.05).all():
        if middle.max() <= 2 * middle.min():
            return None, "All series have the same spacing within 5 %, so nothing is resampled."
        return _triple(middle), (
            "The spacing of all series within 5 %: written down, so that a network's strides "
            "follow its thick slices."
        )
    shape = np.median(np.array(found.shapes), axis=0)
    thick = int(middle.argmax())
    others = [axis for axis in range(3) if axis != thick]
    why = "The median spacing, since the series differ by more than 5 %."
    if middle[thick] > 3 * middle[others].min() and 3 * shape[thick] < shape[others].min():
        middle[thick] = max(np.percentile(spacings[:, thick], 10), middle[others].max())
        why = (
            "The median spacing; across the thick slices the 10th percentile, so that the finer "
            "series keep their detail."
        )
    return _triple(middle), why


def target_window(found: Fingerprint) -> tuple[tuple[float, float] | None, str]:
    """For CT the percentiles of the structures' intensities, in tens; else none."""
    if found.modality != "CT":
        return None, f"{found.modality} has no absolute scale: each series is z-scored by itself."
    low, high = 10 * math.floor(found.low / 10), 10 * math.ceil(found.high / 10)
    return (float(low), float(max(high, low + 10))), (
        f"HU from the 0.5th to the 99.5th percentile within structures ({found.low:.0f} to "
        f"{found.high:.0f}), rounded outwards to tens."
    )


def resampled_size(found: Fingerprint, spacing: Triple | None) -> Patch:
    """Median shape after resampling."""
    shapes = np.array(found.shapes, np.float64)
    if spacing is not None:
        shapes *= np.array(found.spacings_mm) / np.array(spacing)
    z, y, x = (max(1, round(float(v))) for v in np.median(shapes, axis=0))
    return z, y, x


def patches(sizes: Patch, spacing: Triple, step: int = 8) -> list[Patch]:
    """Patches to try, the largest first: each shorter than the last along its longest side in mm.

    The first covers the median series; a patch becomes a cube in mm as nearly as the series allows.
    """
    planar = sizes[0] < FEWEST_SLICES
    patch = [step * math.ceil(size / step) for size in sizes]
    patch[0] = 1 if planar else patch[0]
    found = [(patch[0], patch[1], patch[2])]
    while True:
        long = [axis for axis in range(3) if patch[axis] > step]
        if not long:
            return found
        axis = max(long, key=lambda axis: (patch[axis] * spacing[axis], patch[axis]))
        patch[axis] -= step
        found.append((patch[0], patch[1], patch[2]))


def overlap(sizes: Patch, patch: Patch) -> tuple[float, str]:
    windows = math.prod(
        max(1, math.ceil(2 * size / side) - 1) for size, side in zip(sizes, patch, strict=True)
    )
    if windows > MANY_WINDOWS:
        return 0.25, f"A quarter: half would take {windows} windows for the median series."
    return 0.5, "Half, as nnU-Net: borders of windows are least sure, and get least weight."


def median_spacing(spacings: tuple[Triple, ...]) -> Triple:
    z, y, x = (float(v) for v in np.median(np.array(spacings), axis=0))
    return z, y, x


def _triple(values: NDArray[np.float64]) -> Triple:
    z, y, x = (round(float(v), 3) for v in values)
    return z, y, x
