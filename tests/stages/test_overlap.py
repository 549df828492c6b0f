from __future__ import annotations

import numpy as np
import pytest
from helpers_dicom import box

from stages.overlap import dice, hd95_mm, nsd

SHAPE = (12, 14, 16)
SPACING = (3.0, 0.5, 2.0)
CUBE = box(SHAPE, (2, 6), (3, 7), (4, 8))
EMPTY = np.zeros(SHAPE, np.bool_)

pytestmark = pytest.mark.filterwarnings(
    # MONAI imports packages that deprecate what they use; nothing of ours
    "ignore::DeprecationWarning:monai.*",
    "ignore::FutureWarning:monai.*",
)


def test_identical_masks_agree_fully() -> None:
    assert dice(CUBE, CUBE) == 1
    assert hd95_mm(CUBE, CUBE, SPACING) == 0
    assert nsd(CUBE, CUBE, SPACING, 0.1) == 1


def test_empty_masks_have_no_surface_and_agree_with_each_other() -> None:
    assert dice(EMPTY, EMPTY) == 1
    assert dice(CUBE, EMPTY) == 0
    assert hd95_mm(CUBE, EMPTY, SPACING) is None
    assert nsd(EMPTY, CUBE, SPACING, 1) is None


@pytest.mark.parametrize(("axis", "millimeters"), [(0, 3.0), (1, 0.5), (2, 2.0)])
def test_a_cube_shifted_by_a_voxel_is_off_by_that_axis_spacing(
    axis: int, millimeters: float
) -> None:
    shifted = np.roll(CUBE, 1, axis)
    assert dice(CUBE, shifted) == pytest.approx(0.75)
    assert hd95_mm(CUBE, shifted, SPACING) == pytest.approx(millimeters)
    assert nsd(CUBE, shifted, SPACING, millimeters) == 1
    # Of the 56 surface voxels of a cube of side 4, one face of 16 and what it uncovers stay behind.
    near = nsd(CUBE, shifted, SPACING, millimeters - 0.01)
    assert near is not None
    assert 0.4 < near < 1


def test_metrics_are_symmetric_and_blind_to_where_the_masks_lie() -> None:
    other = box(SHAPE, (3, 8), (3, 9), (5, 8))
    assert hd95_mm(CUBE, other, SPACING) == hd95_mm(other, CUBE, SPACING)
    moved = [np.roll(mask, (4, 4, 5), (0, 1, 2)) for mask in (CUBE, other)]
    assert hd95_mm(*moved, SPACING) == hd95_mm(CUBE, other, SPACING)
    assert nsd(*moved, SPACING, 1.0) == nsd(CUBE, other, SPACING, 1.0)


def test_masks_on_two_grids_are_not_compared() -> None:
    with pytest.raises(ValueError, match="one grid"):
        dice(CUBE, CUBE[1:])
    with pytest.raises(ValueError, match="Boolean"):
        dice(CUBE, CUBE.astype(np.uint8))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_those_of_monai(seed: int) -> None:
    torch = pytest.importorskip("torch")
    from monai.metrics import (
        compute_dice,
        compute_hausdorff_distance,
        compute_surface_dice,
    )
    from scipy import ndimage

    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=(2, *SHAPE)), (0, 2, 2, 2))
    a, b = noise[0] > 0, (noise[0] + 0.3 * noise[1]) > 0
    theirs = [torch.from_numpy(m)[None, None].float() for m in (a, b)]
    assert dice(a, b) == pytest.approx(compute_dice(*theirs).item(), abs=1e-6)
    hd = compute_hausdorff_distance(
        *theirs, include_background=True, percentile=95, spacing=SPACING
    )
    assert hd95_mm(a, b, SPACING) == pytest.approx(hd.item(), abs=1e-4)
    sd = compute_surface_dice(*theirs, [1.0], include_background=True, spacing=SPACING)
    assert nsd(a, b, SPACING, 1.0) == pytest.approx(sd.item(), abs=1e-6)
