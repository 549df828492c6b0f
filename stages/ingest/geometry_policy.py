"""What follows from a series' geometry: taken as a volume, resampled, flagged, or quarantined.

Rules:

- GEO-1  A series whose frames are one even volume is one; nothing else is ever stacked in silence.
- GEO-2  Each finding has a policy (`ingest.geometry`). The strictest wins: quarantine, then flag,
         then resample. `flag`: the series passes with its facts and is left out downstream.
         `resample`: its instances pass as they are, and whoever reads the series resamples it.
- GEO-3  A localizer is what says so, or of at most two frames of one orientation a frame that
         stands steeply on a stack of three or more. Its instance alone is set apart.
- GEO-4  Frames of several enhanced instances, or of enhanced and classic ones, are no one volume.
- GEO-5  What shall be resampled is read once as later stages read it; what they would refuse is
         quarantined now (`series_whole.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from stages.ingest.geometry import Place, Slice
from stages.ingest.geometry_facts import facts_of
from stages.ingest.params import GeometryParams
from stages.ingest.quarantine import Reason
from stages.stack import ALIKE, FEWEST, Fit, Stack, are_alike, arrange

_STEEP: Final = 0.7
"""Cosine of the angle between two planes below which one stands steeply on the other (45°)."""


class Finding(StrEnum):
    """What keeps a series from being an even volume; the parameters have a policy for each."""

    LOCALIZER = "localizer"
    FEW = "few_slices"
    NO_GEOMETRY = "no_geometry"
    MIXED = "mixed"
    DOUBLE = "double_slice"
    MISSING = "missing_slice"
    UNEVEN = "uneven"
    TILTED = "tilted"


REASONS: Final[Mapping[Finding, Reason]] = {
    Finding.LOCALIZER: Reason.LOCALIZER,
    Finding.FEW: Reason.FEW_SLICES,
    Finding.NO_GEOMETRY: Reason.NO_GEOMETRY,
    Finding.MIXED: Reason.MIXED,
    Finding.DOUBLE: Reason.DOUBLE_SLICE,
    Finding.MISSING: Reason.UNEVEN,
    Finding.UNEVEN: Reason.UNEVEN,
    Finding.TILTED: Reason.TILTED,
}


@dataclass(frozen=True)
class Judged:
    """What is done about a series."""

    reason: Reason | None
    """Why it is quarantined whole."""
    apart: frozenset[int]
    """Indices of the instances that are quarantined as localizers while the rest stays."""
    row: Mapping[str, Any]
    """Its columns."""


def judge(places: Sequence[Place], policy: GeometryParams) -> Judged:
    """Decide about a series by the places of its instances (GEO-1 to GEO-4)."""
    found = localizers(places)
    apart = found if policy.localizer == "quarantine" and len(found) < len(places) else frozenset()
    body = [place for index, place in enumerate(places) if index not in found] or places
    stack, faults = _faults(body)
    findings = [Finding.LOCALIZER] if found - apart else []
    findings += [] if len(found) == len(places) else faults
    actions = {finding: getattr(policy, finding) for finding in findings}
    refused = [REASONS[finding] for finding in findings if actions[finding] == "quarantine"]
    fit = Fit.RESAMPLE if findings else Fit.VOLUME
    fit = Fit.FLAGGED if "flag" in actions.values() else fit
    return Judged(
        reason=refused[0] if refused else None,
        apart=apart,
        row={
            **facts_of(body, stack, len(found)),
            "geometry": fit.value,
            "geometry_findings": " ".join(findings),
        },
    )


def localizers(places: Sequence[Place]) -> frozenset[int]:
    """Indices of the instances that are localizers (GEO-3)."""
    said = {index for index, place in enumerate(places) if place.said.localizer}
    groups: list[tuple[Slice, list[int]]] = []
    single = [
        (place.frames[0].orientation, index)
        for index, place in enumerate(places)
        if index not in said and len(place.frames) == 1
    ]
    for _, index in sorted(single):
        frame = places[index].frames[0]
        for first, members in groups:
            if np.abs(np.subtract(first.orientation, frame.orientation)).max() <= ALIKE:
                members.append(index)
                break
        else:
            groups.append((frame, [index]))
    stacks = [first for first, members in groups if len(members) >= FEWEST]
    if len(stacks) == 1:
        upright = _normal(stacks[0])
        for first, members in groups:
            if len(members) < FEWEST and abs(float(_normal(first) @ upright)) < _STEEP:
                said.update(members)
    return frozenset(said)


def _faults(places: Sequence[Place]) -> tuple[Stack | None, list[Finding]]:
    """The stack of the frames, if they are one, and what keeps it from being a volume."""
    counts = [len(place.frames) or (FEWEST if place.multi_frame else 1) for place in places]
    if sum(counts) < FEWEST:
        return None, [Finding.FEW]
    frames = [frame for place in places for frame in place.frames]
    if not all(place.frames for place in places):
        return None, [Finding.NO_GEOMETRY]
    planes = [frame.plane for frame in frames]
    several = len(places) > 1 and any(place.multi_frame for place in places)
    if several or len({frame.grid for frame in frames}) > 1 or not are_alike(planes):
        return None, [Finding.MIXED]
    stack = arrange(planes)
    if stack is None:
        return None, [Finding.NO_GEOMETRY]
    held = {
        Finding.FEW: len(stack.places) < FEWEST and not stack.doubles,
        Finding.DOUBLE: bool(stack.doubles),
        Finding.MISSING: bool(stack.missing),
        Finding.UNEVEN: stack.uneven,
        Finding.TILTED: stack.tilted,
    }
    return stack, [finding for finding, holds in held.items() if holds]


def _normal(frame: Slice) -> np.ndarray:
    row, column = np.array(frame.orientation).reshape(2, 3)
    normal: np.ndarray = np.cross(row, column)
    return normal / max(float(np.linalg.norm(normal)), ALIKE)
