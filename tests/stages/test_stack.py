"""STK-1 … STK-4: how planes lie to each other, whatever their order."""

import math
import random

import numpy as np
import pytest
from helpers_dicom import AXIAL, OBLIQUE
from hypothesis import given
from hypothesis import strategies as st

from stages.frames import Plane
from stages.stack import Fit, Stack, are_alike, arrange, fit_of

ORIENTATIONS = [AXIAL, OBLIQUE, (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)]


def planes(
    depths: list[float], orientation: tuple[float, ...] = AXIAL, *, aside: float = 0
) -> list[Plane]:
    """Planes at depths along the normal, moved by `aside` mm a mm along their columns."""
    normal = np.cross(orientation[:3], orientation[3:])
    column = np.array(orientation[3:])
    return [
        Plane(tuple(map(float, depth * (normal + aside * column))), orientation, (1.0, 1.0))
        for depth in depths
    ]


def stack_of(found: list[Plane]) -> Stack:
    stack = arrange(found)
    assert stack is not None
    return stack


CASES = [
    ("even", [0, 3, 6, 9], {}),
    ("within rounding", [0, 3, 6.02, 9], {}),
    ("one missing", [0, 3, 9, 12, 15, 18], {"missing": ((1, 1),)}),
    ("two gaps", [0, 1, 2, 4, 5, 6, 9, 10, 11, 12], {"missing": ((2, 1), (5, 2))}),
    ("twice as far in a third", [0, 1, 2, 3, 4, 6, 8, 10], {"uneven": True}),
    ("misplaced", [0, 3, 6, 9, 13], {"uneven": True}),
    ("two spacings", [0, 3, 6, 9, 14, 19, 24], {"uneven": True}),
    ("double", [0, 3, 6, 6, 9], {"doubles": 1}),
    ("double beside a gap", [0, 3, 6, 6, 12, 15], {"doubles": 1, "missing": ((2, 1),)}),
]


@pytest.mark.rule("STK-2")
@pytest.mark.rule("STK-3")
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(
    ("depths", "found"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_faults_are_told_apart(depths, found, orientation) -> None:
    stack = stack_of(planes(depths, orientation))
    none = {"missing": (), "uneven": False, "tilted": False, "doubles": 0}
    assert {name: getattr(stack, name) for name in none} == none | found
    assert stack.is_volume == (not found)
    assert stack.tilt_deg == pytest.approx(0, abs=1e-6)


@pytest.mark.rule("STK-4")
@pytest.mark.parametrize("degrees", [-20.0, 2.0, 15.5, 30.0])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_tilted_gantry_is_told_with_its_angle(orientation, degrees: float) -> None:
    stack = stack_of(planes([0, 5, 10, 15], orientation, aside=math.tan(math.radians(degrees))))
    assert stack.tilted
    assert stack.tilt_deg == pytest.approx(abs(degrees))
    assert not stack.uneven


@pytest.mark.rule("STK-1")
def test_other_orientations_and_spacings_are_not_alike() -> None:
    one, *rest = planes([0, 3, 6])
    assert are_alike([one, *rest])
    assert not are_alike([one, *rest, one._replace(orientation=OBLIQUE)])
    assert not are_alike([one, *rest, one._replace(spacing=(1.0, 1.01))])


def test_an_orientation_that_is_none_is_no_stack() -> None:
    assert arrange(planes([0, 3, 6], (1.0, 0.0, 0.0, 1.0, 0.0, 0.0))) is None
    assert arrange([p._replace(orientation=(2.0, 0, 0, 0, 1.0, 0)) for p in planes([0, 3])]) is None


@pytest.mark.rule("STK-3")
@given(
    st.lists(st.integers(0, 400), min_size=3, max_size=30),
    st.integers(0, 2**32),
    st.sampled_from(ORIENTATIONS),
)
def test_the_order_of_planes_says_nothing(depths: list[int], seed: int, orientation) -> None:
    found = planes([depth / 10 for depth in depths], orientation)
    mixed = random.Random(seed).sample(found, len(found))
    one, other = stack_of(found), stack_of(mixed)
    for name in ("missing", "uneven", "tilted", "doubles", "tilt_deg"):
        assert getattr(one, name) == getattr(other, name)
    assert np.array_equal(one.positions, other.positions)
    assert np.array_equal(one.depths, other.depths)
    at = [[[planes_[index] for index in place] for place in stack.places]
          for planes_, stack in ((found, one), (mixed, other))]  # fmt: skip
    assert at[0] == at[1]


def test_a_table_without_the_column_holds_volumes() -> None:
    assert fit_of({"series": "1"}) is fit_of({"geometry": ""}) is Fit.VOLUME
    assert fit_of({"geometry": "flagged"}) is Fit.FLAGGED
