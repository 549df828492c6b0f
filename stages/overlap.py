"""How far two masks agree: overlap and surface distance, in millimeters.

Axis order is (slices, rows, columns) throughout. Surface voxels are those of a mask that have a
face neighbor outside it (the image's border counts as outside); distances run from surface voxel
centers to the nearest surface voxel center of the other mask. Metrics as recommended by Maier-Hein
et al., *Metrics reloaded* (Nature Methods 2024); same definitions as MONAI's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]


def dice(a: Mask, b: Mask) -> float:
    """Dice similarity coefficient, 2|A∩B| / (|A|+|B|); 1 where both masks are empty.

    Source: Dice, *Measures of the amount of ecologic association between species* (1945).
    """
    _same_grid(a, b)
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2.0 * int(np.count_nonzero(a & b)) / total if total else 1.0


def hd95_mm(a: Mask, b: Mask, spacing_mm: Spacing) -> float | None:
    """95th percentile Hausdorff distance in mm: the larger of the two directed percentiles.

    Returns:
        None where a mask is empty: there is no surface to measure from.

    Source: Huttenlocher et al., *Comparing images using the Hausdorff distance* (PAMI 1993).
    """
    distances = _surface_distances_mm(a, b, spacing_mm)
    return None if distances is None else max(float(np.percentile(d, 95)) for d in distances)


def nsd(a: Mask, b: Mask, spacing_mm: Spacing, tolerance_mm: float) -> float | None:
    """Normalized surface Dice: the share of both surfaces within a tolerance of the other.

    Returns:
        A share in [0, 1]; None where a mask is empty.

    Source: Nikolov et al., *Clinically applicable segmentation of head and neck anatomy for
    radiotherapy* (JMIR 2021), on surface voxels.
    """
    distances = _surface_distances_mm(a, b, spacing_mm)
    if distances is None:
        return None
    within = sum(int(np.count_nonzero(d <= tolerance_mm)) for d in distances)
    return within / sum(d.size for d in distances)


def _surface_distances_mm(
    a: Mask, b: Mask, spacing_mm: Spacing
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Distances from A's surface to B's and from B's to A's, in mm; None if a mask is empty."""
    _same_grid(a, b)
    if not a.any() or not b.any():
        return None
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    surface_a, surface_b = _surface(a[box]), _surface(b[box])
    to_a = ndimage.distance_transform_edt(~surface_a, sampling=spacing_mm)
    to_b = ndimage.distance_transform_edt(~surface_b, sampling=spacing_mm)
    return to_b[surface_a], to_a[surface_b]


def _surface(mask: Mask) -> Mask:
    inner: Mask = ndimage.binary_erosion(mask)
    return mask & ~inner


def _same_grid(a: Mask, b: Mask) -> None:
    if a.shape != b.shape or a.dtype != np.bool_ or b.dtype != np.bool_:
        raise ValueError("two masks are compared as Boolean arrays on one grid")
