"""The benchmark on hippocampus: the curve of a training that was broken off is that of a whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers_train import parameters, tiny_samples

from benchmarks.hippocampus import Line, curve
from stages.train.params import Parameters


def _curve(params: Parameters, place: Path, points: int) -> list[Line]:
    train, test = tiny_samples(3), tiny_samples(2, first=200)
    found = []
    for line in curve(train, test, params, place):
        found.append({name: value for name, value in line.items() if name not in ("cpu", "wall")})
        if len(found) == points:
            break
    return found


@pytest.mark.rule("TRN-9")
def test_a_curve_that_is_broken_off_goes_on_to_the_same_figures(tmp_path: Path) -> None:
    params = parameters(epochs=8, learning_rate=0.02, average=0.5)
    whole = _curve(params, tmp_path / "whole.safetensors", 4)
    assert [line["epoch"] for line in whole] == [2, 4, 6, 8]
    assert len({tuple(line.values()) for line in whole}) == 4
    place = tmp_path / "parts.safetensors"
    for points in (1, 3, 4):
        assert _curve(params, place, points) == whole[:points]
    written = place.read_bytes()
    assert _curve(params, place, 4) == whole
    assert place.read_bytes() == written  # nothing was trained again
    other = params.model_copy(
        update={"train": params.train.model_copy(update={"learning_rate": 0.001})}
    )
    assert _curve(other, place, 4) != whole
