"""Figures of equivalence: how they are rounded, and what can never pass."""

from __future__ import annotations

import numpy as np
import pytest
from helpers_optimize import PATCH, TASK, parameters
from pydantic import ValidationError

from stages.classify import Answer
from stages.optimize.equivalence import Equality, equality
from stages.params import Volume


def _answering(offset: float):
    """A network of three channels whose second is its input, moved by `offset`."""

    def predict(window: np.ndarray) -> Answer:
        zeros = np.zeros_like(window)
        return np.concatenate([zeros, window + np.float32(offset), zeros - 9], axis=1), None

    return predict


def _figures(offset: float) -> Equality:
    ramp = np.linspace(-3, 3, 16**3, dtype=np.float32).reshape(PATCH)
    return equality(_answering(0), _answering(offset), [ramp], Volume(patch=PATCH), TASK)


@pytest.mark.rule("OPT-3")
@pytest.mark.parametrize(
    ("offset", "written"),
    [(0, 1e-6), (1e-9, 1e-6), (2e-4, 1e-4), (4e-3, 1e-3), (5e-3, 1e-2), (0.5, 1.0)],
)
def test_a_difference_is_written_as_the_power_of_ten_above_it(
    offset: float, written: float
) -> None:
    # The slope of a class probability is at most 1/4 of its logit's.
    assert _figures(offset).max_abs_difference == pytest.approx(written, rel=1e-12)


@pytest.mark.rule("OPT-3")
@pytest.mark.parametrize("offset", [np.nan, np.inf])
def test_logits_that_are_no_numbers_differ_as_much_as_can_be(offset: float) -> None:
    with np.errstate(invalid="ignore"):
        assert _figures(offset).max_abs_difference == 1.0


@pytest.mark.rule("OPT-4")
def test_agreement_is_that_of_the_worst_structure() -> None:
    found = _figures(0.5)

    # Of voxels from -3 to 3, 1/2 are labeled before and 1/2 + 1/12 after.
    assert found.dice_to_reference == round(2 * 0.5 / (0.5 + 7 / 12), 3)


def test_a_limit_that_is_no_power_of_ten_is_refused() -> None:
    with pytest.raises(ValidationError, match="power of ten"):
        parameters(max_abs_difference=2e-3)
