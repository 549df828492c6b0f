"""What is known of a series' geometry: a row of facts, the same for any order of its instances."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from stages.ingest.geometry import Place, Said, Slice
from stages.ingest.geometry_columns import NOTHING
from stages.stack import ALIKE, Stack

_VARIES: Final = "varies"


def facts_of(places: Sequence[Place], stack: Stack | None, localizers: int) -> dict[str, Any]:
    """The facts of a series, but for what was decided about it.

    Args:
        places: of its instances, localizers that were set apart left out.
        stack: of their frames; None where they are no stack.
        localizers: instances that are localizers, those set apart included.
    """
    frames = [frame for place in places for frame in place.frames]
    said = [place.said for place in places]
    return {
        **NOTHING,
        "multi_frame": any(place.multi_frame for place in places),
        "orientations": _orientations(frames),
        "localizers": localizers,
        "tilt_stated_deg": max(
            (one.tilt_deg for one in said if one.tilt_deg is not None), key=abs, default=None
        ),
        "signed": _one({_SIGNED[one.signed] for one in said}),
        "padding": _one({one.padding for one in said}),
        "rescale": _rescale(said),
        "instance_order": _order(places, stack),
        **(_spaces(stack) if stack else {"slices": len(frames)}),
    }


_SIGNED: Final = {True: "signed", False: "unsigned", None: ""}


def _spaces(stack: Stack) -> dict[str, Any]:
    steps = stack.steps
    some = len(steps) > 0
    return {
        "slices": len(stack.places),
        "spacing_mm": float(np.median(steps)) if some else None,
        "spacing_min_mm": float(steps.min()) if some else None,
        "spacing_max_mm": float(steps.max()) if some else None,
        "missing_slices": sum(count for _, count in stack.missing),
        "missing_after": " ".join(f"{at + 1}:{count}" for at, count in stack.missing),
        "double_slices": stack.doubles,
        "tilt_deg": stack.tilt_deg if some else None,
    }


def _orientations(frames: Sequence[Slice]) -> int:
    """How many differ by more than `ALIKE` in any direction cosine from all before."""
    found: list[tuple[float, ...]] = []
    for orientation in sorted({frame.orientation for frame in frames}):
        if not any(np.abs(np.subtract(orientation, one)).max() <= ALIKE for one in found):
            found.append(orientation)
    return len(found)


def _rescale(said: Sequence[Said]) -> str:
    every = {rescale for one in said for rescale in one.rescales}
    return _one({f"{slope:.10g} {intercept:.10g}" for slope, intercept in every})


def _order(places: Sequence[Place], stack: Stack | None) -> str:
    """How the numbers of the instances, or of an enhanced one's frames, run along the normal."""
    numbers: list[int | None] = []
    for place in places:
        several = range(len(place.frames))
        numbers += several if place.multi_frame else [place.number] * len(place.frames)
    known = [number for number in numbers if number is not None]
    if stack is None or len(stack.places) < 2 or len(known) < len(numbers):
        return ""
    known = [min(known[index] for index in at) for at in stack.places]
    if all(one < other for one, other in pairwise(known)):
        return "ascending"
    return "descending" if all(one > other for one, other in pairwise(known)) else "other"


def _one(values: set[str]) -> str:
    return min(values, default="") if len(values) < 2 else _VARIES
