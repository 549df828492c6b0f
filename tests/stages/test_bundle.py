"""The bundle's configuration: limits from what was seen, and what cannot be written down."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.bundle import MODELS, BundleConfig, Limits
from stages.params import Code, Network, Numerics, Structure, Task, Volume

SIZES = st.tuples(*[st.integers(1, 600)] * 3)
SPACINGS = st.tuples(*[st.floats(0.05, 20)] * 3)
SEEN = [((30, 50, 40), (1.0, 0.5, 0.5)), ((40, 60, 40), (3.0, 0.7, 0.5))]


def _config(**changes: object) -> BundleConfig:
    structure = Structure(
        name="organ",
        label=1,
        segment_label="organ",
        code=Code(value="10200004", scheme="SCT", meaning="Liver"),
    )
    values = {
        "name": "toy",
        "version": "1.0.0",
        "epoch": datetime(2026, 1, 1, tzinfo=UTC),
        "task": Task(modality="CT", structures=(structure,)),
        "volume": Volume(patch=(8, 8, 8)),
        "network": Network(),
        "channels_out": 2,
        "numerics": Numerics(),
        "models": {"onnxruntime-cpu": MODELS["onnxruntime-cpu"]},
        "limits": Limits.seen(SEEN, 0.25),
    }
    return BundleConfig.model_validate(values | changes)


@pytest.mark.rule("BUN-2")
def test_a_configuration_is_read_as_it_was_written() -> None:
    config = _config()

    assert BundleConfig.model_validate_json(config.model_dump_json(by_alias=True)) == config


@pytest.mark.rule("BUN-2")
@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 2},
        {"channels_out": 3},
        {"models": {}},
        {"models": {"onnxruntime-cpu": "../model.onnx"}},
        {"models": {"unheard-of": "models/model.onnx"}},
        {"surplus": 1},
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        _config(**changes)


@pytest.mark.rule("BUN-3")
@given(st.lists(st.tuples(SIZES, SPACINGS), min_size=1, max_size=5), st.floats(0.001, 2))
def test_every_series_that_was_seen_lies_within_the_limits(
    seen: list[tuple[tuple[int, ...], tuple[float, ...]]], margin: float
) -> None:
    limits = Limits.seen(seen, margin)

    assert all(limits.outside(shape, spacing) is None for shape, spacing in seen)


@pytest.mark.rule("BUN-3")
@pytest.mark.parametrize(
    ("shape", "spacing_mm", "outside"),
    [
        ((24, 40, 32), (0.8, 0.4, 0.4), None),
        ((50, 75, 50), (3.75, 0.875, 0.625), None),
        ((23, 50, 40), (1, 0.5, 0.5), "The extent along the slice axis is 23 voxels"),
        ((30, 76, 40), (1, 0.5, 0.5), "The extent along the row axis is 76 voxels"),
        ((30, 50, 40), (4, 0.5, 0.5), "The spacing along the slice axis is 4 mm"),
        ((30, 50, 40), (1, 0.5, 0.39), "The spacing along the column axis is 0.39 mm"),
    ],
)
def test_limits_are_what_was_seen_widened_by_the_margin(
    shape: tuple[int, ...], spacing_mm: tuple[float, ...], outside: str | None
) -> None:
    found = Limits.seen(SEEN, 0.25).outside(shape, spacing_mm)

    assert found is None if outside is None else found is not None and found.startswith(outside)


@pytest.mark.rule("BUN-3")
def test_limits_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no series"):
        Limits.seen([], 0.25)
