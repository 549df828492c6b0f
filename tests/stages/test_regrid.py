"""GRD-1 … GRD-4: resampling keeps what can be known, and labels come back."""

import numpy as np
import pytest
from helpers_dicom import AXIAL, OBLIQUE
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stack import planes, stack_of

from stages.regrid import Regrid, regrid_of


def grid_of(
    depths, orientation=AXIAL, *, aside: float = 0, rows: int = 7, columns: int = 6
) -> Regrid:
    regrid = regrid_of(stack_of(planes(depths, orientation, aside=aside)), rows, columns)
    assert regrid is not None
    return regrid


def field(regrid: Regrid, stack, at) -> np.ndarray:
    """A linear field of the patient's space on the frames of a stack."""
    rows, columns = np.indices(regrid.frame)
    planes_ = []
    for position in stack.positions:
        points = (
            position
            + rows[..., None] * stack.along_column * stack.spacing[0]
            + columns[..., None] * stack.along_row * stack.spacing[1]
        )
        planes_.append(points @ at)
    return np.array(planes_, np.float32)


@pytest.mark.rule("GRD-1")
@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
@pytest.mark.parametrize(
    ("depths", "aside"),
    [([0, 3, 6, 9, 14, 19], 0.0), ([0, 5, 10, 15], 0.31), ([0, 5, 10, 17], -0.2)],
)
def test_a_linear_field_is_kept_wherever_frames_reach(depths, aside, orientation) -> None:
    stack = stack_of(planes(depths, orientation, aside=aside))
    regrid = grid_of(depths, orientation, aside=aside)
    gradient = np.array([0.7, -0.4, 1.3])
    found = regrid.values(field(regrid, stack, gradient))
    k, i, j = np.indices(regrid.shape)
    points = (
        regrid.origin_mm
        + k[..., None] * regrid.step_mm * stack.normal
        + i[..., None] * stack.along_column
        + j[..., None] * stack.along_row
    )
    both = regrid.values(np.ones((len(depths), *regrid.frame), np.float32) * 2)
    inside = both == 2  # whatever frames reach
    low = field(regrid, stack, gradient).min()
    # Where both neighbors reach, the field is met; elsewhere one frame alone, or the lowest.
    reached = np.abs(found - points @ gradient) < 1e-3
    middle = np.zeros(regrid.shape, bool)
    margin = regrid.shape[1] - regrid.frame[0]
    middle[:, margin : regrid.shape[1] - margin] = True
    assert inside.all()
    assert reached[middle].all()
    assert found.min() >= low


@pytest.mark.rule("GRD-1")
def test_a_voxel_on_a_frames_voxel_keeps_its_value_and_what_no_frame_covers_is_lowest() -> None:
    depths = [0, 2, 4, 6]
    regrid = grid_of(depths, aside=1.0)  # two whole rows from one frame to the next
    values = np.random.default_rng(1).normal(size=(4, 7, 6)).astype(np.float32)
    found = regrid.values(values)
    assert regrid.shape == (4, 13, 6)
    for frame in range(4):
        assert np.array_equal(found[frame, 2 * frame : 2 * frame + 7], values[frame])
    assert (found[0, 7:] == values.min()).all()


@pytest.mark.rule("GRD-2")
@settings(max_examples=200)
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=12),
    st.floats(-0.5, 0.5),
    st.integers(0, 2**32 - 1),
)
def test_labels_of_frames_come_back_as_they_were(steps: list[int], aside: float, seed: int) -> None:
    depths = [0.0, *np.cumsum(np.array(steps) / 10)]
    regrid = regrid_of(stack_of(planes(depths, aside=aside)), 9, 8)
    if regrid is None:
        return
    labels = np.random.default_rng(seed).integers(0, 4, (len(depths), 9, 8)).astype(np.uint8)
    carried = regrid.labels(labels)
    assert carried.shape == regrid.shape
    assert np.array_equal(regrid.to_frames(carried), labels)


@pytest.mark.rule("GRD-3")
def test_a_grid_that_would_burst_is_none() -> None:
    assert regrid_of(stack_of(planes([0, 0.01, 100, 200])), 9, 8) is None
    assert regrid_of(stack_of(planes([0, 50, 100], aside=2.0)), 9, 8) is None
    assert regrid_of(stack_of(planes([3.0, 3.0])), 9, 8) is None
