"""Parameters of `package`: what the release is called, what it is for, what its report shows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stages.params import Network, Numerics, Params, Project, Task, Volume
from stages.pretrained_params import Weights

SEMVER = (
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$"
)
"""Semantic Versioning 2.0.0, its backtracking taken out."""
Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\r\n]+$")]


class PackageParams(Params):
    """Section `package`."""

    version: Annotated[str, Field(pattern=SEMVER, max_length=63)]
    """Of the release (Semantic Versioning)."""
    title: Line
    """What the network does, as the report's heading and the bundle's `task`."""
    intended_use: Annotated[str, Field(min_length=1)]
    """What the network may be used for, by whom, and what it may not be used for."""
    authors: Line
    """The manufacturer or team."""
    copyright: Line
    changelog: dict[Annotated[str, Field(pattern=SEMVER)], Line] = Field(default={})
    """Version → what it changed."""
    limits_margin: Annotated[float, Field(ge=0, le=4)] = 0.25
    """Extent and spacing of a series may lie this share outside what the network learned from;
    inference refuses the rest."""
    overlays: Annotated[int, Field(ge=1, le=24)] = 6
    """Test subjects that the report shows, spread evenly from the worst to the best result."""


class Parameters(Params):
    """The sections that `package` takes."""

    project: Project
    task: Task
    numerics: Numerics
    volume: Volume
    network: Network
    weights: Weights = Weights()
    package: PackageParams
