"""Parameters of `optimize`: which targets, and how equal they must be to the trained network."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator

from stages.bundle import Target
from stages.params import Network, Numerics, Params, Task, Volume

Capability = Literal["SM80", "SM86", "SM89", "SM120", "SM121"]
"""NVIDIA's compute capabilities from Ampere on: TensorRT for RTX has no single-precision 3-D
convolution for the older SM75 (Turing)."""


class OptimizeParams(Params):
    """Section `optimize`."""

    targets: Annotated[tuple[Target, ...], Field(min_length=1)] = (
        "onnxruntime-cpu",
        "openvino-cpu",
        "tensorrt-rtx",
    )
    """Runtimes that the release is made for, the preferred one first."""
    compute_capabilities: Annotated[tuple[Capability, ...], Field(min_length=1)] = (
        "SM80",
        "SM86",
        "SM89",
        "SM120",
    )
    """GPU generations that the TensorRT for RTX engine is built for."""
    series: Annotated[int, Field(ge=1)] = 2
    """Validation series that each target is compared on, for a task with structures."""
    cases: Annotated[int, Field(ge=1)] = 50
    """Validation cases that each target is compared on, for a task of classes alone."""
    max_abs_difference: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Highest difference of a probability to the trained network's, over all voxels and cases; a
    power of ten, as the figure is rounded up to one."""
    min_dice_to_reference: Annotated[float, Field(ge=0, le=1)] = 0.999
    """Lowest Dice of a target's labels to the trained network's, over structures and series."""
    timed_runs: Annotated[int, Field(ge=3, le=1000)] = 10
    """Inferences of one patch that each latency is the median of, after two to warm up."""

    @field_validator("targets", "compute_capabilities")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) != len(set(value)):
            raise ValueError("names one entry twice")
        return value

    @field_validator("max_abs_difference")
    @classmethod
    def _power_of_ten(cls, value: float) -> float:
        exponent = math.log10(value)
        if abs(exponent - round(exponent)) > 1e-9 or value < 1e-6:
            raise ValueError("must be a power of ten, 1e-6 or more")
        return value


class Parameters(Params):
    """The sections that `optimize` takes."""

    task: Task
    numerics: Numerics
    volume: Volume
    network: Network
    optimize: OptimizeParams
